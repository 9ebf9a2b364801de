"""Columns to steps, tokens and numbers.

Column ops have their column in A, their steps in B (-1: none), the address of the separator table in P0 and the column
of the mask in P5 (-1: not masked).
"""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any

import numpy as np

from recserve.dtypes import I64, U8
from recserve.features.kernels.cells import (
    count_rows,
    count_units,
    distinct_cells,
    is_cut,
    is_masked,
    is_token,
    is_valid,
    leaf_range,
    number_of_leaf,
    piece_end,
    separator_at,
    span_is_bytes,
    span_of,
    text_range,
    token_bytes,
    unit_depth,
    write_leaf,
)
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    COLUMN_ROWS,
    DEPTH,
    FLOAT,
    INNER,
    IS_A_MAP,
    IS_MAP,
    LEAF,
    LEAF_OFFSETS,
    LEAVES,
    NOT_A_NUMBER,
    OK,
    OUT,
    OUTER,
    P0,
    P1,
    P2,
    P3,
    P4,
    RUN_ROWS,
    TEXT,
    A,
)
from recserve.features.kernels.plain import UNUSUAL, plain_integers, plain_numbers, plain_texts
from recserve.features.kernels.pointers import load
from recserve.features.kernels.read_number import read_number
from recserve.features.kernels.rows import (
    column_at,
    fail,
    give_back,
    set_elements,
    set_offsets,
    take,
    take_rest,
    value_at,
)
from recserve.features.kernels.write_number import write_number
from recserve.features.kernels.writer import (
    TOKENS_WRITTEN,
    WRITER,
    add_token,
    end_token,
    finish,
    next_address,
    open_writer,
)
from recserve.memory import (
    ENDS,
    EXTRA,
    EXTRA_COUNT,
    OUT_OF_MEMORY,
    ROWS,
    STARTS,
    STRIDE,
    view_f64,
    view_i64,
    view_u8,
)


@inner
def set_unit_rows(op: I64, run: I64, target: I64, address: int, units: int) -> Any:
    """Give `target` the rows of a column op from the offsets of its units. OK or OUT_OF_MEMORY.

    Where a column of one row has steps, unit u is step u of every row.
    """
    rows = count_rows(op, run)
    if units in (rows, 1):
        set_offsets(target, address, units, rows)
        return OK
    offsets = view_i64(address, units + 1)
    both = take(run, 16 * rows)
    if both < 0:
        return OUT_OF_MEMORY
    starts, ends = view_i64(both, rows), view_i64(both + 8 * rows, rows)
    for row in range(rows):
        starts[row], ends[row] = offsets[row % units], offsets[row % units + 1]
    target[STARTS], target[ENDS], target[STRIDE], target[ROWS] = both, both + 8 * rows, 1, rows
    return OK


@inner
def delimiter_at(text: U8, position: int, end: int, delimiter: U8) -> Any:
    """Whether `delimiter` stands at `position`."""
    if position + len(delimiter) > end:
        return False
    for i in range(len(delimiter)):  # noqa: SIM110  (numba has no generator expressions)
        if text[position + i] != delimiter[i]:
            return False
    return True


@inner
def _split_text(op: I64, column: I64, row: int, limit: int, spans: int, most: int) -> Any:
    """Write the byte spans of the steps of a text cell; their number, or -1 if more than `most`."""
    position, end = text_range(column, row)
    text, delimiter = view_u8(column[LEAVES], end), view_u8(op[P0], op[P1])
    out = view_i64(spans, 2 * most)
    count, start = 0, position
    while count < limit:
        while position < end and not delimiter_at(text, position, end, delimiter):
            position += 1
        if count >= most:
            return -1
        out[2 * count], out[2 * count + 1] = start, position
        count += 1
        if position >= end:
            break
        position += len(delimiter)
        start = position
    return count


@inner
def _split_map(column: I64, row: int, spans: int, most: int) -> Any:
    """Write the span of the one step that a map cell is, if it is not empty; how many, or -1 if more than `most`."""
    first, end = leaf_range(column, row)
    if end > first and most > 0:
        out = view_i64(spans, 2)
        out[0], out[1] = first, end
    return -1 if end > first and most == 0 else min(end - first, 1)


@inner
def _split_cell(op: I64, column: I64, row: int, limit: int, spans: int, most: int) -> Any:
    """Write the spans of the steps of one cell that is not missing; their number, or -1 if more than `most`."""
    if column[DEPTH] == 0 and column[LEAF] == TEXT:
        first, end = text_range(column, row)
        return _split_text(op, column, row, limit, spans, most) if end > first else 0
    if column[DEPTH] == 0 and not is_token(column, row):
        return 0
    if column[IS_MAP] and column[DEPTH] == 1:
        return _split_map(column, row, spans, most)
    first, end = row, row + 1
    if column[DEPTH] > 0:
        first, end = load(column[OUTER] + 8 * row), load(column[OUTER] + 8 * row + 8)
    count = min(end - first, limit)
    if count > most:
        return -1
    out = view_i64(spans, 2 * count)
    for i in range(count):
        if column[DEPTH] == 2:
            out[2 * i], out[2 * i + 1] = (
                load(column[INNER] + 8 * (first + i)),
                load(column[INNER] + 8 * (first + i) + 8),
            )
        else:
            out[2 * i], out[2 * i + 1] = first + i, first + i + 1
    return count


@inner
def split_steps(op: I64, run: I64) -> Any:
    """SplitSteps. P0, P1: address and size of the delimiter; P2: limit; P3: fills_empty. EXTRA: spans of the units."""
    column, target = column_at(run, op[A]), value_at(run, op[OUT])
    cells, rows = distinct_cells(op, run, column), run[RUN_ROWS]
    address = take(run, 8 * (max(rows, cells) + 1))
    if address < 0:
        return OUT_OF_MEMORY
    offsets = view_i64(address, max(rows, cells) + 1)
    spans, room = take_rest(run)
    units, offsets[0] = 0, 0
    for n in range(cells):
        most = room // 16 - units
        count = 0
        if not is_masked(op, run, n):
            row = 0 if column[COLUMN_ROWS] == 1 else n
            count = _split_cell(op, column, row, op[P2], spans + 16 * units, most)
        if count < 0 or count + 1 > most:
            return OUT_OF_MEMORY
        if count == 0 and op[P3]:
            empty = view_i64(spans + 16 * units, 2)
            empty[0], empty[1] = 0, 0
            count = 1
        units += count
        offsets[n + 1] = units
    give_back(run, spans, 16 * units)
    for n in range(cells, rows):
        offsets[n + 1] = offsets[n] + units
    set_offsets(target, address, rows, rows)
    set_elements(target, 0, 0, 0, offsets[rows])
    target[EXTRA], target[EXTRA_COUNT] = spans, units
    return OK


@inner
def _add_pieces(op: I64, column: I64, first: int, end: int, writer: I64) -> None:
    """Write the pieces of the bytes [first, end) of a cell or step."""
    text = view_u8(column[LEAVES], end)
    position = first
    while position < end:
        stop = piece_end(text, position, end, op[P0])
        if stop > position or op[P4]:
            add_token(writer, column[LEAVES] + position, stop - position)
        if stop >= end:
            break
        position = stop + separator_at(text, stop, end, op[P0])
        if position >= end and op[P4]:
            end_token(writer, 0)


@inner
def _write_leaf(op: I64, column: I64, leaf: int, address: int) -> Any:
    """Write the token of a leaf that is not text, rounded if P1; the number of bytes."""
    if op[P1] and column[LEAF] == FLOAT:
        x = view_f64(column[LEAVES] + 8 * leaf, 1)[0]
        if np.isfinite(x):
            x = np.copysign(np.floor(abs(x) + 0.5), x)
        return write_number(x, address)
    return write_leaf(column[LEAF], column[LEAVES], column[LEAF_OFFSETS], leaf, address)


@inner
def _add_leaf(op: I64, column: I64, leaf: int, writer: I64) -> None:
    """Write the token, or with separators the tokens, of one leaf."""
    if column[LEAF] == TEXT:
        first, end = text_range(column, leaf)
        if is_cut(op, column) and end > first:
            _add_pieces(op, column, first, end, writer)
        elif end > first or (op[P4] and unit_depth(op, column) > 0):
            add_token(writer, column[LEAVES] + first, end - first)
    elif is_token(column, leaf):
        end_token(writer, _write_leaf(op, column, leaf, next_address(writer)))
    elif op[P4] and unit_depth(op, column) > 0:
        end_token(writer, 0)


@inner
def parse_tokens(op: I64, run: I64) -> Any:
    """ParseTokens. P1: rounds. P4: keeps_empty."""
    column, target = column_at(run, op[A]), value_at(run, op[OUT])
    if column[IS_MAP]:
        return fail(op, run, IS_A_MAP, -1, 0, -1)
    status = plain_texts(op, run, column, target)
    if status != UNUSUAL:
        return status
    units = count_units(op, run, column)
    directory = take(run, 8 * (units + 1))
    status = plain_integers(op, run, column, target, units, directory)
    if status != UNUSUAL:
        return status if status != OK else set_unit_rows(op, run, target, directory, units)
    size, _ = token_bytes(column, op, run, units)
    address = open_writer(run, size)
    if directory < 0 or address < 0:
        return OUT_OF_MEMORY
    offsets, writer = view_i64(directory, units + 1), view_i64(address, WRITER)
    offsets[0] = 0
    for u in range(units):
        first, end = span_of(op, run, column, u)
        if span_is_bytes(op, column):
            _add_pieces(op, column, first, end, writer)
        else:
            for leaf in range(first, end):
                _add_leaf(op, column, leaf, writer)
        offsets[u + 1] = writer[TOKENS_WRITTEN]
    if finish(run, writer, target) != OK:
        return OUT_OF_MEMORY
    return set_unit_rows(op, run, target, directory, units)


@inner
def _read_pieces(op: I64, run: I64, text: int, first: int, end: int, out: int, row: int) -> Any:
    """Write the numbers of the pieces of the bytes [first, end) at `out`; how many, or -1 after a failure."""
    cells = view_u8(text, end)
    count, position = 0, first
    while position < end:
        stop = piece_end(cells, position, end, op[P0])
        if stop > position:
            is_number, x = read_number(text + position, stop - position)
            if not is_number:
                fail(op, run, NOT_A_NUMBER, row, text + position, stop - position)
                return -1
            view_f64(out + 8 * count, 1)[0] = x
            count += 1
        if stop >= end:
            break
        position = stop + separator_at(cells, stop, end, op[P0])
    return count


@inner
def _read_leaf(op: I64, run: I64, column: I64, leaf: int, out: int, row: int) -> Any:
    """Write the numbers of one leaf at `out`; how many, or -1 after a failure."""
    if column[LEAF] != TEXT:
        is_lone = unit_depth(op, column) <= 0  # as a cell, NaN is missing; in a list it is a number
        if not (is_token(column, leaf) if is_lone else is_valid(column, leaf)):
            return 0
        view_f64(out, 1)[0] = number_of_leaf(column[LEAF], column[LEAVES], leaf)
        return 1
    first, end = text_range(column, leaf)
    if is_cut(op, column):
        return _read_pieces(op, run, column[LEAVES], first, end, out, row)
    if end == first:
        return 0
    is_number, x = read_number(column[LEAVES] + first, end - first)
    if not is_number:
        fail(op, run, NOT_A_NUMBER, row, column[LEAVES] + first, end - first)
        return -1
    view_f64(out, 1)[0] = x
    return 1


@inner
def parse_numbers(op: I64, run: I64) -> Any:
    """ParseNumbers."""
    column, target = column_at(run, op[A]), value_at(run, op[OUT])
    if column[IS_MAP]:
        return fail(op, run, IS_A_MAP, -1, 0, -1)
    status = plain_numbers(op, run, column, target)
    if status != UNUSUAL:
        return status
    units = count_units(op, run, column)
    directory = take(run, 8 * (units + 1))
    if directory < 0:
        return OUT_OF_MEMORY
    numbers, room = take_rest(run)
    offsets, count = view_i64(directory, units + 1), 0
    offsets[0] = 0
    for u in range(units):
        first, end = span_of(op, run, column, u)
        if span_is_bytes(op, column):
            if 8 * (count + end - first) > room:
                return OUT_OF_MEMORY
            found = _read_pieces(op, run, column[LEAVES], first, end, numbers + 8 * count, u)
            if found < 0:
                return NOT_A_NUMBER
            count += found
        else:
            for leaf in range(first, end):
                width = text_range(column, leaf) if is_cut(op, column) else (0, 1)
                if 8 * (count + width[1] - width[0]) > room:
                    return OUT_OF_MEMORY
                found = _read_leaf(op, run, column, leaf, numbers + 8 * count, u)
                if found < 0:
                    return NOT_A_NUMBER
                count += found
        offsets[u + 1] = count
    give_back(run, numbers, 8 * count)
    set_elements(target, numbers, 0, 0, count)
    return set_unit_rows(op, run, target, directory, units)
