"""Columns as most callers give them: typed leaves without missing ones. Their elements are used where they lie.

Each function answers UNUSUAL where the column is of another form; the general way then follows.
"""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    COLUMN_ROWS,
    DEPTH,
    FLOAT,
    INT,
    IS_MAP,
    LEAF,
    LEAF_OFFSETS,
    LEAF_VALID,
    LEAVES,
    MAP_LEAF,
    MAP_LEAVES,
    MAP_VALID,
    OK,
    OUTER,
    P0,
    P4,
    P5,
    RUN_ROWS,
    TEXT,
    B,
)
from recserve.features.kernels.pointers import load, load_f64, load_u8, store, store_f64
from recserve.features.kernels.rows import set_elements, set_offsets, take, value_at
from recserve.features.kernels.write_number import write_integer
from recserve.memory import EXTRA, OUT_OF_MEMORY

UNUSUAL: Final = -2


@inner
def _rows_of_leaves(run: I64, column: I64, target: I64) -> Any:
    """Give `target` the rows of a column of leaves or of lists: the first leaf, or OUT_OF_MEMORY."""
    rows = column[COLUMN_ROWS]
    directory = take(run, 8 * (rows + 1))
    if directory < 0:
        return OUT_OF_MEMORY
    first = 0
    if column[DEPTH] == 0:
        for n in range(rows + 1):
            store(directory + 8 * n, n)
    else:
        outer = column[OUTER]
        first = load(outer)
        for n in range(rows + 1):
            store(directory + 8 * n, load(outer + 8 * n) - first)
    set_offsets(target, directory, rows, run[RUN_ROWS])
    return first


@inner
def _leaf_count(column: I64) -> Any:
    """Leaves of all rows of a column of leaves or lists."""
    if column[DEPTH] == 0:
        return column[COLUMN_ROWS]
    return load(column[OUTER] + 8 * column[COLUMN_ROWS]) - load(column[OUTER])


@inner
def _is_plain(op: I64, column: I64) -> Any:
    """Whether rows are leaves or lists, neither masked nor cut into steps, of a batch of rows."""
    return op[B] < 0 and op[P5] < 0 and column[DEPTH] < 2 and column[COLUMN_ROWS] > 0


@inner
def plain_numbers(op: I64, run: I64, column: I64, target: I64) -> Any:
    """ParseNumbers of numbers: floats as they lie, integers converted."""
    if not _is_plain(op, column) or column[LEAF_VALID] != 0 or column[LEAF] not in (INT, FLOAT):
        return UNUSUAL
    count = _leaf_count(column)
    numbers = column[LEAVES] + (8 * load(column[OUTER]) if column[DEPTH] else 0)
    if column[LEAF] == FLOAT:
        missing = 0
        if column[DEPTH] == 0:  # as a cell, NaN is missing; in a list it is a number
            for i in range(count):
                x = load_f64(numbers + 8 * i)
                missing += x != x  # noqa: PLR0124  (NaN)
        if missing > 0:
            return UNUSUAL
    if _rows_of_leaves(run, column, target) < 0:
        return OUT_OF_MEMORY
    return _set_numbers(run, target, column[LEAF], numbers, count)


@inner
def _set_numbers(run: I64, target: I64, kind: int, numbers: int, count: int) -> Any:
    """Give `target` float64 elements from INT or FLOAT leaves at an address."""
    if kind == INT:
        out = take(run, 8 * count)
        if out < 0:
            return OUT_OF_MEMORY
        for i in range(count):
            store_f64(out + 8 * i, float(load(numbers + 8 * i)))
        numbers = out
    set_elements(target, numbers, 0, 0, count)
    return OK


@inner
def _has_separator(first: int, end: int, table: int) -> Any:
    """Whether a byte at an address in [first, end) may start a separator."""
    found = 0
    for address in range(first, end):
        found |= load_u8(table + load_u8(address))
    return found != 0


@inner
def plain_texts(op: I64, run: I64, column: I64, target: I64) -> Any:
    """ParseTokens of texts, none of them empty or with a separator in it: the texts as they lie."""
    is_plain = _is_plain(op, column) and column[LEAF] == TEXT and column[LEAF_VALID] == 0
    if not is_plain or op[P4] != 0:
        return UNUSUAL
    count = _leaf_count(column)
    offsets = column[LEAF_OFFSETS] + (8 * load(column[OUTER]) if column[DEPTH] else 0)
    empty = 0
    for i in range(count):
        empty += load(offsets + 8 * i) == load(offsets + 8 * i + 8)
    if empty > 0:
        return UNUSUAL
    if column[DEPTH] == 0:
        text = column[LEAVES]
        if _has_separator(text + load(offsets), text + load(offsets + 8 * count), op[P0]):
            return UNUSUAL
    if _rows_of_leaves(run, column, target) < 0:
        return OUT_OF_MEMORY
    set_elements(target, column[LEAVES], offsets, 0, count)
    return OK


@inner
def plain_integers(op: I64, run: I64, column: I64, target: I64, units: int, directory: int) -> Any:
    """ParseTokens of integers, in cells, lists or steps: their texts. The offsets of the units go to `directory`.

    Kept: OK or OUT_OF_MEMORY; the rows of `target` are the caller's.
    """
    if op[P5] >= 0 or column[LEAF] != INT or column[LEAF_VALID] != 0 or (column[DEPTH] == 2 and op[B] < 0):
        return UNUSUAL
    spans, stride, width = _spans_of(op, run, column)
    count = 0
    for u in range(units):
        count += load(spans + stride * u + width) - load(spans + stride * u) if stride else 1
    block, offsets = take(run, 20 * count), take(run, 8 * (count + 1))
    if offsets < 0 or directory < 0:
        return OUT_OF_MEMORY
    leaves, at, t = column[LEAVES], 0, 0
    store(offsets, 0)
    store(directory, 0)
    for u in range(units):
        first, end = u, u + 1
        if stride:
            first, end = load(spans + stride * u), load(spans + stride * u + width)
        for leaf in range(first, end):
            at += write_integer(load(leaves + 8 * leaf), block + at)
            t += 1
            store(offsets + 8 * t, at)
        store(directory + 8 * u + 8, t)
    set_elements(target, block, offsets, 0, t)
    return OK


@inner
def _spans_of(op: I64, run: I64, column: I64) -> Any:
    """(address, bytes from one span to the next, bytes from its first leaf to its end); 0 bytes: leaf u is unit u."""
    if op[B] >= 0:
        return value_at(run, op[B])[EXTRA], 16, 8
    return column[OUTER], 8 * (column[DEPTH] != 0), 8


@inner
def plain_keys(op: I64, run: I64, column: I64, target: I64) -> Any:
    """PairKeys of maps from text: the keys as they lie."""
    if not _is_plain(op, column) or not column[IS_MAP] or column[LEAF] != TEXT or column[LEAF_VALID] != 0:
        return UNUSUAL
    count, offsets = _leaf_count(column), column[LEAF_OFFSETS] + 8 * load(column[OUTER])
    if _rows_of_leaves(run, column, target) < 0:
        return OUT_OF_MEMORY
    set_elements(target, column[LEAVES], offsets, 0, count)
    return OK


@inner
def plain_map_numbers(op: I64, run: I64, column: I64, target: I64) -> Any:
    """PairNumbers of maps to numbers: floats as they lie, integers converted."""
    is_plain = _is_plain(op, column) and column[IS_MAP] and column[MAP_VALID] == 0
    if not is_plain or column[MAP_LEAF] not in (INT, FLOAT):
        return UNUSUAL
    if _rows_of_leaves(run, column, target) < 0:
        return OUT_OF_MEMORY
    numbers = column[MAP_LEAVES] + 8 * load(column[OUTER])
    return _set_numbers(run, target, column[MAP_LEAF], numbers, _leaf_count(column))
