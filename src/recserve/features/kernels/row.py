"""Column records of one row whose cells lie in pools."""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Final

from numba import njit

from recserve.dtypes import F64, I64, U8
from recserve.features.kernels.layout import (
    COLUMN_ROWS,
    DEPTH,
    INT,
    IS_MAP,
    LEAF,
    LEAF_OFFSETS,
    LEAVES,
    MAP_LEAF,
    MAP_LEAVES,
    MAP_OFFSETS,
    OUTER,
    TEXT,
)

LIST: Final = 4
"""Added to the kind of the leaves: a list of them."""
MAP: Final = 8
"""Added to the kind of the values: a map from text."""
EMPTY_LIST: Final = LIST + TEXT


_ARRAYS: Final = "Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1], float64[::1], int64[:, ::1], int64[::1]"


@njit(f"void(int64[::1], {_ARRAYS})", cache=True)
def lay_out_row(shapes: I64, text: U8, lengths: I64, integers: I64, floats: F64, table: I64, offsets: I64) -> None:
    """Fill the records of the cells of a row.

    Args:
        shapes: int64[2 * C], for each column a code (kind of the leaf, or LIST or MAP more) and a number of elements;
            a negative code: the caller fills the record.
        text: bytes of all texts; of a map the keys come first.
        lengths: int64, bytes of each text.
        integers: all integers, in order.
        floats: all floats, in order.
        table: int64[C, COLUMN], filled.
        offsets: int64[2 * C + texts + 1], filled and pointed to.
    """
    columns = len(shapes) // 2
    starts = offsets[2 * columns :]
    starts[0] = 0
    for t in range(len(lengths)):
        starts[t + 1] = starts[t] + lengths[t]
    at_text, at_integer, at_float = 0, 0, 0
    for c in range(columns):
        code, count, record = shapes[2 * c], shapes[2 * c + 1], table[c]
        if code < 0:
            continue
        record[:] = 0
        record[COLUMN_ROWS] = 1
        if code >= LIST:
            offsets[2 * c], offsets[2 * c + 1] = 0, count
            record[DEPTH], record[OUTER] = 1, offsets.ctypes.data + 16 * c
        kind, leaf, leaves, ends = code & 3, LEAF, LEAVES, LEAF_OFFSETS
        if code >= MAP:
            record[IS_MAP], record[LEAF], record[LEAVES] = 1, TEXT, text.ctypes.data
            record[LEAF_OFFSETS] = starts.ctypes.data + 8 * at_text
            at_text += count
            leaf, leaves, ends = MAP_LEAF, MAP_LEAVES, MAP_OFFSETS
        record[leaf] = kind
        if kind == TEXT:
            record[leaves], record[ends] = text.ctypes.data, starts.ctypes.data + 8 * at_text
            at_text += count
        elif kind == INT:
            record[leaves] = integers.ctypes.data + 8 * at_integer
            at_integer += count
        else:
            record[leaves] = floats.ctypes.data + 8 * at_float
            at_float += count
