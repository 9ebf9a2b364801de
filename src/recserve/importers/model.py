"""An imported model: a program of the scoring core, its inputs and outputs, and a report of what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from recserve.scoring.program import Program

Column = Sequence[Any] | np.ndarray


@dataclass(frozen=True)
class Output:
    """One output of a model.

    Attributes:
        name: as the model calls it, free text.
        dtype: "float64", "string", "bool", or "object" for a list a row; of the elements, for a vector.
        parts: the program's outputs that it is made of: one for a scalar.
        kind: "scalar", or "vector" for an array [rows, parts].
    """

    name: str
    dtype: str
    parts: tuple[str, ...]
    kind: str = "scalar"


@dataclass
class Report:
    """What an importer read.

    Attributes:
        format: "pmml", "mojo" ...
        elements: how many of each model element, transformation, stage or op were read, by its name in the format.
        fields: input field → its declared type.
        targets: the fields that the model predicts.
        transformations: names of derived fields or stages, in order.
        notes: what was read and has no effect on scores, and why: one sentence each.
    """

    format: str
    elements: dict[str, int] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    transformations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, element: str) -> None:
        """One more element of this name was read."""
        self.elements[element] = self.elements.get(element, 0) + 1


@dataclass(frozen=True)
class Scores:
    """The answers for a batch of rows.

    Attributes:
        outputs: name → one value a row: float64 array (NaN = missing), object array of str, bool, tuple
            or None, or an array [rows, size] of a vector.
        errors: row → message, of the rows that the format says must fail; their outputs are missing.
    """

    outputs: dict[str, Any]
    errors: dict[int, str]


class ImportedModel:
    """A model of another platform, ready to score.

    Attributes:
        program: of the scoring core.
        inputs: name → dtype ("float64", "string", "bool"), in the model's order: the columns that `score` reads.
        outputs: name → dtype, in the model's order.
        report: what was read.
    """

    def __init__(self, program: Program, inputs: Mapping[str, str], outputs: Sequence[Output], report: Report) -> None:
        self.program = program
        self.inputs = dict(inputs)
        self.specs = tuple(outputs)
        self.outputs = {output.name: output.dtype for output in self.specs}
        self.report = report

    def score(self, columns: Mapping[str, Column], reference: bool = False) -> Scores:
        """Score rows.

        Args:
            columns: input name → one value a row (str, float, int, bool or None = missing); a str is parsed as the type
                that the model declares. All have the same length. One left out is missing in every row.
            reference: run the slow interpreter instead of the compiled program.

        Raises:
            DataError: columns of unequal lengths, or a value of another type.
        """
        known = {name: columns[name] for name in self.program.inputs if name in columns}
        rows = len(next(iter(columns.values()))) if columns and not known else None
        scores = self.program.run(known, reference=reference, rows=rows)
        return Scores({spec.name: assemble(spec, scores.outputs) for spec in self.specs}, dict(scores.errors))


def assemble(spec: Output, raw: Mapping[str, Any]) -> Any:
    """The output's values [rows] or [rows, parts] from those of its parts, [rows] each."""
    if spec.kind == "scalar":
        return raw[spec.parts[0]]
    return np.stack([np.asarray(raw[part]) for part in spec.parts], axis=1)
