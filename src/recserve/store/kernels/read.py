"""Compiled reading: find items, gather their payloads.

Axes: N ids or slots, R ragged parts, C fixed parts.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numba.np.unsafe.ndarray import to_fixed_tuple

from recserve.dtypes import I64, U8
from recserve.memory import TOKEN_OFFSETS, VALUES, WEIGHTS, view_f32
from recserve.rows.kernels import widen
from recserve.store.kernels.records import (
    CAPACITY,
    EMPTY,
    ENTRIES,
    HEADER,
    ID,
    ID_BYTES,
    ID_LENGTH,
    LAST_ENTRY,
    RECORD_WORDS,
    RECORDS,
    REMOVED,
    ROW_STRIDE,
    ROWS,
    SLOT_BITS,
    SLOT_MASK,
    WHERE_FIELDS,
    Fields,
    copy_bytes,
    hash_id,
    is_same_id,
    visible,
)
from recserve.tables.kernels import load_i64, prefetch

_GROUP: Final = 32
_AHEAD: Final = 8


@njit(cache=True, nogil=True)
def _find(where: Fields, h: int, address: int, length: int, epoch: int) -> int:
    """The slot of an id at an epoch, or -1."""
    at = h & where[LAST_ENTRY]
    tag = h >> SLOT_BITS
    while length > 0:
        entry = load_i64(where[ENTRIES] + 8 * at)
        if entry == EMPTY:
            break
        if entry >> SLOT_BITS == tag and entry != REMOVED:
            # First the version, then its id: the id of a version that came later may lie outside this state's heap.
            slot = visible(where, (entry & SLOT_MASK) - 2, epoch)
            if slot >= 0 and is_same_id(where, where[RECORDS] + 8 * where[RECORD_WORDS] * slot, address, length):
                return int(slot)
        at = (at + 1) & where[LAST_ENTRY]
    return -1


@njit(cache=True, nogil=True)
def find_slots(place: I64, data: U8, offsets: I64, epoch: int, slots: I64) -> None:
    """slots[n] = the slot of id n at an epoch, -1 where there is no such item; int64[N]."""
    where = to_fixed_tuple(place, WHERE_FIELDS)
    base = np.int64(data.ctypes.data)
    hashes = np.empty(_GROUP, np.int64)
    for first in range(0, len(slots), _GROUP):
        count = min(_GROUP, len(slots) - first)
        for j in range(count):
            start = offsets[first + j]
            hashes[j] = hash_id(base + start, offsets[first + j + 1] - start)
            prefetch(where[ENTRIES] + 8 * (hashes[j] & where[LAST_ENTRY]))
        for j in range(count):
            entry = load_i64(where[ENTRIES] + 8 * (hashes[j] & where[LAST_ENTRY]))
            if entry > REMOVED:
                prefetch(where[RECORDS] + 8 * where[RECORD_WORDS] * ((entry & SLOT_MASK) - 2))
        for j in range(count):
            entry = load_i64(where[ENTRIES] + 8 * (hashes[j] & where[LAST_ENTRY]))
            if entry > REMOVED and offsets[first + j + 1] - offsets[first + j] > 8:
                record = where[RECORDS] + 8 * where[RECORD_WORDS] * ((entry & SLOT_MASK) - 2)
                prefetch(where[ID_BYTES] + load_i64(record + 8 * ID))
        for j in range(count):
            start = offsets[first + j]
            slots[first + j] = _find(where, hashes[j], base + start, offsets[first + j + 1] - start, epoch)


@njit(cache=True, nogil=True)
def gather_fixed(place: I64, slots: I64, places: I64, buffers: I64) -> None:
    """Widen fixed parts of N slots to float32 in buffers; zeros for a slot that is none.

    Args:
        place: the state.
        slots: int64[N].
        places: int64[C, 3], first byte in a stored row, width and precision of each part.
        buffers: int64[C, 2], address and row stride in floats of each part's target; address 0 leaves the part out.
    """
    where = to_fixed_tuple(place, WHERE_FIELDS)
    row_bytes = where[ROW_STRIDE]
    for n in range(len(slots)):
        if n + _AHEAD < len(slots) and slots[n + _AHEAD] >= 0:
            for line in range(0, row_bytes, 64):
                prefetch(where[ROWS] + row_bytes * slots[n + _AHEAD] + line)
        is_known = 0 <= slots[n] < where[CAPACITY]
        row = where[ROWS] + row_bytes * (slots[n] if is_known else 0)
        for c in range(len(places)):
            if buffers[c, 0] == 0:
                continue
            width, target = places[c, 1], buffers[c, 0] + 4 * buffers[c, 1] * n
            if is_known:
                widen(places[c, 2], row + places[c, 0], target, width)
            else:
                view_f32(target, width)[:] = np.float32(0.0)


@njit(cache=True, nogil=True)
def gather_ranges(place: I64, slots: I64, first: int, starts: I64, ends: I64) -> None:
    """Where R ragged parts, from part `first` on, of N slots are: int64[R, N]; both 0 for a slot that is none."""
    where = to_fixed_tuple(place, WHERE_FIELDS)
    record_bytes, parts_at = 8 * where[RECORD_WORDS], 8 * (HEADER + 2 * first)
    for n in range(len(slots)):
        if n + _AHEAD < len(slots) and slots[n + _AHEAD] >= 0:
            ahead = where[RECORDS] + record_bytes * slots[n + _AHEAD] + parts_at
            for line in range(0, 16 * len(starts), 64):
                prefetch(ahead + line)
        is_known = 0 <= slots[n] < where[CAPACITY]
        record = where[RECORDS] + record_bytes * (slots[n] if is_known else 0) + parts_at
        for r in range(len(starts)):
            starts[r, n] = load_i64(record + 16 * r) if is_known else 0
            ends[r, n] = load_i64(record + 16 * r + 8) if is_known else 0


@njit(cache=True, nogil=True)
def prefetch_elements(values: I64, starts: I64) -> None:
    """Ask for the first elements of each row, and for their weights: the candidate stage reads them soon.

    Args:
        values: int64[R, FIELDS], descriptors of the parts.
        starts: int64[R, N], where each row starts.
    """
    for r in range(len(values)):
        offsets, elements, weights = values[r, TOKEN_OFFSETS], values[r, VALUES], values[r, WEIGHTS]
        for n in range(starts.shape[1]):
            first = starts[r, n]
            prefetch(elements + 8 * first if offsets == 0 else offsets + 8 * first)
            if weights != 0:
                prefetch(weights + 4 * first)
        if offsets != 0:
            for n in range(starts.shape[1]):
                prefetch(elements + load_i64(offsets + 8 * starts[r, n]))


@njit(cache=True, nogil=True)
def live_slots(place: I64, epoch: int, slots: I64) -> int:
    """Fill `slots` with those visible at an epoch, in order of the index; their number."""
    where = to_fixed_tuple(place, WHERE_FIELDS)
    count = 0
    for at in range(where[LAST_ENTRY] + 1):
        entry = load_i64(where[ENTRIES] + 8 * at)
        slot = visible(where, (entry & SLOT_MASK) - 2, epoch) if entry > REMOVED else -1
        if slot >= 0 and count < len(slots):
            slots[count] = slot
            count += 1
    return count


@njit(cache=True, nogil=True)
def id_lengths(place: I64, slots: I64, lengths: I64) -> None:
    """Bytes of the ids of N slots, int64[N]."""
    where = to_fixed_tuple(place, WHERE_FIELDS)
    for n in range(len(slots)):
        lengths[n] = load_i64(where[RECORDS] + 8 * (where[RECORD_WORDS] * slots[n] + ID_LENGTH))


@njit(cache=True, nogil=True)
def copy_ids(place: I64, slots: I64, offsets: I64, data: U8) -> None:
    """Copy the ids of N slots to `data[offsets[n]:offsets[n + 1]]`."""
    where = to_fixed_tuple(place, WHERE_FIELDS)
    base = np.int64(data.ctypes.data)
    for n in range(len(slots)):
        record = where[RECORDS] + 8 * where[RECORD_WORDS] * slots[n]
        length = offsets[n + 1] - offsets[n]
        source = record + 8 * ID if length <= 8 else where[ID_BYTES] + load_i64(record + 8 * ID)
        copy_bytes(base + offsets[n], source, length)
