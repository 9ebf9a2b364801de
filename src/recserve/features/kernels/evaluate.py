"""Expressions, run by a small stack machine over blocks of numbers.

Compiling an expression takes no time, and one step of the machine works on a whole block, so that its own cost is
shared by up to BLOCK numbers.

Code is int64[steps, 2], (opcode, operand), in postfix order. A place on the stack holds one
number, which pairs with all of a block, or a block. Without vector functions a block is a stretch of the batch's
numbers; with them it is the vector of one row.
"""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

from recserve.dtypes import F64, I64
from recserve.features.kernels.arithmetic import FIRST_VECTOR, NUMBER, SELECT, VARIABLE, of_one, of_two, of_vectors
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import LENGTHS_DIFFER, OK, OUT, P0, P1, P2, P3, P4, P5
from recserve.features.kernels.pointers import load, load_f64, store_f64
from recserve.features.kernels.read_number import from_bits
from recserve.features.kernels.rows import (
    copy_bytes,
    end_of,
    fail,
    first_of,
    give_back,
    set_elements,
    set_offsets,
    take,
    take_rest,
    value_at,
)
from recserve.features.kernels.tokens import are_single, common_rows
from recserve.memory import OUT_OF_MEMORY, STARTS, STRIDE, VALUES, view_f64, view_i64

BLOCK: Final = 256


@inner
def _select(stack: F64, lengths: I64, at: int, width: int) -> Any:
    """Condition, yes and no at `at`, `at` + 1, `at` + 2 → the choice at `at`. False: lengths differ."""
    n = 1
    for i in range(at, at + 3):
        if lengths[i] != 1:
            if n not in (1, lengths[i]):
                return False
            n = lengths[i]
    c, y, z = at * width, (at + 1) * width, (at + 2) * width
    dc, dy, dz = lengths[at] != 1, lengths[at + 1] != 1, lengths[at + 2] != 1
    for j in range(n - 1, -1, -1):
        stack[c + j] = stack[y + j * dy] if stack[c + j * dc] != 0 else stack[z + j * dz]
    lengths[at] = n
    return True


@inner
def place(stack: F64, number: int, width: int) -> Any:
    """Address of a place of the stack."""
    return stack.ctypes.data + 8 * number * width


@inner
def execute(code: I64, inputs: I64, counts: I64, stack: F64, lengths: I64, width: int) -> Any:
    """Run the code once; the result is left at the bottom of the stack. False: two vectors differ in length.

    Args:
        code: int64[2 * steps].
        inputs: addresses of the variables' numbers.
        counts: how many each has.
        stack: float64[depth * width].
        lengths: int64[depth].
        width: room of a place.
    """
    top = 0
    for step in range(0, len(code), 2):
        opcode, operand = code[step], code[step + 1]
        if opcode == NUMBER:
            stack[top * width], lengths[top] = from_bits(operand), 1
            top += 1
        elif opcode == VARIABLE:
            n = counts[operand]
            copy_bytes(place(stack, top, width), inputs[operand], 8 * n)
            lengths[top] = n
            top += 1
        elif opcode == SELECT:
            top -= 2
            if not _select(stack, lengths, top - 1, width):
                return False
        elif operand == 1:
            x = view_f64(place(stack, top - 1, width), lengths[top - 1])
            if opcode >= FIRST_VECTOR:
                x[0], lengths[top - 1] = of_vectors(opcode, x, x), 1
            else:
                of_one(opcode, x)
        else:
            top -= 1
            n, m = lengths[top - 1], lengths[top]
            if n != m and min(n, m) != 1:
                return False
            if opcode >= FIRST_VECTOR:
                left, right = view_f64(place(stack, top - 1, width), n), view_f64(place(stack, top, width), m)
                stack[(top - 1) * width], lengths[top - 1] = of_vectors(opcode, left, right), 1
            else:
                out, right = view_f64(place(stack, top - 1, width), max(n, m)), view_f64(place(stack, top, width), m)
                of_two(opcode, out, right, n)
                lengths[top - 1] = max(n, m)
    return True


@inner
def _lay_out(run: I64, slots: I64, used: I64, offsets: I64) -> Any:
    """Fill the offsets of the results, one an element of the longest used source; the row of a mismatch, or -1."""
    for n in range(len(offsets) - 1):
        width, is_whole, is_even = 1, True, True
        for i in range(len(slots)):
            source = value_at(run, slots[i])
            count = end_of(source, n) - first_of(source, n)
            is_whole &= count > 0
            if used[i] and count > 1:
                is_even &= width in (1, count)
                width = count
        if is_whole and not is_even:
            return n
        offsets[n + 1] = offsets[n] + (width if is_whole else 0)
    return -1


@inner
def _gather(run: I64, slot: int, offsets: I64, address: int) -> None:
    """Write the numbers of a source, single ones repeated, as the offsets of the results say."""
    source, out = value_at(run, slot), view_f64(address, offsets[-1])
    for n in range(len(offsets) - 1):
        first, at = first_of(source, n), offsets[n]
        count = offsets[n + 1] - at
        if count:
            is_vector = end_of(source, n) - first > 1
            numbers = view_f64(source[VALUES] + 8 * first, count if is_vector else 1)
            for j in range(count):
                out[at + j] = numbers[j] if is_vector else numbers[0]


@inner
def _gather_single(run: I64, slot: int, count: int, address: int) -> None:
    """Write the numbers of a source that has one in each row, as many as there are results."""
    source = value_at(run, slot)
    starts, step, numbers = source[STARTS], 8 * source[STRIDE], source[VALUES]
    for n in range(count):
        store_f64(address + 8 * n, load_f64(numbers + 8 * load(starts + n * step)))


@inner
def _evaluate_blocks(op: I64, run: I64, offsets: I64, values: int, is_single: bool) -> Any:
    """Evaluate all results, in blocks of the batch. OK or OUT_OF_MEMORY."""
    slots, used = view_i64(op[P0], op[P1]), view_i64(op[P0] + 8 * op[P1], op[P1])
    code, depth, total = view_i64(op[P2], op[P3]), op[P4], offsets[-1]
    gathered, both = take(run, 8 * total * len(slots)), take(run, 16 * len(slots))
    stack_at, lengths_at = take(run, 8 * BLOCK * depth), take(run, 8 * depth)
    if lengths_at < 0:
        return OUT_OF_MEMORY
    stack, lengths, out = view_f64(stack_at, BLOCK * depth), view_i64(lengths_at, depth), view_f64(values, total)
    inputs, counts = view_i64(both, len(slots)), view_i64(both + 8 * len(slots), len(slots))
    for i in range(len(slots)):
        if used[i] and is_single:
            _gather_single(run, slots[i], total, gathered + 8 * total * i)
        elif used[i]:
            _gather(run, slots[i], offsets, gathered + 8 * total * i)
    for first in range(0, total, BLOCK):
        count = min(BLOCK, total - first)
        for i in range(len(slots)):
            inputs[i], counts[i] = gathered + 8 * (total * i + first), count
        execute(code, inputs, counts, stack, lengths, BLOCK)
        for j in range(count):
            out[first + j] = stack[j] if lengths[0] > 1 else stack[0]
    return OK


@inner
def _evaluate_rows(op: I64, run: I64, offsets: I64, target: I64) -> Any:
    """Evaluate row by row, where there are vector functions; fills the offsets and elements of `target`."""
    slots, depth = view_i64(op[P0], op[P1]), op[P4]
    code, width = view_i64(op[P2], op[P3]), 1
    for n in range(len(offsets) - 1):
        for slot in slots:
            source = value_at(run, slot)
            width = max(width, end_of(source, n) - first_of(source, n))
    both = take(run, 16 * len(slots))
    stack_at, lengths_at = take(run, 8 * width * depth), take(run, 8 * depth)
    values, room = take_rest(run)
    if lengths_at < 0:
        return OUT_OF_MEMORY
    stack, lengths = view_f64(stack_at, width * depth), view_i64(lengths_at, depth)
    inputs, counts = view_i64(both, len(slots)), view_i64(both + 8 * len(slots), len(slots))
    for n in range(len(offsets) - 1):
        is_whole, at = True, offsets[n]
        for i in range(len(slots)):
            source = value_at(run, slots[i])
            inputs[i], counts[i] = source[VALUES] + 8 * first_of(source, n), end_of(source, n) - first_of(source, n)
            is_whole &= counts[i] > 0
        offsets[n + 1] = at
        if is_whole:
            if not execute(code, inputs, counts, stack, lengths, width):
                return fail(op, run, LENGTHS_DIFFER, n, 0, -1)
            if 8 * (at + lengths[0]) > room:
                return OUT_OF_MEMORY
            copy_bytes(values + 8 * at, stack_at, 8 * lengths[0])
            offsets[n + 1] = at + lengths[0]
    give_back(run, values, 8 * offsets[-1])
    set_elements(target, values, 0, 0, offsets[-1])
    return OK


@inner
def evaluate(op: I64, run: I64) -> Any:
    """Evaluate.

    P0: address of the slots of the sources, then of as many flags (1: the expression uses it); P1: number of sources;
    P2, P3: address and size of the code; P4: depth of the stack; P5: 1 if there are vector functions.
    """
    slots, target = view_i64(op[P0], op[P1]), value_at(run, op[OUT])
    distinct, rows = common_rows(run, slots)
    directory = take(run, 8 * (distinct + 1))
    if directory < 0:
        return OUT_OF_MEMORY
    offsets = view_i64(directory, distinct + 1)
    offsets[0] = 0
    if op[P5]:
        status = _evaluate_rows(op, run, offsets, target)
    else:
        is_single = are_single(run, slots)
        if is_single:
            for n in range(distinct):
                offsets[n + 1] = n + 1
        else:
            bad = _lay_out(run, slots, view_i64(op[P0] + 8 * op[P1], op[P1]), offsets)
            if bad >= 0:
                return fail(op, run, LENGTHS_DIFFER, bad, 0, -1)
        values = take(run, 8 * offsets[-1])
        status = OUT_OF_MEMORY if values < 0 else _evaluate_blocks(op, run, offsets, values, is_single)
        set_elements(target, values, 0, 0, offsets[-1])
    set_offsets(target, directory, distinct, rows)
    return status
