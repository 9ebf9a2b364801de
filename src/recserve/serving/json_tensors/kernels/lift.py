"""Finds the lists of numbers in a JSON text and reads them. One pass: no byte is looked at more than twice.

The text need not be JSON. What is found is right for a text that is JSON once each block is replaced by a string: up to
the first block nothing was changed, and a block is JSON in itself.
"""

# mypy: disallow-untyped-decorators=False
# ruff: noqa: PLR0917  (compiled functions pass their state one by one)

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.pointers import load_u8, store
from recserve.features.kernels.read_number import bits_of
from recserve.features.kernels.rows import load_u64
from recserve.memory import view_i64
from recserve.serving.json_tensors.kernels import layout as at
from recserve.serving.json_tensors.kernels.read_value import FLOAT, NOTHING, read_value, skip_space
from recserve.serving.json_tensors.kernels.words import trailing_zeros

_ONES: Final = np.uint64(0x0101010101010101)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_NOWHERE: Final = -1
_UNKNOWN: Final = -1


@inner
def _skip_string(p: int, end: int) -> Any:
    """The address behind the string whose first byte, behind its quotation mark, is at `p`; `end` where it has none."""
    while True:
        while p + 8 <= end:
            word = load_u64(p)
            quotes, slashes = word ^ _QUOTES, word ^ _BACKSLASHES
            found = (((quotes - _ONES) & ~quotes) | ((slashes - _ONES) & ~slashes)) & _HIGH_BITS
            if found:
                p += trailing_zeros(found) >> 3
                break
            p += 8
        if p >= end:
            return end
        c = load_u8(p)
        if c == 34:
            return p + 1
        p += 2 if c == 92 else 1


@inner
def _to_floats(slots: int, first: int, count: int) -> None:
    """Turn int64 slots into the bits of the nearest float64."""
    values = view_i64(slots + 8 * first, count)
    for i in range(count):
        values[i] = bits_of(np.float64(values[i]))


@inner
def _turn_to_floats(slots: int, block: I64, column: I64, row: int, slot: int) -> None:
    """Turn what stands of a column in rows [0, row] of a block into floats, in `row` up to `slot`."""
    size = 1
    for axis in range(column[at.RANK]):
        size *= column[at.DIMS + axis] if row else 1
    for earlier in range(row):
        _to_floats(slots, block[at.FIRST_SLOT] + earlier * block[at.WIDTH] + column[at.OFFSET], size)
    first = block[at.FIRST_SLOT] + row * block[at.WIDTH] + column[at.OFFSET]
    _to_floats(slots, first, slot - first)
    column[at.IS_FLOAT] = at.MIXED if row or slot > first else 1


@inner
def _read_numbers(p: int, end: int, slots: int, slot: int, block: I64, column: I64, row: int) -> Any:
    """(address behind the numbers with commas between them, next slot; −1 where something else stands there).

    Where the column has no axes, only the first number is read.
    """
    is_float, is_single = column[at.IS_FLOAT], column[at.RANK] == 0
    while True:
        p, kind, bits = read_value(p, end)
        if kind == NOTHING:
            return p, _NOWHERE
        if kind == FLOAT:
            if not is_float:
                _turn_to_floats(slots, block, column, row, slot)
                is_float = 1
        elif is_float:
            bits = bits_of(np.float64(bits))
            column[at.IS_FLOAT] = at.MIXED
        store(slots + 8 * slot, bits)
        slot += 1
        if is_single:
            return p, slot
        c = load_u8(p)
        if c <= 32:
            p = skip_space(p)
            c = load_u8(p)
        if c != 44:
            return p, slot
        p += 1
        if load_u8(p) <= 32:
            p = skip_space(p)


@inner
def _open_lists(p: int, column: I64, row: int) -> Any:
    """(address behind the opening brackets at `p`, whether they are as many as they may be)."""
    rank = 0
    while load_u8(p) == 91:
        rank += 1
        p = skip_space(p + 1)
        if rank > at.MAX_RANK:
            return p, False
    if row:
        return p, rank == column[at.RANK]
    column[at.RANK] = rank
    for axis in range(at.MAX_RANK):
        column[at.DIMS + axis] = _UNKNOWN
        column[at.COUNTS + axis] = 0
    return p, True


@inner
def _read_list(p: int, end: int, slots: int, slot: int, block: I64, column: I64, row: int) -> Any:
    """(address behind the number or list of numbers at `p`, next slot; −1 where it is none or of another shape)."""
    p, is_open = _open_lists(p, column, row)
    if not is_open:
        return p, _NOWHERE
    rank = column[at.RANK]
    while True:
        first = slot
        p, slot = _read_numbers(p, end, slots, slot, block, column, row)
        if slot == _NOWHERE or rank == 0:
            return p, slot
        level, count = rank - 1, slot - first
        while True:  # close lists
            if load_u8(p) != 93:
                return p, _NOWHERE
            if column[at.DIMS + level] == _UNKNOWN:
                column[at.DIMS + level] = count
            elif column[at.DIMS + level] != count:
                return p, _NOWHERE
            p += 1
            if level == 0:
                return p, slot
            level -= 1
            column[at.COUNTS + level] += 1
            count = column[at.COUNTS + level]
            p = skip_space(p)
            if load_u8(p) == 44:
                break
            column[at.COUNTS + level] = 0
        p += 1
        for _ in range(level, rank - 1):  # open as many again
            p = skip_space(p)
            if load_u8(p) != 91:
                return p, _NOWHERE
            p += 1
        p = skip_space(p)


@inner
def _read_key(p: int, text: int, column: I64) -> Any:
    """(address of the value of the key at `p`, whether it is a plain one)."""
    if load_u8(p) != 34:
        return p, False
    p += 1
    column[at.KEY_BEGIN] = p - text
    c = load_u8(p)
    while c != 34:
        if c < 32 or c > 126 or c == 92:
            return p, False
        p += 1
        c = load_u8(p)
    column[at.KEY_END] = p - text
    p = skip_space(p + 1)
    return (skip_space(p + 1), True) if load_u8(p) == 58 else (p, False)


@inner
def _match_key(p: int, text: int, column: I64) -> Any:
    """The same of a key that has to be that of a column."""
    begin = text + column[at.KEY_BEGIN] - 1
    for i in range(column[at.KEY_END] - column[at.KEY_BEGIN] + 2):
        if load_u8(p + i) != load_u8(begin + i):
            return p, False
    p = skip_space(p + column[at.KEY_END] - column[at.KEY_BEGIN] + 2)
    return (skip_space(p + 1), True) if load_u8(p) == 58 else (p, False)


@inner
def _begin_column(p: int, op: I64, block: I64, number: int, slot: int, row: int) -> Any:
    """(address of the value of a column whose key is at `p`, whether the key is what it may be)."""
    column = view_i64(op[at.COLUMNS] + 8 * at.COLUMN * number, at.COLUMN)
    if row:
        return _match_key(p, op[at.TEXT], column)
    column[at.OFFSET], column[at.IS_FLOAT] = slot - block[at.FIRST_SLOT], 0
    return _read_key(p, op[at.TEXT], column)


@inner
def _end_object(p: int, block: I64, number: int, slot: int, row: int) -> Any:
    """(address of the key that follows, its column, its row); row −1 where none follows.

    `p` is the address behind the value of column `number - 1`.
    """
    p = skip_space(p)
    c = load_u8(p)
    is_last = c == 125
    if row == 0 and is_last:
        block[at.COLUMN_END] = number
        block[at.WIDTH] = slot - block[at.FIRST_SLOT]
    if row and is_last != (number == block[at.COLUMN_END]):
        return p, number, _NOWHERE
    if not is_last:
        return (skip_space(p + 1), number, row) if c == 44 else (p, number, _NOWHERE)
    p = skip_space(p + 1)
    block[at.ROWS] = row + 1
    if load_u8(p) == 93:
        return p, number, _NOWHERE
    if load_u8(p) != 44:
        return p, number, _NOWHERE
    p = skip_space(p + 1)
    if load_u8(p) != 123:
        return p, number, _NOWHERE
    return skip_space(p + 1), block[at.FIRST_COLUMN], row + 1


@inner
def _read_block(p: int, end: int, op: I64, block: I64) -> Any:
    """(address behind the list or table at `p`, next slot); −1 where it is none, and the address to go on from."""
    slot, number, row = block[at.FIRST_SLOT], block[at.FIRST_COLUMN], 0
    most = min(at.MAX_COLUMNS, number + at.MAX_TABLE_COLUMNS)
    inside = skip_space(p + 1)
    is_table = load_u8(inside) == 123
    if is_table:
        p = skip_space(inside + 1)
    else:
        _begin_list(op, block)
    while number < most:
        if is_table:
            p, is_right = _begin_column(p, op, block, number, slot, row)
            if not is_right:
                break
        column = view_i64(op[at.COLUMNS] + 8 * at.COLUMN * number, at.COLUMN)
        p, slot = _read_list(p, end, op[at.SLOTS], slot, block, column, row)
        if slot == _NOWHERE:
            break
        if not is_table:
            block[at.WIDTH] = slot - block[at.FIRST_SLOT]
            return p, slot
        before = row
        p, number, row = _end_object(p, block, number + 1, slot, row)
        if row == _NOWHERE:
            if load_u8(p) == 93 and block[at.ROWS] == before + 1:
                return p + 1, slot
            row = before
            break
    # The lists of an object may be blocks where the table is none; after more objects that is not worth a second look.
    return (inside + 1 if is_table and row == 0 else p), _NOWHERE


@inner
def _begin_list(op: I64, block: I64) -> None:
    column = view_i64(op[at.COLUMNS] + 8 * at.COLUMN * block[at.FIRST_COLUMN], at.COLUMN)
    column[at.KEY_BEGIN], column[at.KEY_END], column[at.OFFSET], column[at.IS_FLOAT] = _NOWHERE, _NOWHERE, 0, 0
    block[at.ROWS], block[at.COLUMN_END] = 1, block[at.FIRST_COLUMN] + 1


@inner
def lift_numbers(op: I64, run: I64) -> Any:
    """Write the blocks of a text; DONE, or TOO_MANY where there are more than fit."""
    text, end = op[at.TEXT], op[at.TEXT] + op[at.SIZE]
    p, blocks, columns, slot = text, 0, 0, 0
    while p < end:
        c = load_u8(p)
        if c == 34:
            p = _skip_string(p + 1, end)
        elif c == 91:
            if blocks == at.MAX_BLOCKS or columns == at.MAX_COLUMNS:
                return at.TOO_MANY
            block = view_i64(op[at.BLOCKS] + 8 * at.BLOCK * blocks, at.BLOCK)
            block[at.BEGIN], block[at.FIRST_SLOT], block[at.FIRST_COLUMN] = p - text, slot, columns
            block[at.WIDTH], block[at.ROWS] = 0, 0
            p, after = _read_block(p, end, op, block)
            if after != _NOWHERE and p - text - block[at.BEGIN] >= at.MIN_BLOCK_BYTES:
                block[at.END] = p - text
                blocks, columns, slot = blocks + 1, block[at.COLUMN_END], after
        else:
            p += 1
    run[at.BLOCK_COUNT], run[at.COLUMN_COUNT], run[at.SLOT_COUNT] = blocks, columns, slot
    return at.DONE
