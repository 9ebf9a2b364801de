"""The columns of a pipeline while it is read: what the caller gives, and what the stages so far have made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recserve.errors import ConfigError
from recserve.importers.model import ImportedModel, Output, Report
from recserve.importers.pipelines.vectors import Vector
from recserve.scoring.graph import Graph, Value

DTYPES = {"number": "float64", "string": "string", "boolean": "bool"}


@dataclass(frozen=True)
class Tokens:
    """A column of lists of strings: texts, and how they become terms.

    Attributes:
        text: the string that is taken apart.
        steps: one after the other, in the words of `recserve.scoring.ops_terms`.
    """

    text: Value
    steps: tuple[tuple[object, ...], ...] = ()

    def then(self, *step: object) -> Tokens:
        """The tokens after one more step."""
        return Tokens(self.text, (*self.steps, step))


Column = Value | Vector | Tokens


class Frame:
    """Named columns. A column that no stage has made yet is an input of the model.

    Its dtype is what its first reader needs; later readers of another kind get it cast as the platform would.

    Attributes:
        graph: of the scoring core.
        inputs: columns that the caller gives, in the order of their first use: name → dtype as models tell it.
        report: of what is read.
    """

    def __init__(self, format_name: str) -> None:
        self.graph = Graph()
        self.inputs: dict[str, str] = {}
        self.report = Report(format_name)
        self.columns: dict[str, Column] = {}
        self.made: list[str] = []
        self.used: set[str] = set()

    def input(self, name: str, dtype: str) -> Value:
        """A column of the caller's, as `number` or `string`."""
        value = self.graph.input(name, dtype)  # type: ignore[arg-type]
        self.inputs[name] = DTYPES[dtype]
        self.report.fields[name] = DTYPES[dtype]
        self.columns[name] = value
        return value

    def has(self, name: str) -> bool:
        """Whether a stage, or the caller, gives this column."""
        return name in self.columns

    def put(self, name: str, column: Column) -> None:
        """What a stage makes; it replaces a column of the same name."""
        self.columns[name] = column
        if name in self.made:
            self.made.remove(name)
        self.made.append(name)
        self.used.discard(name)

    def get(self, name: str) -> Column:
        """A column as it is; a number from the caller where nobody made it."""
        self.used.add(name)
        return self.columns[name] if name in self.columns else self.input(name, "number")

    def number(self, name: str) -> Value:
        """A column of numbers.

        Raises:
            ConfigError: it is a vector of another size than 1, or a list.
        """
        column = self.get(name)
        if isinstance(column, Vector) and column.size == 1:
            return column.element(0)
        if not isinstance(column, Value):
            raise ConfigError(f"column {name!r} is a {kind_of(column)}; a number is needed", code="invalid_model")
        return as_number(self.graph, column)

    def string(self, name: str) -> Value:
        """A column of texts; numbers are written as Java writes them."""
        self.used.add(name)
        if name not in self.columns:
            return self.input(name, "string")
        column = self.columns[name]
        if not isinstance(column, Value):
            raise ConfigError(f"column {name!r} is a {kind_of(column)}; a text is needed", code="invalid_model")
        return as_string(self.graph, column)

    def vector(self, name: str, size: int | None = None) -> Vector:
        """A column of vectors. From the caller it comes as one column per element, `name[0]`, `name[1]` ….

        Raises:
            ConfigError: it is no vector, or of another size than `size`, or of unknown size.
        """
        self.used.add(name)
        if name not in self.columns:
            if size is None:
                raise ConfigError(
                    f"vector {name!r} comes from the caller, and nothing tells its size", code="unsupported_element"
                )
            self.columns[name] = Vector.of(self.graph, [self._input_element(name, i) for i in range(size)])
        column = self.columns[name]
        if isinstance(column, Value) and column.dtype == "number":
            column = Vector.of(self.graph, [column])
        if not isinstance(column, Vector):
            raise ConfigError(f"column {name!r} is a {kind_of(column)}; a vector is needed", code="invalid_model")
        if size is not None and column.size != size:
            raise ConfigError(
                f"column {name!r} has {column.size} elements, and the stage takes {size}", code="invalid_model"
            )
        return column

    def _input_element(self, name: str, i: int) -> Value:
        full = f"{name}[{i}]"
        self.inputs[full] = self.report.fields[full] = "float64"
        return self.graph.input(full, "number")

    def tokens(self, name: str) -> Tokens:
        """A column of lists of strings. From the caller it comes as one text, split at blanks."""
        self.used.add(name)
        if name not in self.columns:
            self.columns[name] = Tokens(self.input(name, "string")).then("blanks")
            self.report.notes.append(f"Column {name!r} holds lists of words; give them as one text, split at blanks.")
        column = self.columns[name]
        if not isinstance(column, Tokens):
            raise ConfigError(
                f"column {name!r} is a {kind_of(column)}; a list of words is needed", code="invalid_model"
            )
        return column

    def visible(self) -> list[str]:
        """The columns that stages made, but for vectors and lists of words that only later stages need."""
        return [name for name in self.made if name not in self.used or isinstance(self.columns[name], Value)]

    def finish(self, names: Sequence[str]) -> ImportedModel:
        """The model whose outputs are these columns; lists of words are left out, as they are no scores."""
        outputs = []
        for name in names:
            column = self.columns[name]
            if isinstance(column, Tokens):
                continue
            if isinstance(column, Value):
                self.graph.output(name, column)
                outputs.append(Output(name, DTYPES[column.dtype], (name,)))
                continue
            parts = tuple(f"{name}[{i}]" for i in range(column.size))
            for part, value in zip(parts, column.elements(), strict=True):
                self.graph.output(part, value)
            outputs.append(Output(name, "float64", parts, "vector"))
        return ImportedModel(self.graph.build(), self.inputs, outputs, self.report)


def kind_of(column: Column) -> str:
    """What to call a column in an error."""
    if isinstance(column, Vector):
        return f"vector of {column.size} elements"
    return "list of words" if isinstance(column, Tokens) else column.dtype


def as_number(graph: Graph, value: Value) -> Value:
    """A value as a number; a text that is none is missing."""
    if value.dtype == "string":
        return graph.apply("string_to_number", value)
    return graph.apply("boolean_to_number", value) if value.dtype == "boolean" else value


def as_string(graph: Graph, value: Value) -> Value:
    """A value as a text, as Java writes numbers and booleans."""
    if value.dtype == "number":
        return graph.apply("number_to_string", value, style="java")
    return graph.apply("boolean_to_string", value) if value.dtype == "boolean" else value
