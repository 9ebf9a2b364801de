"""Compiled writing: copy payloads to free slots, then publish them.

Axes: N ids or slots, R ragged parts, W floats of a payload row.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import njit
from numba.np.unsafe.ndarray import to_fixed_tuple

from recserve.dtypes import F32, I64, U8
from recserve.memory import ENDS, FIELDS, STARTS, STRIDE, TOKEN_OFFSETS, VALUES, WEIGHTS, view_f32
from recserve.rows.kernels import narrow
from recserve.store.kernels.records import (
    CREATED,
    EMPTY,
    ENDED,
    ENTRIES,
    HEADER,
    HEAP_KIND,
    HEAP_TOKEN_OFFSETS,
    HEAP_USED,
    HEAP_USED_BYTES,
    HEAP_VALUES,
    HEAP_WEIGHTS,
    ID,
    ID_BYTES,
    ID_LENGTH,
    LAST_ENTRY,
    NEVER,
    PREVIOUS,
    RECORD_WORDS,
    RECORDS,
    REMOVED,
    ROW_STRIDE,
    ROWS,
    SLOT_BITS,
    SLOT_MASK,
    TOKENS,
    WEIGHTED_IDS,
    WHERE_FIELDS,
    Fields,
    copy_bytes,
    hash_id,
    is_same_id,
    load_word,
    release,
    store_i64,
)
from recserve.tables.kernels import load_i64


@njit(cache=True, nogil=True)
def measure_values(values: I64, kinds: I64, n_rows: int, totals: I64) -> tuple[int, int]:
    """Sum up what the first rows of values need: totals int64[R, 2] of elements and token bytes.

    Returns:
        (-1, -1), or the first part and row with a weight that is not finite. Numbers are what features made of cells:
        NaN and infinities are values of theirs.
    """
    totals[:] = 0
    for r in range(len(values)):
        value = to_fixed_tuple(values[r], FIELDS)
        for n in range(n_rows):
            start = load_i64(value[STARTS] + 8 * n * value[STRIDE])
            end = load_i64(value[ENDS] + 8 * n * value[STRIDE])
            totals[r, 0] += end - start
            if kinds[r] == TOKENS and end > start:
                first, last = value[TOKEN_OFFSETS] + 8 * start, value[TOKEN_OFFSETS] + 8 * end
                totals[r, 1] += load_i64(last) - load_i64(first)
            elif kinds[r] == WEIGHTED_IDS:
                for i in range(start, end):
                    if not np.isfinite(view_f32(value[WEIGHTS] + 4 * i, 1)[0]):
                        return r, n
    return -1, -1


@njit(cache=True, nogil=True)
def append(heap: I64, source: Fields, start: int, end: int) -> tuple[int, int]:
    """Append elements [start, end) of `source` (values, token offsets, weights) to a heap; where they are then."""
    at = heap[HEAP_USED]
    count = end - start
    if heap[HEAP_KIND] == TOKENS:
        if count > 0:
            first = load_i64(source[1] + 8 * start)
            shift = heap[HEAP_USED_BYTES] - first
            for i in range(1, count + 1):
                store_i64(heap[HEAP_TOKEN_OFFSETS] + 8 * (at + i), load_i64(source[1] + 8 * (start + i)) + shift)
            size = load_i64(source[1] + 8 * end) - first
            copy_bytes(heap[HEAP_VALUES] + heap[HEAP_USED_BYTES], source[0] + first, size)
            heap[HEAP_USED_BYTES] += size
    else:
        for i in range(count):
            store_i64(heap[HEAP_VALUES] + 8 * (at + i), load_i64(source[0] + 8 * (start + i)))
    if heap[HEAP_KIND] == WEIGHTED_IDS:
        copy_bytes(heap[HEAP_WEIGHTS] + 4 * at, source[2] + 4 * start, 4 * count)
    heap[HEAP_USED] = at + count
    return at, at + count


@njit(cache=True, nogil=True)
def write_payloads(place: I64, heaps: I64, slots: I64, fixed: F32, places: I64, values: I64) -> None:  # noqa: PLR0917
    """Write the payloads of N items to their slots; a slot of -1 leaves the item out. Nobody sees them yet.

    Args:
        place: the state.
        heaps: int64[R + 1, HEAP_FIELDS] with room; counts what is used.
        slots: int64[N].
        fixed: float32[N, W].
        places: int64[C, 3], first byte in a stored row, width and precision of each part.
        values: int64[R, FIELDS] of `recserve.memory`.
    """
    where = to_fixed_tuple(place, WHERE_FIELDS)
    base = np.int64(fixed.ctypes.data)
    for n in range(len(slots)):
        if slots[n] < 0:
            continue
        source_row = base + 4 * fixed.shape[1] * n
        row = where[ROWS] + where[ROW_STRIDE] * slots[n]
        for c in range(len(places)):
            narrow(places[c, 2], source_row, row + places[c, 0], places[c, 1])
            source_row += 4 * places[c, 1]
    for r in range(len(values)):
        value = to_fixed_tuple(values[r], FIELDS)
        source = (value[VALUES], value[TOKEN_OFFSETS], value[WEIGHTS])
        for n in range(len(slots)):
            if slots[n] < 0:
                continue
            start = load_i64(value[STARTS] + 8 * n * value[STRIDE])
            end = load_i64(value[ENDS] + 8 * n * value[STRIDE])
            start, end = append(heaps[r], source, start, end)
            record = where[RECORDS] + 8 * (where[RECORD_WORDS] * slots[n] + HEADER + 2 * r)
            store_i64(record, start)
            store_i64(record + 8, end)


@njit(cache=True, nogil=True)
def find_entry(where: Fields, h: int, address: int, length: int) -> tuple[int, int]:
    """(entry, newest slot) of an id; where there is none, the entry to use for it and -1."""
    at = h & where[LAST_ENTRY]
    tag = h >> SLOT_BITS
    free = -1
    while True:
        entry = load_i64(where[ENTRIES] + 8 * at)
        if entry == EMPTY:
            return (free if free >= 0 else at), -1
        if entry == REMOVED:
            free = at if free < 0 else free
        elif entry >> SLOT_BITS == tag:
            slot = (entry & SLOT_MASK) - 2
            if is_same_id(where, where[RECORDS] + 8 * where[RECORD_WORDS] * slot, address, length):
                return at, slot
        at = (at + 1) & where[LAST_ENTRY]


@njit(cache=True, nogil=True)
def name_record(where: Fields, heap: I64, record: int, address: int, length: int) -> None:
    """Store an id in a record, and in the id heap where it is long."""
    store_i64(record + 8 * ID_LENGTH, length)
    if length <= 8:
        store_i64(record + 8 * ID, load_word(address, length))
        return
    store_i64(record + 8 * ID, heap[HEAP_USED_BYTES])
    copy_bytes(where[ID_BYTES] + heap[HEAP_USED_BYTES], address, length)
    heap[HEAP_USED_BYTES] += length


@njit(cache=True, nogil=True)
def link(place: I64, id_heap: I64, data: U8, offsets: I64, slots: I64, epoch: int, replaced: I64) -> I64:  # noqa: PLR0917
    """Lead the ids to their new slots, from `epoch` on.

    Args:
        place: the state.
        id_heap: int64[HEAP_FIELDS] with room for the ids.
        data: bytes of the ids.
        offsets: int64[N + 1], id n is `data[offsets[n]:offsets[n + 1]]`.
        slots: int64[N], complete but for id and times; -1 leaves an id out. An id occurs once.
        epoch: the next one.
        replaced: int64[N], set to the slot that was live before, or -1.

    Returns:
        int64[2]: items that were not live before, entries of the index newly in use.
    """
    where = to_fixed_tuple(place, WHERE_FIELDS)
    base = np.int64(data.ctypes.data)
    counts = np.zeros(2, np.int64)
    for n in range(len(slots)):
        replaced[n] = -1
        if slots[n] < 0:
            continue
        address, length = base + offsets[n], offsets[n + 1] - offsets[n]
        h = hash_id(address, length)
        at, newest = find_entry(where, h, address, length)
        record = where[RECORDS] + 8 * where[RECORD_WORDS] * slots[n]
        before = where[RECORDS] + 8 * where[RECORD_WORDS] * newest
        if newest >= 0:
            store_i64(record + 8 * ID, load_i64(before + 8 * ID))
            store_i64(record + 8 * ID_LENGTH, length)
        else:
            name_record(where, id_heap, record, address, length)
            counts[1] += load_i64(where[ENTRIES] + 8 * at) == EMPTY
        store_i64(record + 8 * CREATED, epoch)
        store_i64(record + 8 * ENDED, NEVER)
        store_i64(record + 8 * PREVIOUS, newest)
        release()
        store_i64(where[ENTRIES] + 8 * at, (h >> SLOT_BITS) << SLOT_BITS | slots[n] + 2)
        if newest >= 0 and load_i64(before + 8 * ENDED) == NEVER:
            store_i64(before + 8 * ENDED, epoch)
            replaced[n] = newest
        else:
            counts[0] += 1
    return counts


@njit(cache=True, nogil=True)
def end_items(place: I64, data: U8, offsets: I64, epoch: int, ended: I64) -> int:
    """End the live versions of N ids at an epoch: ended[n] = its slot, -1 where none was live. Their number."""
    where = to_fixed_tuple(place, WHERE_FIELDS)
    base = np.int64(data.ctypes.data)
    count = 0
    for n in range(len(ended)):
        address, length = base + offsets[n], offsets[n + 1] - offsets[n]
        ended[n] = -1
        if length == 0:
            continue
        _, newest = find_entry(where, hash_id(address, length), address, length)
        record = where[RECORDS] + 8 * where[RECORD_WORDS] * newest
        if newest >= 0 and load_i64(record + 8 * ENDED) == NEVER:
            store_i64(record + 8 * ENDED, epoch)
            ended[n] = newest
            count += 1
    return count


@njit(cache=True, nogil=True)
def unlink(place: I64, slots: I64) -> None:
    """Remove the entries of ended versions that nobody can see; a slot that is not its id's newest has none."""
    where = to_fixed_tuple(place, WHERE_FIELDS)
    word = np.empty(1, np.int64)
    for n in range(len(slots)):
        record = where[RECORDS] + 8 * where[RECORD_WORDS] * slots[n]
        length = load_i64(record + 8 * ID_LENGTH)
        word[0] = load_i64(record + 8 * ID)
        address = np.int64(word.ctypes.data) if length <= 8 else where[ID_BYTES] + word[0]
        at, newest = find_entry(where, hash_id(address, length), address, length)
        if newest == slots[n]:
            store_i64(where[ENTRIES] + 8 * at, REMOVED)
