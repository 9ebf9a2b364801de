"""`ModelVerification`: rows with answers that a document carries; the imported model must give them.

The document's own producer wrote these rows, so a model that misses them is read wrongly or is broken: it is refused.
"""

from __future__ import annotations

import math
from typing import Any

from recserve.errors import ConfigError
from recserve.importers.model import ImportedModel
from recserve.importers.pmml.arrays import read_table
from recserve.importers.pmml.document import Element


def check(model: Element, imported: ImportedModel) -> None:
    """Score the rows of a model's `ModelVerification`, where it has one, and compare.

    Raises:
        ConfigError: "verification_failed": an answer differs by more than the document allows.
    """
    element = model.first("ModelVerification")
    if element is None:
        return
    fields = element.need_child("VerificationFields").all("VerificationField")
    rows = read_table(element)
    columns: dict[str, list[Any]] = {}
    expected: list[tuple[Element, list[str | None]]] = []
    for field in fields:
        name = field.need("field")
        column = field.get("column", name)
        cells = [row.get(_tag(str(column))) or None for row in rows]
        if name in imported.outputs:
            expected.append((field, cells))
        elif name in imported.inputs:
            columns[name] = cells
    if not rows or not expected:
        return
    columns = columns or {next(iter(imported.inputs), ""): [None] * len(rows)}
    scores = imported.score(columns)
    for field, cells in expected:
        _compare(field, cells, scores.outputs[field.need("field")].tolist(), scores.errors)
    imported.report.notes.append(f"{len(rows)} rows of ModelVerification give the document's answers.")


def _tag(column: str) -> str:
    """The column's local name: a prefix names the producer."""
    return column.rpartition(":")[2]


def _compare(field: Element, cells: list[str | None], got: list[Any], errors: dict[int, str]) -> None:
    precision = field.number("precision", 1e-6)
    zero = field.number("zeroThreshold", 1e-16)
    for row, (cell, value) in enumerate(zip(cells, got, strict=True)):
        if cell is None:
            continue
        if row in errors or not _same(cell, value, precision, zero):
            found = errors.get(row, f"got {value!r}")
            raise ConfigError(
                f"row {row + 1} of ModelVerification must give {cell!r} for {field.get('field')!r}, {found}",
                code="verification_failed",
                where=field.place,
                hint="The document contradicts its own samples, or recserve reads it wrongly",
            )


def _same(cell: str, value: Any, precision: float, zero: float) -> bool:
    if value is None:
        return False
    try:
        want, found = float(cell), float(value)
    except ValueError:
        return str(value).lower() == cell.strip().lower() or str(value) == cell
    if math.isnan(found):
        return math.isnan(want)
    if abs(want) <= zero:
        return abs(found) <= max(zero, precision)
    return want * (1 - precision) <= found <= want * (1 + precision) or want * (1 + precision) <= found <= want * (
        1 - precision
    )
