"""Columns of `key<delimiter>value` pairs, or of maps, to keys and values; columns of nested pairs.

As in `parse`; P1 and P2 are the address and size of the delimiter.
"""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.cells import (
    count_units,
    is_cut,
    is_token,
    number_of_leaf,
    piece_end,
    separator_at,
    span_is_bytes,
    span_of,
    text_range,
    token_bytes,
    write_leaf,
)
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    FLOAT,
    IS_MAP,
    LEAF,
    LEAF_OFFSETS,
    LEAVES,
    MAP_LEAF,
    MAP_LEAVES,
    MAP_OFFSETS,
    MAP_VALID,
    NOT_A_NUMBER,
    OK,
    OUT,
    P0,
    P1,
    P2,
    P3,
    P4,
    TEXT,
    A,
)
from recserve.features.kernels.parse import delimiter_at, set_unit_rows
from recserve.features.kernels.plain import UNUSUAL, plain_keys, plain_map_numbers
from recserve.features.kernels.pointers import load
from recserve.features.kernels.read_number import from_bits, read_number
from recserve.features.kernels.rows import column_at, fail, set_elements, take, value_at
from recserve.features.kernels.writer import (
    BYTES_AT,
    TOKENS_WRITTEN,
    WRITER,
    add_token,
    end_token,
    finish,
    next_address,
    open_writer,
)
from recserve.memory import OUT_OF_MEMORY, view_f64, view_i64, view_u8

KEY: Final = 0
PAIR_VALUE: Final = 1
NUMBER: Final = 2


@inner
def _delimiter_in(op: I64, address: int, size: int) -> Any:
    """Position of the first delimiter in a pair, or its size if it has none."""
    text, delimiter = view_u8(address, size), view_u8(op[P1], op[P2])
    for i in range(size):
        if delimiter_at(text, i, size, delimiter):
            return i
    return size


@inner
def _add_number(op: I64, run: I64, writer: I64, address: int, size: int, unit: int) -> Any:
    """Write 8 bytes: the number that the text spells, `absent` if it is empty. OK or a failure."""
    x = from_bits(op[P3])
    if size > 0:
        is_number, x = read_number(address, size)
        if not is_number:
            return fail(op, run, NOT_A_NUMBER, unit, address, size)
    view_f64(next_address(writer), 1)[0] = x
    end_token(writer, 8)
    return OK


@inner
def _add_pair(op: I64, run: I64, writer: I64, address: int, size: int, part: int, unit: int) -> Any:
    """Write `part` of the pair at `address`. OK or a failure."""
    cut = _delimiter_in(op, address, size)
    if part == KEY:
        add_token(writer, address, cut)
        return OK
    first = min(cut + op[P2], size)
    if part == PAIR_VALUE:
        add_token(writer, address + first, size - first)
        return OK
    return _add_number(op, run, writer, address + first, size - first, unit)


@inner
def _add_pieces(op: I64, run: I64, writer: I64, text: int, first: int, end: int, part: int, unit: int) -> Any:
    """Write `part` of each pair in the bytes [first, end). OK or a failure."""
    cells, position = view_u8(text, end), first
    while position < end:
        stop = piece_end(cells, position, end, op[P0])
        if stop > position:
            status = _add_pair(op, run, writer, text + position, stop - position, part, unit)
            if status != OK:
                return status
        if stop >= end:
            break
        position = stop + separator_at(cells, stop, end, op[P0])
    return OK


@inner
def _is_nan(column: I64, leaf: int) -> Any:
    """Whether the value of a pair of a map cell is NaN."""
    return column[MAP_LEAF] == FLOAT and np.isnan(view_f64(column[MAP_LEAVES] + 8 * leaf, 1)[0])


@inner
def _add_map_value(op: I64, run: I64, column: I64, leaf: int, writer: I64, part: int, unit: int) -> Any:
    """Write the value of one pair of a map cell. OK or a failure."""
    is_present = column[MAP_VALID] == 0 or view_u8(column[MAP_VALID] + leaf, 1)[0] != 0
    if part == PAIR_VALUE:
        size = 0
        if is_present and not _is_nan(column, leaf):
            size = write_leaf(column[MAP_LEAF], column[MAP_LEAVES], column[MAP_OFFSETS], leaf, next_address(writer))
        end_token(writer, size)
        return OK
    if column[MAP_LEAF] == TEXT:
        first, end = load(column[MAP_OFFSETS] + 8 * leaf), load(column[MAP_OFFSETS] + 8 * leaf + 8)
        return _add_number(op, run, writer, column[MAP_LEAVES] + first, end - first if is_present else 0, unit)
    x = from_bits(op[P3])
    if is_present:
        x = number_of_leaf(column[MAP_LEAF], column[MAP_LEAVES], leaf)
    view_f64(next_address(writer), 1)[0] = x
    end_token(writer, 8)
    return OK


@inner
def _add_leaf(op: I64, run: I64, column: I64, leaf: int, writer: I64, part: int, unit: int) -> Any:
    """Write `part` of the pairs of one leaf. OK or a failure."""
    if column[IS_MAP] and part != KEY:
        return _add_map_value(op, run, column, leaf, writer, part, unit)
    if column[LEAF] == TEXT:
        first, end = text_range(column, leaf)
        if column[IS_MAP]:
            add_token(writer, column[LEAVES] + first, end - first)
            return OK
        if end == first:
            return OK
        if is_cut(op, column):
            return _add_pieces(op, run, writer, column[LEAVES], first, end, part, unit)
        return _add_pair(op, run, writer, column[LEAVES] + first, end - first, part, unit)
    if not column[IS_MAP] and not is_token(column, leaf):
        return OK
    size = write_leaf(column[LEAF], column[LEAVES], column[LEAF_OFFSETS], leaf, next_address(writer))
    if part == NUMBER:
        return _add_number(op, run, writer, 0, 0, unit)
    end_token(writer, size if part == KEY else 0)
    return OK


@inner
def _room(op: I64, run: I64, column: I64, units: int, part: int) -> Any:
    """An upper bound of the bytes to write."""
    size, count = token_bytes(column, op, run, units)
    if part == KEY:
        return size
    if part == NUMBER:
        return 8 * count + 64
    if not column[IS_MAP]:
        return size
    total = 0
    for u in range(units):
        first, end = span_of(op, run, column, u)
        if column[MAP_LEAF] != TEXT:
            total += 32 * (end - first)
        elif end > first:
            total += load(column[MAP_OFFSETS] + 8 * end) - load(column[MAP_OFFSETS] + 8 * first)
    return total


@inner
def parse_pairs(op: I64, run: I64) -> Any:
    """PairKeys, PairTokens and PairNumbers. P3: bits of `absent`; P4: KEY, PAIR_VALUE or NUMBER."""
    part, column, target = op[P4], column_at(run, op[A]), value_at(run, op[OUT])
    if part != PAIR_VALUE:
        plain = plain_keys(op, run, column, target) if part == KEY else plain_map_numbers(op, run, column, target)
        if plain != UNUSUAL:
            return plain
    units = count_units(op, run, column)
    directory = take(run, 8 * (units + 1))
    address = open_writer(run, _room(op, run, column, units, part))
    if directory < 0 or address < 0:
        return OUT_OF_MEMORY
    offsets, writer, status = view_i64(directory, units + 1), view_i64(address, WRITER), OK
    offsets[0] = 0
    for u in range(units):
        first, end = span_of(op, run, column, u)
        if span_is_bytes(op, column):
            status = _add_pieces(op, run, writer, column[LEAVES], first, end, part, u)
        else:
            for leaf in range(first, end):
                status = _add_leaf(op, run, column, leaf, writer, part, u)
                if status != OK:
                    break
        if status != OK:
            return status
        offsets[u + 1] = writer[TOKENS_WRITTEN]
    if finish(run, writer, target) != OK:
        return OUT_OF_MEMORY
    if part == NUMBER:
        set_elements(target, writer[BYTES_AT], 0, 0, writer[TOKENS_WRITTEN])
    return set_unit_rows(op, run, target, directory, units)
