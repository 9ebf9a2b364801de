"""Tokens to tokens."""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any

from recserve.dtypes import I64
from recserve.features.kernels.cells import piece_end, separator_at
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    LENGTHS_DIFFER,
    OK,
    OUT,
    P0,
    P1,
    P2,
    P3,
    P4,
    RUN_ROWS,
    TOKENS,
    TOO_MANY_BYTES,
    TOO_MANY_COMBINATIONS,
    A,
    B,
)
from recserve.features.kernels.pointers import load, store
from recserve.features.kernels.read_number import read_number
from recserve.features.kernels.rows import (
    copy_bytes,
    copy_descriptor,
    copy_elements,
    copy_rows,
    count_bytes,
    count_elements,
    distinct_rows,
    end_of,
    fail,
    fill_weights,
    first_of,
    packed,
    room_for,
    set_elements,
    set_offsets,
    share_rows,
    take,
    value_at,
)
from recserve.features.kernels.writer import TOKENS_WRITTEN, WRITER, add_token, finish, open_writer
from recserve.features.op import MAX_TEXT_BYTES
from recserve.memory import (
    COUNT,
    ENDS,
    FIELDS,
    OUT_OF_MEMORY,
    ROWS,
    STARTS,
    STRIDE,
    TOKEN_OFFSETS,
    VALUES,
    WEIGHTS,
    view_f32,
    view_f64,
    view_i64,
    view_u8,
)


@inner
def literal(op: I64, run: I64) -> Any:
    """Literal. P0, P1: addresses of bytes and offsets; P2: number of tokens; P3: address of the row's offsets."""
    target = value_at(run, op[OUT])
    set_elements(target, op[P0], op[P1], 0, op[P2])
    set_offsets(target, op[P3], 1, run[RUN_ROWS])
    return OK


@inner
def token_at(value: I64, element: int) -> Any:
    """(address, bytes) of a token."""
    first = load(value[TOKEN_OFFSETS] + 8 * element)
    return value[VALUES] + first, load(value[TOKEN_OFFSETS] + 8 * element + 8) - first


@inner
def common_rows(run: I64, slots: I64) -> Any:
    """(distinct rows, rows) of what is made of several values: 1 distinct where each value is the same in all rows."""
    distinct, rows = 1, 0
    for slot in slots:
        value = value_at(run, slot)
        rows = max(rows, value[ROWS])
        if value[STRIDE] != 0:
            distinct = value[ROWS]
    return distinct, rows


@inner
def _combinations(run: I64, slots: I64, row: int, most: int) -> Any:
    """(tokens, bytes without joiners) of the combinations in a row; tokens -1 if more than `most`."""
    count = 1
    for slot in slots:
        value = value_at(run, slot)
        count = min(count, most + 1) * (end_of(value, row) - first_of(value, row))  # another source may be empty
    if count > most:
        return -1, 0
    size = 0
    if count > 0:
        for slot in slots:
            value = value_at(run, slot)
            first, end = first_of(value, row), end_of(value, row)
            width = load(value[TOKEN_OFFSETS] + 8 * end) - load(value[TOKEN_OFFSETS] + 8 * first)
            size += width * (count // (end - first))
    return count, size


@inner
def _write_combination(run: I64, slots: I64, row: int, number: int, address: int, joiner: int, joiner_size: int) -> Any:
    """Write combination `number` of a row, the last source its fastest digit; the number of bytes.

    The parts are written from the last to the first, so their sizes are summed first.
    """
    rest, size = number, (len(slots) - 1) * joiner_size
    for i in range(len(slots) - 1, -1, -1):
        value = value_at(run, slots[i])
        first = first_of(value, row)
        count = end_of(value, row) - first
        size += token_at(value, first + rest % count)[1]
        rest //= count
    rest, at = number, address + size
    for i in range(len(slots) - 1, -1, -1):
        value = value_at(run, slots[i])
        first = first_of(value, row)
        count = end_of(value, row) - first
        source, width = token_at(value, first + rest % count)
        rest //= count
        at -= width
        copy_bytes(at, source, width)
        if i > 0:
            at -= joiner_size
            copy_bytes(at, joiner, joiner_size)
    return size


@inner
def are_single(run: I64, slots: I64) -> Any:
    """Whether each row of each value has one token."""
    others = 0
    for slot in slots:
        value = value_at(run, slot)
        starts, ends, step = value[STARTS], value[ENDS], 8 * value[STRIDE]
        for n in range(distinct_rows(value)):
            others += load(ends + n * step) - load(starts + n * step) != 1
    return others == 0


@inner
def _join_single(op: I64, run: I64, slots: I64, distinct: int, directory: int) -> Any:
    """Join one token of each source in each row. OK or OUT_OF_MEMORY; the rows are the caller's."""
    size, target = distinct * (len(slots) - 1) * op[P3], value_at(run, op[OUT])
    for slot in slots:
        value = value_at(run, slot)
        width = count_bytes(value, distinct_rows(value))
        size += width * distinct if value[STRIDE] == 0 else width
    block, ends = take(run, size), take(run, 8 * (distinct + 1))
    if ends < 0:
        return OUT_OF_MEMORY
    at = block
    store(directory, 0)
    store(ends, 0)
    for n in range(distinct):
        for i in range(len(slots)):
            if i > 0:
                copy_bytes(at, op[P2], op[P3])
                at += op[P3]
            value = value_at(run, slots[i])
            source, width = token_at(value, first_of(value, n))
            copy_bytes(at, source, width)
            at += width
        store(ends + 8 * n + 8, at - block)
        store(directory + 8 * n + 8, n + 1)
    set_elements(target, block, ends, 0, distinct)
    return OK


@inner
def join_tokens(op: I64, run: I64) -> Any:
    """JoinTokens. P0, P1: address and number of the slots; P2, P3: address and bytes of the joiner; P4: most tokens."""
    slots, target = view_i64(op[P0], op[P1]), value_at(run, op[OUT])
    distinct, rows = common_rows(run, slots)
    directory = take(run, 8 * (distinct + 1))
    if directory < 0:
        return OUT_OF_MEMORY
    if are_single(run, slots):
        status = _join_single(op, run, slots, distinct, directory)
        set_offsets(target, directory, distinct, rows)
        return status
    offsets, size = view_i64(directory, distinct + 1), 0
    offsets[0] = 0
    for n in range(distinct):
        count, width = _combinations(run, slots, n, op[P4])
        if count < 0:
            return fail(op, run, TOO_MANY_COMBINATIONS, n, 0, -1)
        width += count * (len(slots) - 1) * op[P3]
        if width > MAX_TEXT_BYTES:
            return fail(op, run, TOO_MANY_BYTES, n, 0, -1)
        offsets[n + 1] = offsets[n] + count
        size += width
    total = offsets[distinct]
    block, ends = take(run, size), take(run, 8 * (total + 1))
    if ends < 0:
        return OUT_OF_MEMORY
    token_offsets = view_i64(ends, total + 1)
    token_offsets[0] = 0
    for n in range(distinct):
        for number in range(offsets[n + 1] - offsets[n]):
            t = offsets[n] + number
            width = _write_combination(run, slots, n, number, block + token_offsets[t], op[P2], op[P3])
            token_offsets[t + 1] = token_offsets[t] + width
    set_elements(target, block, ends, 0, total)
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def concat_tokens(op: I64, run: I64) -> Any:
    """ConcatTokens. P0, P1: address and number of the slots; P2, P3: address and bytes of the joiner."""
    slots, target = view_i64(op[P0], op[P1]), value_at(run, op[OUT])
    distinct, rows = common_rows(run, slots)
    lead = value_at(run, slots[0])
    total, size = count_elements(lead, distinct), 0
    for slot in slots:
        size += count_bytes(value_at(run, slot), distinct)
    directory = take(run, 8 * (distinct + 1))
    if room_for(run, lead, target, total, size + total * (len(slots) - 1) * op[P3], TOKENS) != OK:
        return OUT_OF_MEMORY
    offsets, ends = view_i64(directory, distinct + 1), view_i64(target[TOKEN_OFFSETS], total + 1)
    offsets[0] = 0
    for n in range(distinct):
        first = first_of(lead, n)
        count = end_of(lead, n) - first
        for j in range(count):
            at = ends[offsets[n] + j]
            for i in range(len(slots)):
                if i > 0:
                    copy_bytes(target[VALUES] + at, op[P2], op[P3])
                    at += op[P3]
                value = value_at(run, slots[i])
                source, width = token_at(value, first_of(value, n) + j)
                copy_bytes(target[VALUES] + at, source, width)
                at += width
            ends[offsets[n] + j + 1] = at
        if target[WEIGHTS]:
            copy_bytes(target[WEIGHTS] + 4 * offsets[n], lead[WEIGHTS] + 4 * first, 4 * count)
        offsets[n + 1] = offsets[n] + count
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def prefix_tokens(op: I64, run: I64) -> Any:
    """PrefixTokens. P0, P1: address and bytes of the prefix."""
    target, address = value_at(run, op[OUT]), packed(run, op[A], TOKENS, False)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    count = source[COUNT]
    share_rows(source, target)
    base = load(source[TOKEN_OFFSETS]) if count else 0
    size = load(source[TOKEN_OFFSETS] + 8 * count) - base if count else 0
    block, ends = take(run, size + count * op[P1]), take(run, 8 * (count + 1))
    if ends < 0:
        return OUT_OF_MEMORY
    target[VALUES], target[TOKEN_OFFSETS] = block, ends
    offsets = view_i64(ends, count + 1)
    offsets[0] = 0
    for t in range(count):
        token, width = token_at(source, t)
        copy_bytes(block + offsets[t], op[P0], op[P1])
        copy_bytes(block + offsets[t] + op[P1], token, width)
        offsets[t + 1] = offsets[t] + op[P1] + width
    return OK


@inner
def split_tokens(op: I64, run: I64) -> Any:
    """SplitTokens. P0: address of the separator table."""
    source, target = value_at(run, op[A]), value_at(run, op[OUT])
    rows = distinct_rows(source)
    directory = take(run, 8 * (rows + 1))
    address = open_writer(run, count_bytes(source, rows))
    if directory < 0 or address < 0:
        return OUT_OF_MEMORY
    offsets, writer = view_i64(directory, rows + 1), view_i64(address, WRITER)
    offsets[0] = 0
    for n in range(rows):
        for t in range(first_of(source, n), end_of(source, n)):
            token, end = token_at(source, t)
            text, position = view_u8(token, end), 0
            while position < end:
                stop = piece_end(text, position, end, op[P0])
                if stop > position:
                    add_token(writer, token + position, stop - position)
                if stop >= end:
                    break
                position = stop + separator_at(text, stop, end, op[P0])
        offsets[n + 1] = writer[TOKENS_WRITTEN]
    if finish(run, writer, target) != OK:
        return OUT_OF_MEMORY
    set_offsets(target, directory, rows, source[ROWS])
    return OK


@inner
def fill_tokens(op: I64, run: I64) -> Any:
    """FillTokens. P0, P1: addresses of the defaults' bytes and offsets; P2: their number."""
    source, target = value_at(run, op[A]), value_at(run, op[OUT])
    rows, empty = distinct_rows(source), 0
    for n in range(rows):
        empty += end_of(source, n) == first_of(source, n)
    copy_descriptor(source, target)
    if empty == 0 or op[P2] == 0:
        return OK
    address = take(run, 8 * FIELDS)
    directory = take(run, 8 * (rows + 1))
    size = count_bytes(source, rows) + empty * load(op[P1] + 8 * op[P2])
    if room_for(run, source, target, count_elements(source, rows) + empty * op[P2], size, TOKENS) != OK:
        return OUT_OF_MEMORY
    defaults = view_i64(address, FIELDS)
    for field in range(FIELDS):
        defaults[field] = 0
    defaults[VALUES], defaults[TOKEN_OFFSETS], defaults[WEIGHTS] = op[P0], op[P1], op[P1]
    offsets = view_i64(directory, rows + 1)
    offsets[0] = 0
    for n in range(rows):
        first = first_of(source, n)
        count = end_of(source, n) - first
        if count:
            copy_elements(source, first, count, target, offsets[n], TOKENS)
        else:
            count = op[P2]
            copy_elements(defaults, 0, count, target, offsets[n], TOKENS)
            fill_weights(target, offsets[n], count, 1.0)
        offsets[n + 1] = offsets[n] + count
    set_offsets(target, directory, rows, source[ROWS])
    return OK


@inner
def _is_true(address: int, size: int) -> Any:
    """Whether a mask's token is "true" in any case, or a number other than 0."""
    text = view_u8(address, size)
    if size == 4 and text[0] | 32 == 116 and text[1] | 32 == 114 and text[2] | 32 == 117 and text[3] | 32 == 101:
        return True
    is_number, x = read_number(address, size)
    return is_number and x != 0


@inner
def mask_tokens(op: I64, run: I64) -> Any:
    """MaskTokens: A the tokens, B the mask."""
    source, mask, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    distinct = 1 if source[STRIDE] == 0 and mask[STRIDE] == 0 else max(source[ROWS], mask[ROWS])
    total = count_elements(source, distinct)
    directory = take(run, 8 * (distinct + 1))
    if room_for(run, source, target, total, count_bytes(source, distinct), TOKENS) != OK:
        return OUT_OF_MEMORY
    offsets, t = view_i64(directory, distinct + 1), 0
    offsets[0] = 0
    for n in range(distinct):
        first, other = first_of(source, n), first_of(mask, n)
        for j in range(min(end_of(source, n) - first, end_of(mask, n) - other)):
            flag, size = token_at(mask, other + j)
            if token_at(source, first + j)[1] and _is_true(flag, size):
                copy_elements(source, first + j, 1, target, t, TOKENS)
                t += 1
        offsets[n + 1] = t
    target[COUNT] = t
    set_offsets(target, directory, distinct, max(source[ROWS], mask[ROWS]))
    return OK


@inner
def attach_weights(op: I64, run: I64) -> Any:
    """AttachWeights: A tokens or ids, B as many numbers. P0: size of A's elements.

    The elements are copied, so that each row has its own: rows that share elements may differ in their weights.
    """
    source, other, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    distinct = 1 if source[STRIDE] == 0 and other[STRIDE] == 0 else max(source[ROWS], other[ROWS])
    if copy_rows(run, source, target, op[P0], distinct) != OK:
        return OUT_OF_MEMORY
    weights = take(run, 4 * target[COUNT])
    if weights < 0:
        return OUT_OF_MEMORY
    target[WEIGHTS] = weights
    out = view_f32(weights, target[COUNT])
    for n in range(distinct):
        first, base = first_of(target, n), first_of(other, n)
        count = end_of(target, n) - first
        if end_of(other, n) - base != count:
            return fail(op, run, LENGTHS_DIFFER, n, 0, -1)
        numbers = view_f64(other[VALUES] + 8 * base, count)
        for j in range(count):
            out[first + j] = numbers[j]
    return OK
