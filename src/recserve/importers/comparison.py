"""A model's answers held to expected ones: rows of a CSV file, cell by cell."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recserve.errors import ConfigError, DataError, suggest
from recserve.importers.model import ImportedModel

MISSING: Final = frozenset({"", "NA", "N/A"})
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(Infinity|inf)")
_PART: Final = re.compile(r"(.+)\[(\d+)\]")

Table = dict[str, list[str | None]]


@dataclass(frozen=True)
class Difference:
    """One cell that is not as expected.

    Attributes:
        row: 0 is the first under the header.
        column: of the expected table.
        expected, got: the cells; `got` is the message of a row that fails.
    """

    row: int
    column: str
    expected: Any
    got: Any


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        rows: how many were scored.
        columns: that were compared.
        differences: by row and column.
        worst: largest |got - expected| / max(1, |expected|) of numbers that are near enough.
        errors: row → message of the rows that fail.
    """

    rows: int
    columns: tuple[str, ...]
    differences: tuple[Difference, ...]
    worst: float
    errors: Mapping[int, str]


def read_table(path: Path, missing: frozenset[str] = MISSING) -> Table:
    """A CSV file with a header; cells of `missing` are None.

    Raises:
        DataError: it cannot be read, has no header, two columns of a name, or a row of another length.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = csv.reader(file)
    except (OSError, UnicodeError, csv.Error, ValueError) as error:
        reason = "it is empty" if isinstance(error, ValueError) and "unpack" in str(error) else str(error)
        raise DataError(f"cannot be read as CSV: {reason}", where=str(path)) from None
    if len(set(header)) != len(header):
        raise DataError("two columns have one name", where=f"{path}:1")
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"has {len(row)} cells, the header {len(header)}", where=f"{path}: row {number}")
    return {name: [None if row[i] in missing else row[i] for row in rows] for i, name in enumerate(header)}


def compare(
    model: ImportedModel,
    rows: Table,
    expected: Table,
    *,
    columns: Mapping[str, str] | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-9,
) -> Comparison:
    """Score rows and compare.

    Args:
        model: to be checked.
        rows: its inputs by name; others are passed over.
        expected: answers by column, as many rows.
        columns: expected column → output, or `output[i]` for a place in a vector; None takes every expected column that
            has the name of an output and is no input.
        rtol: numbers may differ by the larger of rtol · |expected|
        atol: and of this.

    Raises:
        ConfigError: there is nothing to compare, or a column or output is unknown.
        DataError: the tables differ in length.
    """
    chosen = _chosen(model, expected, columns)
    count = len(next(iter(expected.values())))
    if any(len(cells) != count for cells in rows.values()):
        raise DataError(f"there are {len(next(iter(rows.values())))} rows and {count} expected ones")
    scores = model.score({name: cells for name, cells in rows.items() if name in model.inputs} or {"": [None] * count})
    worst = 0.0
    found: list[Difference] = []
    for column, (output, place) in chosen.items():
        values = scores.outputs[output]
        answers = [value if place is None or value is None else value[place] for value in values]
        for row, (cell, answer) in enumerate(zip(expected[column], answers, strict=True)):
            want, got = _plain(cell), _plain(answer)
            distance = _distance(want, got, rtol, atol)
            if distance is None:
                found.append(Difference(row, column, want, scores.errors.get(row, got)))
            else:
                worst = max(worst, distance)
    found.sort(key=lambda difference: (difference.row, difference.column))
    return Comparison(count, tuple(chosen), tuple(found), worst, scores.errors)


def _chosen(
    model: ImportedModel, expected: Table, columns: Mapping[str, str] | None
) -> dict[str, tuple[str, int | None]]:
    """Expected column → (output, place in it)."""
    if columns is None:
        columns = {name: name for name in expected if _output_of(model, name) and name not in model.inputs}
        if not columns:
            raise ConfigError(
                "no column has the name of an output",
                code="nothing_to_compare",
                hint=f"Outputs: {', '.join(map(repr, model.outputs))}. Name columns with --column COLUMN=OUTPUT",
            )
    chosen = {}
    for column, output in columns.items():
        if column not in expected:
            raise ConfigError(f"there is no expected column {column!r}", hint=suggest(column, expected))
        found = _output_of(model, output)
        if found is None:
            raise ConfigError(f"the model has no output {output!r}", hint=suggest(output, model.outputs))
        chosen[column] = found
    return chosen


def _output_of(model: ImportedModel, name: str) -> tuple[str, int | None] | None:
    if name in model.outputs:
        return name, None
    if (match := _PART.fullmatch(name)) and match[1] in model.outputs:
        spec = next(spec for spec in model.specs if spec.name == match[1])
        if int(match[2]) < len(spec.parts):
            return match[1], int(match[2])
    return None


def _plain(value: Any) -> Any:
    """A cell as None, a float, a text or a list of these; truths as the texts `true` and `false`."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return float(value)
    return value.lower() if value.lower() in {"true", "false"} else value


def _distance(want: Any, got: Any, rtol: float, atol: float) -> float | None:
    """Relative distance of two cells that agree; None where they do not."""
    if isinstance(want, float) and isinstance(got, float):
        if want == got:
            return 0.0
        far = abs(want - got)
        return far / max(1.0, abs(want)) if far <= max(rtol * abs(want), atol) else None
    if isinstance(want, str) and isinstance(got, list):
        return 0.0 if want == ", ".join(map(_word, got)) else None
    return 0.0 if type(want) is type(got) and want == got else None


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def report_lines(report: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Sequence[str]:
    """An importer's report (`importers.model.Report`) for people, a line each."""
    lines = [f"Format: {report.format}"]
    if report.elements:
        lines.append("Read: " + ", ".join(f"{count} {name}" for name, count in report.elements.items()))
    if report.transformations:
        lines.append(f"Transformations: {', '.join(report.transformations)}")
    if report.targets:
        lines.append(f"Targets: {', '.join(report.targets)}")
    lines.append("Inputs:")
    lines += [f"  {name}: {report.fields.get(name, dtype)}" for name, dtype in inputs.items()]
    lines.append("Outputs:")
    lines += [f"  {name}: {dtype}" for name, dtype in outputs.items()]
    if report.notes:
        lines.append("Without effect on scores:")
        lines += [f"  {note}" for note in report.notes]
    return lines
