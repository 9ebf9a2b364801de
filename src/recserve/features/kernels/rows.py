"""What all kernels do with descriptors: read rows, share them, copy elements, report bad data.

A value is *whole* if its COUNT is known: then each element in `[0, COUNT)` of its arrays may be read, and an op that
maps element to element maps them all at once and shares the rows. A value whose rows are a selection, or lie in a
store, has COUNT 0; `packed` makes a whole one of it.

Allocations may be made in a series and only the last one checked: once one fails, those that follow fail too.
"""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    COLUMN,
    DOMAIN,
    FAILED_BYTES,
    FAILED_OP,
    FAILED_ROW,
    FAILED_STEP,
    FAILED_TEXT,
    FAILURE,
    OK,
    OP,
    RUN_ARENA,
    RUN_COLUMNS,
    RUN_FAILURE,
    RUN_VALUES,
    TOKENS,
)
from recserve.features.kernels.pointers import load
from recserve.memory import (
    COUNT,
    ENDS,
    EXTRA,
    EXTRA_COUNT,
    FIELDS,
    OUT_OF_MEMORY,
    ROWS,
    STARTS,
    STRIDE,
    TOKEN_OFFSETS,
    VALUES,
    WEIGHTS,
    allocate,
    view_f32,
    view_i64,
)


@intrinsic
def load_u64(typingctx: Any, address: Any) -> Any:  # noqa: ARG001  (numba passes the typing context)
    """The 8 bytes at `address`, of any alignment, as uint64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        word = cgutils.ir.IntType(64)
        return builder.load(builder.inttoptr(args[0], word.as_pointer()), align=1, typ=word)

    return types.uint64(types.int64), codegen


@intrinsic
def copy_bytes(typingctx: Any, target: Any, source: Any, count: Any) -> Any:  # noqa: ARG001
    """Copy `count` bytes between addresses that do not overlap."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        pointer = cgutils.voidptr_t
        cgutils.raw_memcpy(builder, builder.inttoptr(args[0], pointer), builder.inttoptr(args[1], pointer), args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@inner
def value_at(run: I64, slot: int) -> Any:
    """The descriptor in `slot`."""
    return view_i64(run[RUN_VALUES] + slot * FIELDS * 8, FIELDS)


@inner
def column_at(run: I64, number: int) -> Any:
    """The column record `number`."""
    return view_i64(run[RUN_COLUMNS] + number * COLUMN * 8, COLUMN)


@inner
def take(run: I64, size_bytes: int) -> Any:
    """`size_bytes` of the arena: the address, or OUT_OF_MEMORY."""
    return allocate(view_i64(run[RUN_ARENA], 2), size_bytes)


@inner
def take_rest(run: I64) -> Any:
    """The free end of the arena, for a result of unknown size: (address, bytes). `give_back` must follow."""
    arena = view_i64(run[RUN_ARENA], 2)
    address = (arena[0] + 63) & ~63
    return address, max(arena[1] - address, 0)


@inner
def give_back(run: I64, address: int, used_bytes: int) -> None:
    """Keep `used_bytes` of what `take_rest` gave."""
    view_i64(run[RUN_ARENA], 2)[0] = address + used_bytes


@inner
def distinct_rows(value: I64) -> Any:
    """Rows that differ: 1 where each row reads row 0, else all."""
    return 1 if value[STRIDE] == 0 else value[ROWS]


@inner
def first_of(value: I64, row: int) -> Any:
    """Where the elements of `row` start."""
    return load(value[STARTS] + 8 * row * value[STRIDE])


@inner
def end_of(value: I64, row: int) -> Any:
    """Where the elements of `row` end."""
    return load(value[ENDS] + 8 * row * value[STRIDE])


@inner
def copy_descriptor(source: I64, target: I64) -> None:
    """Make `target` the same value as `source`."""
    for field in range(FIELDS):
        target[field] = source[field]


@inner
def set_offsets(target: I64, address: int, distinct: int, rows: int) -> None:
    """Give `target` an offsets array of `distinct` rows: 1 that all of `rows` read, or `rows` of them.

    One row of a batch of one is stored as "the same in every row" too, so that what follows works once.
    """
    target[STARTS] = address
    target[ENDS] = address + 8
    target[STRIDE] = 0 if distinct == 1 else 1
    target[ROWS] = rows


@inner
def set_elements(target: I64, values: int, token_offsets: int, weights: int, count: int) -> None:
    """Set the arrays of `target`; no EXTRA."""
    target[VALUES] = values
    target[TOKEN_OFFSETS] = token_offsets
    target[WEIGHTS] = weights
    target[COUNT] = count
    target[EXTRA] = 0
    target[EXTRA_COUNT] = 0


@inner
def share_rows(source: I64, target: I64) -> None:
    """Give `target` the rows, count and weights of the whole value `source`."""
    target[STARTS] = source[STARTS]
    target[ENDS] = source[ENDS]
    target[STRIDE] = source[STRIDE]
    target[ROWS] = source[ROWS]
    set_elements(target, 0, 0, source[WEIGHTS], source[COUNT])


@inner
def count_elements(source: I64, rows: int) -> Any:
    """Number of elements in the first `rows` rows."""
    starts, ends, step = source[STARTS], source[ENDS], 8 * source[STRIDE]
    total = 0
    for n in range(rows):
        total += load(ends + n * step) - load(starts + n * step)
    return total


@inner
def count_bytes(source: I64, rows: int) -> Any:
    """Number of bytes of the tokens in the first `rows` rows."""
    starts, ends, step, offsets = source[STARTS], source[ENDS], 8 * source[STRIDE], source[TOKEN_OFFSETS]
    total = 0
    for n in range(rows):
        total += load(offsets + 8 * load(ends + n * step)) - load(offsets + 8 * load(starts + n * step))
    return total


@inner
def copy_tokens(source: I64, first: int, count: int, target: I64, position: int) -> None:
    """Append `count` tokens from `first` to those before `position` of `target`, whose offset there is set."""
    if count == 0:
        return
    old, new = source[TOKEN_OFFSETS] + 8 * first, view_i64(target[TOKEN_OFFSETS] + 8 * position, count + 1)
    shift = new[0] - load(old)
    for t in range(1, count + 1):
        new[t] = load(old + 8 * t) + shift
    copy_bytes(target[VALUES] + new[0], source[VALUES] + load(old), new[count] - new[0])


@inner
def copy_elements(source: I64, first: int, count: int, target: I64, position: int, size: int) -> None:
    """Copy `count` elements from `first`, with their weights, to `position` of `target`."""
    if size == TOKENS:
        copy_tokens(source, first, count, target, position)
    else:
        copy_bytes(target[VALUES] + size * position, source[VALUES] + size * first, size * count)
    if target[WEIGHTS] != 0:
        copy_bytes(target[WEIGHTS] + 4 * position, source[WEIGHTS] + 4 * first, 4 * count)


@inner
def room_for(run: I64, source: I64, target: I64, count: int, token_bytes: int, size: int) -> Any:
    """Give `target` empty arrays for `count` elements, weighted as `source` is. OK or OUT_OF_MEMORY."""
    weights = take(run, 4 * count) if source[WEIGHTS] != 0 else 0
    values = take(run, token_bytes if size == TOKENS else size * count)
    offsets = take(run, 8 * (count + 1)) if size == TOKENS else values
    if offsets < 0:
        return OUT_OF_MEMORY
    if size == TOKENS:
        view_i64(offsets, 1)[0] = 0
    set_elements(target, values, offsets if size == TOKENS else 0, weights, count)
    return OK


@inner
def copy_rows(run: I64, source: I64, target: I64, size: int, rows: int) -> Any:
    """Copy the first `rows` rows of `source` into new, whole arrays of `target`. OK or OUT_OF_MEMORY."""
    address = take(run, 8 * (rows + 1))
    token_bytes = count_bytes(source, rows) if size == TOKENS else 0
    if room_for(run, source, target, count_elements(source, rows), token_bytes, size) != OK:
        return OUT_OF_MEMORY
    offsets = view_i64(address, rows + 1)
    offsets[0] = 0
    for n in range(rows):
        first = first_of(source, n)
        count = end_of(source, n) - first
        copy_elements(source, first, count, target, offsets[n], size)
        offsets[n + 1] = offsets[n] + count
    set_offsets(target, address, rows, source[ROWS])
    return OK


@inner
def packed(run: I64, slot: int, size: int, is_exact: bool) -> Any:
    """Address of a whole descriptor of the value in `slot`, or OUT_OF_MEMORY.

    Args:
        run: see `layout`.
        slot: of the value.
        size: of its elements.
        is_exact: no element may be outside all rows (for ops that fail on bad elements).
    """
    source = value_at(run, slot)
    if source[COUNT] > 0 and (not is_exact or count_elements(source, distinct_rows(source)) == source[COUNT]):
        return run[RUN_VALUES] + slot * FIELDS * 8
    address = take(run, FIELDS * 8)
    if address < 0 or copy_rows(run, source, view_i64(address, FIELDS), size, distinct_rows(source)) != OK:
        return OUT_OF_MEMORY
    return address


@inner
def fill_weights(target: I64, first: int, count: int, weight: float) -> None:
    """Set `count` weights from `first`, where `target` is weighted."""
    if target[WEIGHTS] != 0:
        weights = view_f32(target[WEIGHTS] + 4 * first, count)
        for j in range(count):
            weights[j] = weight


@inner
def holder_of(value: I64, element: int) -> Any:
    """The first row that holds `element`, or -1."""
    for n in range(value[ROWS]):
        if first_of(value, n) <= element < end_of(value, n):
            return n
    return -1


@inner
def fail(op: I64, run: I64, status: int, row: int, text: int, size_bytes: int) -> Any:
    """Note what is wrong in `row` of the output of `op`, and return `status`. `size_bytes` -1: no text."""
    failure = view_i64(run[RUN_FAILURE], FAILURE)
    failure[FAILED_OP] = op[OP]
    failure[FAILED_TEXT] = text
    failure[FAILED_BYTES] = size_bytes
    failure[FAILED_ROW] = row
    failure[FAILED_STEP] = -1
    if op[DOMAIN] >= 0 and row >= 0:
        steps = value_at(run, op[DOMAIN])
        batch_row = holder_of(steps, row)
        failure[FAILED_ROW] = batch_row
        if batch_row >= 0:
            failure[FAILED_STEP] = row - first_of(steps, batch_row)
    return status
