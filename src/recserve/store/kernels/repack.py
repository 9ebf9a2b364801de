"""Compiled repacking: copy the live items of one state to fresh arrays.

Axes: N slots, R ragged parts.
"""
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from numba import njit
from numba.np.unsafe.ndarray import to_fixed_tuple

from recserve.dtypes import I64
from recserve.memory import view_i32
from recserve.store.kernels.records import (
    CREATED,
    ENDED,
    ENTRIES,
    HEADER,
    HEAP_KIND,
    HEAP_TOKEN_OFFSETS,
    HEAP_VALUES,
    HEAP_WEIGHTS,
    ID,
    ID_BYTES,
    ID_LENGTH,
    NEVER,
    PREVIOUS,
    RECORD_WORDS,
    RECORDS,
    ROW_STRIDE,
    ROWS,
    SLOT_BITS,
    TOKENS,
    WHERE_FIELDS,
    hash_id,
    store_i64,
)
from recserve.store.kernels.write import append, find_entry, name_record
from recserve.tables.kernels import load_i64


@njit(cache=True, nogil=True)
def measure_slots(place: I64, heaps: I64, slots: I64, totals: I64) -> None:
    """Add what the slots hold of each heap to totals, int64[R + 1, 2] of elements and bytes (of tokens and ids)."""
    where = to_fixed_tuple(place, WHERE_FIELDS)
    last = len(heaps) - 1
    for n in range(len(slots)):
        record = where[RECORDS] + 8 * where[RECORD_WORDS] * slots[n]
        length = load_i64(record + 8 * ID_LENGTH)
        totals[last, 1] += length if length > 8 else 0
        for r in range(last):
            start = load_i64(record + 8 * (HEADER + 2 * r))
            end = load_i64(record + 8 * (HEADER + 2 * r + 1))
            totals[r, 0] += end - start
            if heaps[r, HEAP_KIND] == TOKENS:
                offsets = heaps[r, HEAP_TOKEN_OFFSETS]
                totals[r, 1] += load_i64(offsets + 8 * end) - load_i64(offsets + 8 * start)


@njit(cache=True, nogil=True)
def repack(old_place: I64, old_heaps: I64, slots: I64, new_place: I64, new_heaps: I64) -> None:
    """Copy the items of N slots to slots [0, N) of an empty state with room for them, as versions from epoch 0 on."""
    old, new = to_fixed_tuple(old_place, WHERE_FIELDS), to_fixed_tuple(new_place, WHERE_FIELDS)
    last = len(old_heaps) - 1
    for n in range(len(slots)):
        words = new[ROW_STRIDE] // 4
        row = view_i32(new[ROWS] + new[ROW_STRIDE] * n, words)
        old_row = view_i32(old[ROWS] + old[ROW_STRIDE] * slots[n], words)
        for d in range(words):
            row[d] = old_row[d]
        record = new[RECORDS] + 8 * new[RECORD_WORDS] * n
        old_record = old[RECORDS] + 8 * old[RECORD_WORDS] * slots[n]
        length = load_i64(old_record + 8 * ID_LENGTH)
        source = old_record + 8 * ID if length <= 8 else old[ID_BYTES] + load_i64(old_record + 8 * ID)
        h = hash_id(source, length)
        at, _ = find_entry(new, h, source, length)
        name_record(new, new_heaps[last], record, source, length)
        store_i64(record + 8 * CREATED, 0)
        store_i64(record + 8 * ENDED, NEVER)
        store_i64(record + 8 * PREVIOUS, -1)
        store_i64(new[ENTRIES] + 8 * at, (h >> SLOT_BITS) << SLOT_BITS | n + 2)
    for r in range(last):
        arrays = (old_heaps[r, HEAP_VALUES], old_heaps[r, HEAP_TOKEN_OFFSETS], old_heaps[r, HEAP_WEIGHTS])
        for n in range(len(slots)):
            old_range = old[RECORDS] + 8 * (old[RECORD_WORDS] * slots[n] + HEADER + 2 * r)
            start, end = append(new_heaps[r], arrays, load_i64(old_range), load_i64(old_range + 8))
            new_range = new[RECORDS] + 8 * (new[RECORD_WORDS] * n + HEADER + 2 * r)
            store_i64(new_range, start)
            store_i64(new_range + 8, end)
