"""Cells of raw columns: which leaves belong to a row or a step, and how text is cut.

A *unit* is what becomes one row of a parsed value: a row of the column, or a step of SplitSteps over it. Its *span* is
a range of leaves; of a text cell with steps it is a range of bytes.
"""

from __future__ import annotations

from typing import Any, Final

from recserve.dtypes import I64, U8
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    COLUMN_ROWS,
    DEPTH,
    FLOAT,
    INNER,
    INT,
    IS_MAP,
    LEAF,
    LEAF_OFFSETS,
    LEAF_VALID,
    LEAVES,
    OUTER,
    P5,
    RUN_ROWS,
    RUN_TRAINING,
    TEXT,
    B,
)
from recserve.features.kernels.pointers import load
from recserve.features.kernels.rows import column_at, copy_bytes, value_at
from recserve.features.kernels.write_number import write_integer, write_number
from recserve.memory import COUNT, EXTRA, EXTRA_COUNT, ROWS, view_f64, view_i64, view_u8

SEPARATOR_TABLE: Final = 256
"""Bytes of the first part of a separator table, see `separator_at`."""


@inner
def separator_at(text: U8, position: int, end: int, table: int) -> Any:
    """Bytes of the separator that starts at `position`, 0 if none.

    `table` is the address of uint8: [b] for each byte b 0 (starts no separator), 1 (is one) or 2 (may start longer
    ones); then the number of longer ones, and of each its size and bytes.
    """
    entries = view_u8(table, SEPARATOR_TABLE + 1)
    kind = entries[text[position]]
    if kind < 2:
        return kind
    at = table + SEPARATOR_TABLE + 1
    for _ in range(entries[SEPARATOR_TABLE]):
        size = view_u8(at, 1)[0]
        separator = view_u8(at + 1, size)
        if position + size <= end:
            i = 0
            while i < size and text[position + i] == separator[i]:
                i += 1
            if i == size:
                return size
        at += 1 + size
    return 0


@inner
def piece_end(text: U8, position: int, end: int, table: int) -> Any:
    """Where the piece that starts at `position` ends: at the next separator, or at `end`."""
    while position < end and separator_at(text, position, end, table) == 0:
        position += 1
    return position


@inner
def leaf_range(column: I64, row: int) -> Any:
    """The leaves (of a map: pairs) of `row`, as (first, end)."""
    if column[DEPTH] == 0:
        return row, row + 1
    first, end = load(column[OUTER] + 8 * row), load(column[OUTER] + 8 * row + 8)
    if column[DEPTH] == 1:
        return first, end
    return load(column[INNER] + 8 * first), load(column[INNER] + 8 * end)


@inner
def is_valid(column: I64, leaf: int) -> Any:
    """Whether `leaf` is not missing."""
    return column[LEAF_VALID] == 0 or view_u8(column[LEAF_VALID] + leaf, 1)[0] != 0


@inner
def text_range(column: I64, leaf: int) -> Any:
    """The bytes of a TEXT leaf as (first, end); an empty range if it is missing."""
    first = load(column[LEAF_OFFSETS] + 8 * leaf)
    return first, load(column[LEAF_OFFSETS] + 8 * leaf + 8) if is_valid(column, leaf) else first


@inner
def is_masked(op: I64, run: I64, row: int) -> Any:
    """Whether the cells of `row` count as missing: P5 of a column op is the mask's column, or -1."""
    if op[P5] < 0 or run[RUN_TRAINING] == 0:
        return False
    mask = column_at(run, op[P5])
    at = 0 if mask[COLUMN_ROWS] == 1 else row
    return is_valid(mask, at) and view_u8(mask[LEAVES] + at, 1)[0] != 0


@inner
def distinct_cells(op: I64, run: I64, column: I64) -> Any:
    """Rows of a column op that may differ: 1 where the column has one row, unless a mask tells rows apart."""
    if column[COLUMN_ROWS] != 1:
        return column[COLUMN_ROWS]
    has_mask = op[P5] >= 0 and run[RUN_TRAINING] != 0
    return run[RUN_ROWS] if has_mask else 1


@inner
def count_units(op: I64, run: I64, column: I64) -> Any:
    """Number of units of a column op with its steps, or -1, in B."""
    return value_at(run, op[B])[EXTRA_COUNT] if op[B] >= 0 else distinct_cells(op, run, column)


@inner
def count_rows(op: I64, run: I64) -> Any:
    """Rows of the output of a column op."""
    return value_at(run, op[B])[COUNT] if op[B] >= 0 else run[RUN_ROWS]


@inner
def span_of(op: I64, run: I64, column: I64, unit: int) -> Any:
    """The span of `unit` as (first, end)."""
    if op[B] >= 0:
        spans = view_i64(value_at(run, op[B])[EXTRA] + 16 * unit, 2)
        return spans[0], spans[1]
    if is_masked(op, run, unit):
        return 0, 0
    return leaf_range(column, 0 if column[COLUMN_ROWS] == 1 else unit)


@inner
def span_is_bytes(op: I64, column: I64) -> Any:
    """Whether spans are ranges of bytes."""
    return op[B] >= 0 and column[DEPTH] == 0 and column[LEAF] == TEXT


@inner
def is_cut(op: I64, column: I64) -> Any:
    """Whether text leaves are cut at the separators: where the cell, or the step, is a text."""
    return column[LEAF] == TEXT and unit_depth(op, column) <= 0


@inner
def unit_depth(op: I64, column: I64) -> Any:
    """How deep a unit is nested: 0 a scalar, 1 a list. A step cut from a text cell has -1."""
    return column[DEPTH] - (op[B] >= 0)


@inner
def count_of_units(op: I64, run: I64) -> Any:
    """How many rows of the output read each unit in turn: steps of a column of one row are those of every row."""
    steps = value_at(run, op[B])
    return steps[ROWS] if steps[EXTRA_COUNT] != steps[COUNT] else 1


@inner
def token_bytes(column: I64, op: I64, run: I64, units: int) -> Any:
    """An upper bound of the bytes of all tokens, and of their number, as (bytes, tokens) over all units."""
    size, count = 0, 0
    for u in range(units):
        first, end = span_of(op, run, column, u)
        if span_is_bytes(op, column):
            size += end - first
            count += end - first + 1
        elif column[LEAF] == TEXT:
            if end > first:
                width = load(column[LEAF_OFFSETS] + 8 * end) - load(column[LEAF_OFFSETS] + 8 * first)
                size += width
                count += end - first + (width if is_cut(op, column) else 0)
        else:
            size += (end - first) * 32
            count += end - first
    return size, count


@inner
def write_leaf(kind: int, leaves: int, offsets: int, leaf: int, address: int) -> Any:
    """Write the text of a leaf of `kind` at `address`; the number of bytes."""
    if kind == TEXT:
        first = load(offsets + 8 * leaf)
        size = load(offsets + 8 * leaf + 8) - first
        copy_bytes(address, leaves + first, size)
        return size
    if kind == INT:
        return write_integer(load(leaves + 8 * leaf), address)
    if kind == FLOAT:
        return write_number(view_f64(leaves + 8 * leaf, 1)[0], address)
    out = view_u8(address, 5)
    if view_u8(leaves + leaf, 1)[0]:
        out[0], out[1], out[2], out[3] = 116, 114, 117, 101
        return 4
    out[0], out[1], out[2], out[3], out[4] = 102, 97, 108, 115, 101
    return 5


@inner
def number_of_leaf(kind: int, leaves: int, leaf: int) -> Any:
    """A leaf that is not text, as float64."""
    if kind == INT:
        return float(load(leaves + 8 * leaf))
    if kind == FLOAT:
        return view_f64(leaves + 8 * leaf, 1)[0]
    return 1.0 if view_u8(leaves + leaf, 1)[0] else 0.0


@inner
def is_token(column: I64, leaf: int) -> Any:
    """Whether a leaf that is not text is a token: neither missing nor NaN."""
    if not is_valid(column, leaf):
        return False
    if column[LEAF] == FLOAT:
        x = view_f64(column[LEAVES] + 8 * leaf, 1)[0]
        return x == x  # noqa: PLR0124  (not NaN)
    return True


@inner
def is_map(column: I64) -> Any:
    """Whether the cells are maps."""
    return column[IS_MAP] != 0
