"""Whole raw columns as the kernels take them: float64 with NaN for missing, texts as codes.

Python looks at each distinct cell of a column once; the rest is NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64
from recserve.errors import DataError
from recserve.scoring.parse import parse_cell
from recserve.scoring.pool import Codes

_NUMBERS: Final = {float, int, bool, type(None)}
_TEXTS: Final = {str, type(None)}


def read_column(column: str, values: Any, dtype: str, codes: Codes) -> tuple[F64, F64]:
    """A raw column, and where it is there but none of the dtype.

    Args:
        column: its name, for messages.
        values: sequence or array of N cells: str, float, int, bool or None.
        dtype: `number`, `boolean` or `string`.
        codes: of the call; texts that are new get one.

    Returns:
        float64[N] with NaN for missing, and float64[N] of 0.0 or 1.0.

    Raises:
        DataError: a cell is of another type.
    """
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise DataError(f"column {column!r} has {values.ndim} axes, not 1", code="wrong_shape")
        if dtype != "string" and values.dtype.kind in "fiub":
            return _from_numbers(np.ascontiguousarray(values, np.float64), dtype)
        values = values.tolist()
    kinds = set(map(type, values))
    if dtype != "string" and kinds <= _NUMBERS:
        try:
            return _from_numbers(np.array(values, np.float64), dtype)
        except OverflowError:  # an int beyond 1e308: cell by cell
            pass
    try:
        return _by_distinct(values, dtype, codes, kinds <= _TEXTS)
    except DataError as error:
        raise error.at(f"column {column!r}") from None


def _from_numbers(numbers: F64, dtype: str) -> tuple[F64, F64]:
    """A column of numbers, NaN for missing, as numbers or as booleans."""
    if dtype == "number":
        return numbers, np.zeros(len(numbers))
    is_truth = (numbers == 0.0) | (numbers == 1.0)
    return np.where(is_truth, numbers, np.nan), (~is_truth & ~np.isnan(numbers)).astype(np.float64)


def _by_distinct(values: Sequence[Any], dtype: str, codes: Codes, is_text: bool) -> tuple[F64, F64]:
    """Parse each distinct cell once; 1, 1.0 and True are told apart."""
    keys: Sequence[Any] = values if is_text else list(zip(map(type, values), values, strict=True))
    try:
        distinct = set(keys)
    except TypeError:  # a cell that cannot be hashed is no cell: let the parser say so
        for value in values:
            parse_cell(value, dtype)
        raise
    table, marks = {}, {}
    for key in distinct:
        table[key], marks[key] = encode_cell(key if is_text else key[1], dtype, codes)
    data = np.fromiter(map(table.__getitem__, keys), np.float64, len(keys))
    if any(marks.values()):
        return data, np.fromiter(map(marks.__getitem__, keys), np.float64, len(keys))
    return data, np.zeros(len(keys))


def encode_cell(raw: Any, dtype: str, codes: Codes) -> tuple[float, float]:
    """A raw cell as the kernels take it, and whether it is there but none of the dtype."""
    cell, is_unparsed = parse_cell(raw, dtype)
    if not cell.is_valid:
        return math.nan, float(is_unparsed)
    return float(codes.code(cell.value) if dtype == "string" else cell.value), 0.0
