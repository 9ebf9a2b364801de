"""What flows between scikit-learn's steps: columns that the caller gives, texts, and vectors of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.frame import Frame
from recserve.importers.pipelines.pieces import Array
from recserve.importers.pipelines.vectors import Vector, concatenate
from recserve.scoring.graph import Graph, Value


@dataclass(frozen=True)
class Raw:
    """A column of the caller's that no step has read yet; the first one decides on its type.

    Attributes:
        name: of the column.
    """

    name: str

    @property
    def size(self) -> int:
        """One column."""
        return 1


@dataclass(frozen=True)
class Single:
    """A column with a value of any dtype."""

    value: Value

    @property
    def size(self) -> int:
        """One column."""
        return 1


Part = Raw | Single | Vector


class Table:
    """Columns side by side.

    Attributes:
        frame: of the model's inputs.
        parts: in order.
        size: number of columns.
    """

    def __init__(self, frame: Frame, parts: Sequence[Part]) -> None:
        self.frame = frame
        self.parts = tuple(parts)
        self.size = sum(part.size for part in self.parts)

    @property
    def graph(self) -> Graph:
        """Of the scoring core."""
        return self.frame.graph

    def select(self, places: Sequence[int]) -> Table:
        """The columns at some places."""
        starts = np.cumsum([0, *(part.size for part in self.parts)])
        found: list[Part] = []
        for place in places:
            if not 0 <= place < self.size:
                raise ConfigError(f"there is no column {place} of {self.size}", code="invalid_model")
            i = int(np.searchsorted(starts, place, side="right")) - 1
            part = self.parts[i]
            if not isinstance(part, Vector):
                found.append(part)
            elif found and isinstance(found[-1], _Run) and found[-1].vector is part:
                found[-1].places.append(place - int(starts[i]))
            else:
                found.append(_Run(part, [place - int(starts[i])]))
        return Table(self.frame, [part.cut() if isinstance(part, _Run) else part for part in found])

    def vector(self) -> Vector:
        """All columns as one vector of numbers."""
        vectors = []
        for part in self.parts:
            if isinstance(part, Vector):
                vectors.append(part)
            else:
                value = self.frame.number(part.name) if isinstance(part, Raw) else _number(self.graph, part.value)
                vectors.append(Vector.of(self.graph, [value]))
        return concatenate(self.graph, vectors)

    def column(self, place: int, *, is_text: bool) -> Value:
        """One column as a text, or as a number."""
        (part,) = self.select([place]).parts
        if isinstance(part, Raw):
            return self.frame.string(part.name) if is_text else self.frame.number(part.name)
        if isinstance(part, Single):
            if is_text and part.value.dtype != "string":
                return self.graph.apply("number_to_string", _number(self.graph, part.value), style="shortest")
            return part.value if is_text else _number(self.graph, part.value)
        if is_text:
            raise ConfigError("a step needs texts where an earlier one makes numbers", code="invalid_model")
        return part.element(0)


class _Run(Vector):
    """Neighbouring columns of one vector while they are gathered."""

    def __init__(self, vector: Vector, places: list[int]) -> None:
        super().__init__(vector.graph, vector.pieces)
        self.vector, self.places = vector, places

    def cut(self) -> Vector:
        return self.vector.slice(self.places)


def _number(graph: Graph, value: Value) -> Value:
    if value.dtype == "string":
        return graph.apply("string_to_number", value)
    return graph.apply("boolean_to_number", value) if value.dtype == "boolean" else value


def array(value: Any) -> Array:
    """A fitted attribute as an array of numbers, dense."""
    dense = value.toarray() if hasattr(value, "toarray") else value
    return np.asarray(dense, dtype=np.float64)


def kind_of(estimator: Any) -> str:
    """The class name of an estimator."""
    return type(estimator).__name__


def unsupported(estimator: Any, problem: str) -> ConfigError:
    """The error for an estimator that recserve cannot take exactly."""
    return ConfigError(problem, code="unsupported_element", where=f"scikit-learn {kind_of(estimator)}")
