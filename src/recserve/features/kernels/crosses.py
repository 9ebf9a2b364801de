"""Combinations to ids: of texts in one go, where the joined text is hashed as it was written; and of hashes."""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.hashing import fingerprint_cat, hash_bytes
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import OK, OUT, P0, P1, P2, P3, P4, P5, TOO_MANY_COMBINATIONS, B
from recserve.features.kernels.pointers import load, prefetch, store
from recserve.features.kernels.rows import (
    copy_bytes,
    count_bytes,
    distinct_rows,
    end_of,
    fail,
    first_of,
    load_u64,
    set_elements,
    set_offsets,
    take,
    value_at,
)
from recserve.features.kernels.tokens import are_single, common_rows, join_tokens, token_at
from recserve.features.reference_hash import CROSS_KEY
from recserve.memory import COUNT, OUT_OF_MEMORY, STARTS, STRIDE, TOKEN_OFFSETS, VALUES, WEIGHTS, view_i64

_AHEAD = 8
_CROSS_KEY: Final = np.uint64(CROSS_KEY)


@inner
def _id_of(address: int, size_bytes: int, buckets: int, algorithm: int) -> Any:
    h = hash_bytes(address, size_bytes, algorithm)
    return np.int64(h % np.uint64(buckets)) if buckets else np.int64(h)


@inner
def _hash_joined(op: I64, run: I64) -> Any:
    """Hash the tokens that stand in the output, and put the ids in their place. OK or OUT_OF_MEMORY."""
    target = value_at(run, op[OUT])
    count, weights = target[COUNT], target[WEIGHTS]
    ids = take(run, 8 * count)
    if ids < 0:
        return OUT_OF_MEMORY
    for j in range(count):
        token, size = token_at(target, j)
        store(ids + 8 * j, _id_of(token, size, op[P5], op[B]))
    set_elements(target, ids, 0, weights, count)
    return OK


@inner
def _write_prefix(op: I64, run: I64, slots: I64, address: int) -> Any:
    """Write the leading sources that are the same in all rows, with joiners: (number of them, bytes)."""
    at, leading = address, 0
    while leading < len(slots) and value_at(run, slots[leading])[STRIDE] == 0:
        value = value_at(run, slots[leading])
        source, width = token_at(value, first_of(value, 0))
        copy_bytes(at, source, width)
        at += width
        leading += 1
        if leading < len(slots):
            copy_bytes(at, op[P2], op[P3])
            at += op[P3]
    return leading, at - address


@inner
def _join_row(op: I64, run: I64, slots: I64, leading: int, row: int, address: int) -> Any:
    """Write the sources from `leading` on of a row, with joiners; where the text ends."""
    at = address
    for i in range(leading, len(slots)):
        if i > leading:
            copy_bytes(at, op[P2], op[P3])
            at += op[P3]
        value = value_at(run, slots[i])
        source, width = token_at(value, first_of(value, row))
        copy_bytes(at, source, width)
        at += width
    return at


@inner
def _hash_last(op: I64, value: I64, rows: int, text: int, prefix: int, ids: int) -> None:
    """Ids of a fixed prefix with one varying token behind it."""
    starts, step, bytes_at, offsets = value[STARTS], 8 * value[STRIDE], value[VALUES], value[TOKEN_OFFSETS]
    buckets, algorithm, tail = op[P5], op[B], text + prefix
    for n in range(rows):
        if n + _AHEAD < rows:
            prefetch(offsets + 8 * load(starts + (n + _AHEAD) * step))
        at = offsets + 8 * load(starts + n * step)
        first = load(at)
        width = load(at + 8) - first
        copy_bytes(tail, bytes_at + first, width)
        store(ids + 8 * n, _id_of(text, prefix + width, buckets, algorithm))


@inner
def join_hash(op: I64, run: I64) -> Any:
    """JoinTokens, then HashIds. P0 to P4: as join_tokens. P5: buckets; B: algorithm."""
    slots, target = view_i64(op[P0], op[P1]), value_at(run, op[OUT])
    if not are_single(run, slots):
        status = join_tokens(op, run)
        return status if status != OK else _hash_joined(op, run)
    distinct, rows = common_rows(run, slots)
    size = (len(slots) - 1) * op[P3]
    for slot in slots:
        value = value_at(run, slot)
        size += count_bytes(value, distinct_rows(value))
    directory, ids, text = take(run, 8 * (distinct + 1)), take(run, 8 * distinct), take(run, size)
    if text < 0:
        return OUT_OF_MEMORY
    leading, prefix = _write_prefix(op, run, slots, text)
    if leading == len(slots) - 1:
        _hash_last(op, value_at(run, slots[leading]), distinct, text, prefix, ids)
    else:
        for n in range(distinct):
            end = _join_row(op, run, slots, leading, n, text + prefix)
            store(ids + 8 * n, _id_of(text, end - text, op[P5], op[B]))
    for n in range(distinct + 1):
        store(directory + 8 * n, n)
    set_elements(target, ids, 0, 0, distinct)
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def _combinations(run: I64, slots: I64, row: int, most: int) -> Any:
    """Number of combinations of a row, or -1 if they are more than `most`."""
    count = 1
    for slot in slots:
        value = value_at(run, slot)
        count = min(count, most + 1) * (end_of(value, row) - first_of(value, row))  # another source may be empty
    return -1 if count > most else count


@inner
def _cross_row(run: I64, slots: I64, row: int, count: int, buckets: int, ids: int) -> None:
    """The ids of the combinations of a row, the last source as the fastest digit."""
    for number in range(count):
        h, rest, below = _CROSS_KEY, number, count
        for slot in slots:
            value = value_at(run, slot)
            first = first_of(value, row)
            below //= end_of(value, row) - first
            h = fingerprint_cat(h, load_u64(value[VALUES] + 8 * (first + rest // below)))
            rest %= below
        store(ids + 8 * number, np.int64(h % np.uint64(buckets)))


@inner
def cross_ids(op: I64, run: I64) -> Any:
    """CrossIds. P0, P1: address and number of the slots; P2: buckets; P4: most combinations."""
    slots, target = view_i64(op[P0], op[P1]), value_at(run, op[OUT])
    distinct, rows = common_rows(run, slots)
    directory = take(run, 8 * (distinct + 1))
    if directory < 0:
        return OUT_OF_MEMORY
    offsets = view_i64(directory, distinct + 1)
    offsets[0] = 0
    for n in range(distinct):
        count = _combinations(run, slots, n, op[P4])
        if count < 0:
            return fail(op, run, TOO_MANY_COMBINATIONS, n, 0, -1)
        offsets[n + 1] = offsets[n] + count
    ids = take(run, 8 * offsets[distinct])
    if ids < 0:
        return OUT_OF_MEMORY
    for n in range(distinct):
        _cross_row(run, slots, n, offsets[n + 1] - offsets[n], op[P2], ids + 8 * offsets[n])
    set_elements(target, ids, 0, 0, offsets[distinct])
    set_offsets(target, directory, distinct, rows)
    return OK
