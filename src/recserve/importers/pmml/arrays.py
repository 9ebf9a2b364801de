"""Arrays, sparse arrays, matrices and inline tables of a document."""

from __future__ import annotations

import re

import numpy as np

from recserve.importers.pmml.document import Element

# A word: "quoted, with \" inside", or anything without blanks.
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def read_words(element: Element) -> list[str]:
    """The texts of an `Array`: split at blanks; a word in double quotes may hold blanks.

    Raises:
        ConfigError: the count in the attribute `n` is another.
    """
    words = [
        re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
        for found in _WORD.finditer(element.text)
    ]
    count = element.integer("n", len(words))
    if count != len(words):
        raise element.invalid(f"says n={count} and holds {len(words)} values")
    return words


def read_numbers(element: Element) -> np.ndarray:
    """The float64 values [n] of an `Array`, or of a `REAL-SparseArray` or `INT-SparseArray` in full."""
    if element.tag in ("REAL-SparseArray", "INT-SparseArray"):
        return _read_sparse(element)
    return _numbers(element)


def _numbers(element: Element) -> np.ndarray:
    words = read_words(element)
    try:
        return np.array([float(word) for word in words], dtype=np.float64)
    except ValueError as error:
        raise element.invalid(f"holds {error.args[0].rpartition(':')[2].strip()}, which is no number") from None


def _read_sparse(element: Element) -> np.ndarray:
    """Positions count from 1; what is not named is `defaultValue`, 0 where absent."""
    indices, entries = element.first("Indices"), element.first("REAL-Entries", "INT-Entries")
    places = _numbers(indices) if indices else np.zeros(0)
    if not np.all(np.isfinite(places)):
        raise element.invalid("has an index that is no number")
    at = places.astype(np.int64)
    values = _numbers(entries) if entries else np.zeros(0)
    size = element.integer("n", int(at.max()) if len(at) else 0)
    if len(at) != len(values) or np.any(at < 1) or np.any(at > size):
        raise element.invalid(f"has {len(at)} indices and {len(values)} entries within n={size}")
    full = np.full(size, element.number("defaultValue", 0.0))
    full[at - 1] = values
    return full


def read_matrix(element: Element) -> np.ndarray:
    """The float64 values [rows, columns] of a `Matrix` (kind any, symmetric or diagonal)."""
    kind = element.choice("kind", ("any", "symmetric", "diagonal"), "any")
    cells = element.all("MatCell")
    if cells:
        return _read_cells(element, cells, kind)
    rows = [_numbers(child) for child in element.all("Array")]
    if kind == "diagonal":
        diagonal = rows[0] if len(rows) == 1 else np.array([row[0] for row in rows])
        full = np.full((len(diagonal), len(diagonal)), element.number("offDiagDefault", 0.0))
        np.fill_diagonal(full, diagonal)
        return full
    if kind == "symmetric":
        full = np.zeros((len(rows), len(rows)))
        for i, row in enumerate(rows):
            if len(row) != i + 1:
                raise element.invalid(f"is symmetric; row {i + 1} has {len(row)} values instead of {i + 1}")
            full[i, : i + 1] = full[: i + 1, i] = row
        return full
    if len({len(row) for row in rows}) > 1:
        raise element.invalid("has rows of different lengths")
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def _read_cells(element: Element, cells: list[Element], kind: str) -> np.ndarray:
    at = [(cell.integer("row", 0), cell.integer("col", 0)) for cell in cells]
    rows = element.integer("nbRows", max(row for row, _ in at))
    columns = element.integer("nbCols", max(column for _, column in at))
    full = np.full((rows, columns), element.number("offDiagDefault", 0.0))
    np.fill_diagonal(full, element.number("diagDefault", 0.0))
    for cell, (row, column) in zip(cells, at, strict=True):
        if not (1 <= row <= rows and 1 <= column <= columns):
            raise cell.invalid(f"is cell ({row}, {column}) of a matrix of {rows} × {columns}")
        full[row - 1, column - 1] = cell.parse_number(cell.text, "the cell")
        if kind == "symmetric":
            full[column - 1, row - 1] = full[row - 1, column - 1]
    return full


def read_table(element: Element) -> list[dict[str, str]]:
    """The rows of an `InlineTable` (or of the one inside `element`): column (local name) → text.

    Raises:
        ConfigError: "unsupported_element" for a `TableLocator`, whose data lie elsewhere.
    """
    if element.first("TableLocator") is not None:
        raise element.unsupported("its data lie outside of the document (TableLocator)")
    table = element if element.tag == "InlineTable" else element.need_child("InlineTable")
    return [{cell.tag: cell.text for cell in row} for row in table.all("row")]
