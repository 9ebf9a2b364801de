"""Values between domains: no element is copied unless rows are not contiguous."""

from __future__ import annotations

from typing import Any

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import OK, OUT, P0, P1, RUN_ROWS, TOKENS, A, B, C
from recserve.features.kernels.pointers import load
from recserve.features.kernels.rows import (
    copy_descriptor,
    copy_rows,
    end_of,
    first_of,
    set_elements,
    set_offsets,
    take,
    value_at,
)
from recserve.memory import COUNT, ENDS, FIELDS, OUT_OF_MEMORY, ROWS, STARTS, STRIDE, view_i64


@inner
def _new_rows(run: I64, target: I64, rows: int) -> Any:
    """Give `target` separate arrays of starts and ends: the address of both, or OUT_OF_MEMORY."""
    both = take(run, 16 * rows)
    if both >= 0:
        target[STARTS], target[ENDS], target[STRIDE], target[ROWS] = both, both + 8 * rows, 1, rows
    return both


@inner
def lift_steps(op: I64, run: I64) -> Any:
    """The steps of an imported STEPS value (A), numbered anew: row n of the batch has steps of its own."""
    source, target, rows = value_at(run, op[A]), value_at(run, op[OUT]), run[RUN_ROWS]
    address = take(run, 8 * (rows + 1))
    if address < 0:
        return OUT_OF_MEMORY
    offsets = view_i64(address, rows + 1)
    offsets[0] = 0
    for n in range(rows):
        offsets[n + 1] = offsets[n] + end_of(source, n) - first_of(source, n)
    set_offsets(target, address, rows, rows)
    set_elements(target, 0, 0, 0, offsets[rows])
    return OK


@inner
def lift_rows(op: I64, run: I64) -> Any:
    """An imported value (A) over the steps of an imported STEPS value (B), over the lifted steps (C)."""
    source, old, new, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[C]), value_at(run, op[OUT])
    copy_descriptor(source, target)
    rows = new[COUNT]
    both = _new_rows(run, target, rows)
    if both < 0:
        return OUT_OF_MEMORY
    starts, ends, s = view_i64(both, rows), view_i64(both + 8 * rows, rows), 0
    for n in range(new[ROWS]):
        for step in range(first_of(old, n), end_of(old, n)):
            starts[s], ends[s] = first_of(source, step), end_of(source, step)
            s += 1
    return OK


@inner
def broadcast(op: I64, run: I64) -> Any:
    """Broadcast: A over the rows, B the steps."""
    source, steps, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    copy_descriptor(source, target)
    target[ROWS] = steps[COUNT]
    if source[STRIDE] == 0:
        return OK
    both = _new_rows(run, target, steps[COUNT])
    if both < 0:
        return OUT_OF_MEMORY
    starts, ends = view_i64(both, steps[COUNT]), view_i64(both + 8 * steps[COUNT], steps[COUNT])
    for n in range(steps[ROWS]):
        first, end = first_of(source, n), end_of(source, n)
        for s in range(first_of(steps, n), end_of(steps, n)):
            starts[s], ends[s] = first, end
    return OK


@inner
def _flatten(source: I64, steps: I64, starts: I64, ends: I64) -> Any:
    """Fill the rows of a flattened value; False where the steps of a row are not side by side."""
    for n in range(len(starts)):
        starts[n], ends[n] = 0, 0
        for s in range(first_of(steps, n), end_of(steps, n)):
            first, end = first_of(source, s), end_of(source, s)
            if end > first:
                if ends[n] == 0:
                    starts[n] = first
                elif ends[n] != first:
                    return False
                ends[n] = end
    return True


@inner
def flatten_steps(op: I64, run: I64) -> Any:
    """FlattenSteps: A over the steps B; P0: size of its elements."""
    source, steps, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    copy_descriptor(source, target)
    rows = steps[ROWS]
    both = _new_rows(run, target, rows)
    if both < 0:
        return OUT_OF_MEMORY
    starts, ends = view_i64(both, rows), view_i64(both + 8 * rows, rows)
    if _flatten(source, steps, starts, ends):
        return OK
    address = take(run, 8 * FIELDS)
    if address < 0:
        return OUT_OF_MEMORY
    whole = view_i64(address, FIELDS)
    if copy_rows(run, source, whole, op[P0], source[ROWS]) != OK:
        return OUT_OF_MEMORY
    _flatten(whole, steps, starts, ends)
    copy_descriptor(whole, target)
    target[STARTS], target[ENDS], target[STRIDE], target[ROWS] = both, both + 8 * rows, 1, rows
    return OK


@inner
def longest_steps(op: I64, run: I64) -> Any:
    """LongestSteps. P0, P1: address and number of the slots of the sources."""
    slots, target, rows = view_i64(op[P0], op[P1]), value_at(run, op[OUT]), run[RUN_ROWS]
    address = take(run, 8 * (rows + 1))
    if address < 0:
        return OUT_OF_MEMORY
    offsets = view_i64(address, rows + 1)
    offsets[0] = 0
    for n in range(rows):
        longest = 0
        for slot in slots:
            source = value_at(run, slot)
            longest = max(longest, end_of(source, n) - first_of(source, n))
        offsets[n + 1] = offsets[n] + longest
    set_offsets(target, address, rows, rows)
    set_elements(target, 0, 0, 0, offsets[rows])
    return OK


@inner
def align_steps(op: I64, run: I64) -> Any:
    """AlignSteps: A over its own steps C, to the steps B."""
    source, steps, own, target = (
        value_at(run, op[A]),
        value_at(run, op[B]),
        value_at(run, op[C]),
        value_at(run, op[OUT]),
    )
    copy_descriptor(source, target)
    both = _new_rows(run, target, steps[COUNT])
    if both < 0:
        return OUT_OF_MEMORY
    starts, ends = view_i64(both, steps[COUNT]), view_i64(both + 8 * steps[COUNT], steps[COUNT])
    for n in range(steps[ROWS]):
        first, count, base = first_of(own, n), end_of(own, n) - first_of(own, n), first_of(steps, n)
        for s in range(base, end_of(steps, n)):
            step = 0 if count == 1 else s - base
            starts[s] = first_of(source, first + step) if step < count else 0
            ends[s] = end_of(source, first + step) if step < count else 0
    return OK


@inner
def element_steps(op: I64, run: I64) -> Any:
    """ElementSteps. P0: limit."""
    source, target, rows = value_at(run, op[A]), value_at(run, op[OUT]), run[RUN_ROWS]
    address = take(run, 8 * (rows + 1))
    if address < 0:
        return OUT_OF_MEMORY
    offsets = view_i64(address, rows + 1)
    offsets[0] = 0
    for n in range(rows):
        offsets[n + 1] = offsets[n] + min(end_of(source, n) - first_of(source, n), op[P0])
    set_offsets(target, address, rows, rows)
    set_elements(target, 0, 0, 0, offsets[rows])
    return OK


@inner
def spread_elements(op: I64, run: I64) -> Any:
    """SpreadElements: A over the rows, B its steps."""
    source, steps, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    copy_descriptor(source, target)
    both = _new_rows(run, target, steps[COUNT])
    if both < 0:
        return OUT_OF_MEMORY
    starts, ends = view_i64(both, steps[COUNT]), view_i64(both + 8 * steps[COUNT], steps[COUNT])
    for n in range(steps[ROWS]):
        first, base = first_of(source, n), first_of(steps, n)
        for s in range(base, end_of(steps, n)):
            starts[s], ends[s] = first + s - base, first + s - base + 1
    return OK


@inner
def first_elements(op: I64, run: I64) -> Any:
    """FirstElements. P0: count."""
    source, target = value_at(run, op[A]), value_at(run, op[OUT])
    copy_descriptor(source, target)
    rows = 1 if source[STRIDE] == 0 else source[ROWS]
    is_short = True
    for n in range(rows):
        is_short &= end_of(source, n) - first_of(source, n) <= op[P0]
    if is_short:
        return OK
    both = _new_rows(run, target, rows)
    if both < 0:
        return OUT_OF_MEMORY
    starts, ends = view_i64(both, rows), view_i64(both + 8 * rows, rows)
    for n in range(rows):
        starts[n] = first_of(source, n)
        ends[n] = min(end_of(source, n), starts[n] + op[P0])
    if source[STRIDE] == 0:
        target[STRIDE], target[ROWS] = 0, source[ROWS]
    target[COUNT] = 0
    return OK


@inner
def expand(op: I64, run: I64) -> Any:
    """A in which each row has elements of its own, side by side: what leaves the plan. P0: element size."""
    source, target = value_at(run, op[A]), value_at(run, op[OUT])
    is_side_by_side = source[ENDS] == source[STARTS] + 8 and (source[STRIDE] == 1 or source[ROWS] == 1)
    if op[P0] != TOKENS and is_side_by_side and load(source[STARTS]) == 0:
        copy_descriptor(source, target)
        target[STRIDE], target[COUNT] = 1, load(source[STARTS] + 8 * source[ROWS])
        return OK
    return copy_rows(run, source, target, op[P0], source[ROWS])
