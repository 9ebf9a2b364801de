"""Columns of nested maps: `outer^inner:value,inner:value|outer^...`, or map cells {outer: "inner:value,..."}."""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

from recserve.dtypes import I64
from recserve.features.kernels.cells import (
    count_units,
    is_cut,
    is_valid,
    span_is_bytes,
    span_of,
    text_range,
    write_leaf,
)
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    IS_MAP,
    LEAF,
    LEAF_OFFSETS,
    LEAVES,
    MAP_LEAF,
    MAP_LEAVES,
    MAP_OFFSETS,
    MAP_VALID,
    OK,
    OUT,
    P0,
    TEXT,
    TOO_MANY_BYTES,
    A,
)
from recserve.features.kernels.parse import set_unit_rows
from recserve.features.kernels.pointers import load
from recserve.features.kernels.rows import column_at, fail, take, value_at
from recserve.features.kernels.writer import (
    TOKENS_WRITTEN,
    WRITER,
    add_token,
    finish,
    open_writer,
)
from recserve.features.op import MAX_TEXT_BYTES
from recserve.memory import OUT_OF_MEMORY, view_i64, view_u8

PARTS: Final = {"outer": 0, "inner": 1, "value": 2}
_BAR: Final = 124
_CARET: Final = 94
_COMMA: Final = 44
_COLON: Final = 58


@inner
def _find(text: Any, position: int, end: int, byte: int) -> Any:
    """Position of the first `byte` in text[position:end], else `end`."""
    while position < end and text[position] != byte:
        position += 1
    return position


@inner
def _count_byte(text: Any, first: int, end: int, byte: int) -> Any:
    """How often a byte is in text[first:end]."""
    count = 0
    for at in range(first, end):
        count += text[at] == byte
    return count


@inner
def _bound_of_text(address: int, first: int, end: int, part: int, is_cut: bool) -> Any:
    """An upper bound of the bytes of `part` in a text: an outer key is written once for each of its pairs."""
    if part:
        return end - first
    text, total = view_u8(address, end), 0
    while first < end:
        stop = _find(text, first, end, _BAR) if is_cut else end
        caret = _find(text, first, stop, _CARET)
        total += (caret - first) * (_count_byte(text, caret, stop, _COMMA) + 1)
        first = stop + 1
    return total


@inner
def _bound_of_pair(column: I64, leaf: int, part: int) -> Any:
    """An upper bound of the bytes of `part` in one pair of a map cell."""
    outer = 32
    if column[LEAF] == TEXT:
        outer = load(column[LEAF_OFFSETS] + 8 * leaf + 8) - load(column[LEAF_OFFSETS] + 8 * leaf)
    if column[MAP_LEAF] != TEXT:
        return outer + 32
    first, end = load(column[MAP_OFFSETS] + 8 * leaf), load(column[MAP_OFFSETS] + 8 * leaf + 8)
    if part:
        return end - first
    return outer * (_count_byte(view_u8(column[MAP_LEAVES], end), first, end, _COMMA) + 1)


@inner
def bound_of_tokens(op: I64, run: I64, column: I64, units: int) -> Any:
    """An upper bound of the bytes of all tokens; -TOO_MANY_BYTES where the outer keys of a unit have too many."""
    total, part = 64, op[P0]
    for u in range(units):
        before = total
        first, end = span_of(op, run, column, u)
        if span_is_bytes(op, column):
            total += _bound_of_text(column[LEAVES], first, end, part, True)
        else:
            for leaf in range(first, end):
                if column[IS_MAP]:
                    total += _bound_of_pair(column, leaf, part)
                elif column[LEAF] == TEXT and is_valid(column, leaf):
                    start, stop = text_range(column, leaf)
                    total += _bound_of_text(column[LEAVES], start, stop, part, is_cut(op, column))
        if total - before > MAX_TEXT_BYTES and part == 0:
            return -fail(op, run, TOO_MANY_BYTES, u, 0, -1)
    return total


@inner
def _add_inner(writer: I64, address: int, first: int, end: int, part: int, outer: int, outer_size: int) -> None:
    """Write `part` of each pair in the bytes [first, end) at `address`."""
    text = view_u8(address, end)
    while first < end:
        stop = _find(text, first, end, _COMMA)
        if stop > first:
            colon = _find(text, first, stop, _COLON)
            if part == 0:
                add_token(writer, outer, outer_size)
            elif part == 1:
                add_token(writer, address + first, colon - first)
            else:
                start = min(colon + 1, stop)
                add_token(writer, address + start, stop - start)
        first = stop + 1


@inner
def _add_text(writer: I64, address: int, first: int, end: int, part: int, is_cut: bool) -> None:
    """Write `part` of each pair of the text of a nested map, or of one outer pair if it is not cut."""
    text = view_u8(address, end)
    while first < end:
        stop = _find(text, first, end, _BAR) if is_cut else end
        caret = _find(text, first, stop, _CARET)
        if caret < stop:
            _add_inner(writer, address, caret + 1, stop, part, address + first, caret - first)
        first = stop + 1


@inner
def _add_pair(column: I64, leaf: int, part: int, writer: I64, scratch: int) -> None:
    """Write `part` of each inner pair of one pair of a map cell."""
    if column[MAP_VALID] != 0 and view_u8(column[MAP_VALID] + leaf, 1)[0] == 0:
        return
    if column[LEAF] == TEXT:
        start = load(column[LEAF_OFFSETS] + 8 * leaf)
        outer, size = column[LEAVES] + start, load(column[LEAF_OFFSETS] + 8 * leaf + 8) - start
    else:
        outer = scratch
        size = write_leaf(column[LEAF], column[LEAVES], column[LEAF_OFFSETS], leaf, scratch)
    if column[MAP_LEAF] == TEXT:
        first, end = load(column[MAP_OFFSETS] + 8 * leaf), load(column[MAP_OFFSETS] + 8 * leaf + 8)
        _add_inner(writer, column[MAP_LEAVES], first, end, part, outer, size)
    else:
        end = write_leaf(column[MAP_LEAF], column[MAP_LEAVES], 0, leaf, scratch + 32)
        _add_inner(writer, scratch + 32, 0, end, part, outer, size)


@inner
def nested_pairs(op: I64, run: I64) -> Any:
    """NestedPairs. P0: part."""
    column, target = column_at(run, op[A]), value_at(run, op[OUT])
    units = count_units(op, run, column)
    directory, scratch = take(run, 8 * (units + 1)), take(run, 64)
    bound = bound_of_tokens(op, run, column, units)
    if bound < 0:
        return -bound
    address = open_writer(run, bound)
    if directory < 0 or scratch < 0 or address < 0:
        return OUT_OF_MEMORY
    offsets, writer = view_i64(directory, units + 1), view_i64(address, WRITER)
    offsets[0] = 0
    for u in range(units):
        first, end = span_of(op, run, column, u)
        if span_is_bytes(op, column):
            _add_text(writer, column[LEAVES], first, end, op[P0], True)
        else:
            for leaf in range(first, end):
                if column[IS_MAP]:
                    _add_pair(column, leaf, op[P0], writer, scratch)
                elif column[LEAF] == TEXT and is_valid(column, leaf):
                    start, stop = text_range(column, leaf)
                    _add_text(writer, column[LEAVES], start, stop, op[P0], is_cut(op, column))
        offsets[u + 1] = writer[TOKENS_WRITTEN]
    if finish(run, writer, target) != OK:
        return OUT_OF_MEMORY
    return set_unit_rows(op, run, target, directory, units)
