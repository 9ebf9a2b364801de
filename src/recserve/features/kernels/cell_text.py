"""Cells of a whole column as text, one text a row: what a request would carry of them."""

from __future__ import annotations

from typing import Any, Final

from numba import njit

from recserve.dtypes import I64, U8
from recserve.features.kernels.cells import is_token, is_valid, leaf_range, write_leaf
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    COLUMN_ROWS,
    DEPTH,
    IS_MAP,
    LEAF,
    LEAF_OFFSETS,
    LEAVES,
    MAP_LEAF,
    MAP_LEAVES,
    MAP_OFFSETS,
    MAP_VALID,
    TEXT,
)
from recserve.features.kernels.pointers import load
from recserve.features.kernels.write_number import MAX_BYTES
from recserve.memory import view_u8

_MULTI_VALUE: Final = 0x1D
_COLON: Final = 0x3A


@inner
def _most_bytes(kind: int, offsets: int, first: int, end: int) -> Any:
    """An upper bound of the text of the leaves [first, end)."""
    if kind != TEXT:
        return MAX_BYTES * (end - first)
    return load(offsets + 8 * end) - load(offsets + 8 * first) if end > first else 0


@inner
def _write_part(column: I64, leaf: int, address: int) -> Any:
    """Write one leaf, of a map one `key:value`; the number of bytes, 0 where it is missing."""
    if not (is_token(column, leaf) if column[DEPTH] == 0 else is_valid(column, leaf)):
        return 0
    size = write_leaf(column[LEAF], column[LEAVES], column[LEAF_OFFSETS], leaf, address)
    if not column[IS_MAP]:
        return size
    if column[MAP_VALID] and view_u8(column[MAP_VALID] + leaf, 1)[0] == 0:
        return 0
    view_u8(address + size, 1)[0] = _COLON
    at = address + size + 1
    return size + 1 + write_leaf(column[MAP_LEAF], column[MAP_LEAVES], column[MAP_OFFSETS], leaf, at)


@njit("int64(int64[::1], int64)", cache=True, nogil=True)
def measure_texts(column: I64, rows: int) -> int:
    """An upper bound of the bytes that `write_texts` writes for the first `rows` rows of a column record."""
    size = 0
    for row in range(rows):
        first, end = leaf_range(column, 0 if column[COLUMN_ROWS] == 1 else row)
        size += end - first + _most_bytes(column[LEAF], column[LEAF_OFFSETS], first, end)
        if column[IS_MAP]:
            size += end - first + _most_bytes(column[MAP_LEAF], column[MAP_OFFSETS], first, end)
    return size


@njit("int64(int64[::1], uint8[::1], int64[::1], int64[::1])", cache=True, nogil=True)
def write_texts(column: I64, data: U8, token_offsets: I64, starts: I64) -> int:
    """Write each cell of N rows as at most one token; a missing or empty cell has none.

    Elements of a list, and the `key:value` pairs of a map, are joined with 0x1d.

    Args:
        column: int64[COLUMN], of N rows or 1.
        data: uint8 of at least `measure_texts` bytes, written.
        token_offsets: int64[N + 1], written: token t is `data[token_offsets[t]:token_offsets[t + 1]]`.
        starts: int64[N + 1], written: the tokens of row n are `[starts[n], starts[n + 1])`.

    Returns:
        the number of tokens.
    """
    base, at, tokens = data.ctypes.data, 0, 0
    token_offsets[0], starts[0] = 0, 0
    for row in range(len(starts) - 1):
        first, end = leaf_range(column, 0 if column[COLUMN_ROWS] == 1 else row)
        begin = at
        for leaf in range(first, end):
            gap = 1 if at > begin else 0
            size = _write_part(column, leaf, base + at + gap)
            if size > 0:
                if gap:
                    data[at] = _MULTI_VALUE
                at += gap + size
        if at > begin:
            tokens += 1
            token_offsets[tokens] = at
        starts[row + 1] = tokens
    return tokens
