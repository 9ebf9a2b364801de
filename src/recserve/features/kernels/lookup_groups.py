"""Many lookups at once: the maps are turned inside out, and each key finds its hits in all of them with one probe.

Where M maps of a request are asked for K keys of each candidate, M × K probes a candidate become K, and work is left
only for the hits. A *pair* is a map and its values, a *member* one lookup of the group.

A joined table lists, by key, (pair, number) of every hit: open addressing over `JOINED_KEYS`, and behind each used slot
a stretch of the hits, which ends where `JOINED_ENDS` says and is as long as `JOINED_COUNTS` says. NaN are left out, so
NaN stands for "no hit" in the cells between scattering and reading.
"""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    DOMAIN,
    INSTRUCTION,
    OK,
    OP,
    OUT,
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    A,
    B,
    C,
)
from recserve.features.kernels.maps import COUNT_HITS, MEAN, add_hit, capacity_of, lookup_dense, lookup_numbers
from recserve.features.kernels.pointers import load, load_f32, load_f64, load_i32, store, store_f64, store_i32
from recserve.features.kernels.rows import distinct_rows, end_of, first_of, set_elements, set_offsets, take, value_at
from recserve.memory import (
    ENDS,
    EXTRA,
    EXTRA_COUNT,
    OUT_OF_MEMORY,
    ROWS,
    STARTS,
    STRIDE,
    TOKEN_OFFSETS,
    VALUES,
    view_f32,
    view_f64,
    view_i64,
)

# A member.
PAIR: Final = 0
KEYS: Final = 1
"""Number of its keys in the list of keys."""
TARGET: Final = 2
COMBINER: Final = 3
DEFAULT: Final = 4
"""Address of the default of a dense value; 0: LookupNumbers."""
NUMBER: Final = 5
"""Of the op in the graph."""
MEMBER: Final = 6

# The joined table.
JOINED_KEYS: Final = 0
JOINED_COUNTS: Final = 1
JOINED_ENDS: Final = 2
JOINED_PAIRS: Final = 3
JOINED_NUMBERS: Final = 4
JOINED_MASK: Final = 5
JOINED: Final = 6


@inner
def _pair_at(op: I64, run: I64, pair: int) -> Any:
    """(map, values) of a pair."""
    at = op[P2] + 16 * pair
    return value_at(run, load(at)), value_at(run, load(at + 8))


@inner
def _count_entries(op: I64, run: I64) -> Any:
    """Entries of all maps; -1 if some map or values differ by row, or a map keeps equal keys."""
    total = 0
    for pair in range(op[P3]):
        index, values = _pair_at(op, run, pair)
        if index[STRIDE] != 0 or values[STRIDE] != 0 or index[TOKEN_OFFSETS] != 0:
            return -1
        total += end_of(index, 0) - first_of(index, 0)
    return total


@inner
def _count_probes(op: I64, run: I64) -> Any:
    """Probes that the members would make one by one, for one key a row."""
    total = 0
    for m in range(op[P1]):
        member = view_i64(op[P0] + 8 * MEMBER * m, MEMBER)
        total += distinct_rows(value_at(run, load(op[P4] + 8 * member[KEYS])))
    return total


@inner
def _run_alone(op: I64, run: I64) -> Any:
    """The members one by one."""
    address = take(run, 8 * INSTRUCTION)
    if address < 0:
        return OUT_OF_MEMORY
    single = view_i64(address, INSTRUCTION)
    single[:] = 0
    single[DOMAIN] = -1
    for m in range(op[P1]):
        member = view_i64(op[P0] + 8 * MEMBER * m, MEMBER)
        pair = op[P2] + 16 * member[PAIR]
        single[A], single[B], single[C] = load(pair), load(pair + 8), load(op[P4] + 8 * member[KEYS])
        single[OUT], single[OP] = member[TARGET], member[NUMBER]
        single[P0], single[P1] = member[COMBINER], member[DEFAULT]
        status = lookup_dense(single, run) if member[DEFAULT] else lookup_numbers(single, run)
        if status != OK:
            return status
    return OK


@inner
def _open_joined(run: I64, total: int) -> Any:
    """Address of an empty joined table for `total` hits, or OUT_OF_MEMORY."""
    capacity = 4
    while capacity < 2 * total:
        capacity *= 2
    address = take(run, 8 * JOINED)
    keys, counts, ends = take(run, 8 * capacity), take(run, 4 * capacity), take(run, 4 * capacity)
    pairs, numbers = take(run, 8 * total), take(run, 8 * total)
    if numbers < 0:
        return OUT_OF_MEMORY
    for at in range(capacity):
        store_i32(counts + 4 * at, np.int32(0))
    joined = view_i64(address, JOINED)
    joined[JOINED_KEYS], joined[JOINED_COUNTS], joined[JOINED_ENDS] = keys, counts, ends
    joined[JOINED_PAIRS], joined[JOINED_NUMBERS], joined[JOINED_MASK] = pairs, numbers, capacity - 1
    return address


@inner
def _slot_of(joined: I64, key: int) -> Any:
    """The slot of a key, or the free one where it belongs."""
    at, keys, counts = key & joined[JOINED_MASK], joined[JOINED_KEYS], joined[JOINED_COUNTS]
    while load_i32(counts + 4 * at) != 0 and load(keys + 8 * at) != key:
        at = (at + 1) & joined[JOINED_MASK]
    return at


@inner
def _walk_maps(op: I64, run: I64, joined: I64, is_filling: bool) -> None:
    """Visit each entry of each map: first count the hits by key, then fill them in."""
    for pair in range(op[P3]):
        index, values = _pair_at(op, run, pair)
        first = first_of(index, 0)
        count = end_of(index, 0) - first
        table, hashes = index[EXTRA] + 32 * first, index[VALUES] + 8 * first - 8
        numbers = values[VALUES] + 8 * first_of(values, 0) - 8
        for entry in range(capacity_of(count) if count else 0):
            element = load_i32(table + 4 * entry)
            if element == 0:
                continue
            key, x = load(hashes + 8 * element), load_f64(numbers + 8 * element)
            if np.isnan(x):
                continue
            at = _slot_of(joined, key)
            if is_filling:
                end = joined[JOINED_ENDS] + 4 * at
                hit = load_i32(end)
                store(joined[JOINED_PAIRS] + 8 * hit, pair)
                store_f64(joined[JOINED_NUMBERS] + 8 * hit, x)
                store_i32(end, np.int32(hit + 1))
            else:
                store(joined[JOINED_KEYS] + 8 * at, key)
                held = joined[JOINED_COUNTS] + 4 * at
                store_i32(held, np.int32(load_i32(held) + 1))


@inner
def _join_maps(op: I64, run: I64, total: int) -> Any:
    """Address of the joined table of all maps, or OUT_OF_MEMORY."""
    address = _open_joined(run, total)
    if address < 0:
        return OUT_OF_MEMORY
    joined = view_i64(address, JOINED)
    _walk_maps(op, run, joined, False)
    position = 0
    for at in range(joined[JOINED_MASK] + 1):
        store_i32(joined[JOINED_ENDS] + 4 * at, np.int32(position))
        position += load_i32(joined[JOINED_COUNTS] + 4 * at)
    _walk_maps(op, run, joined, True)
    return address


@inner
def _scatter_key(joined: I64, key: int, combiners: int, cells: int, width: int) -> None:
    """Write the hits of the only key of a row: a number of pair p goes to cells + p * width."""
    at = _slot_of(joined, key)
    end = load_i32(joined[JOINED_ENDS] + 4 * at)
    for hit in range(end - load_i32(joined[JOINED_COUNTS] + 4 * at), end):
        pair = load(joined[JOINED_PAIRS] + 8 * hit)
        x = load_f64(joined[JOINED_NUMBERS] + 8 * hit)
        store_f64(cells + pair * width, 1.0 if load(combiners + 8 * pair) == COUNT_HITS else x)


@inner
def _scatter_keys(op: I64, joined: I64, keys: int, count: int, combiners: int, cells: int, width: int) -> None:
    """Combine the hits of several keys of a row. `combiners`: int64[pairs], then their sums and numbers of hits."""
    pairs = op[P3]
    sums, found = combiners + 8 * pairs, combiners + 16 * pairs
    for j in range(count):
        at = _slot_of(joined, load(keys + 8 * j))
        end = load_i32(joined[JOINED_ENDS] + 4 * at)
        for hit in range(end - load_i32(joined[JOINED_COUNTS] + 4 * at), end):
            pair = load(joined[JOINED_PAIRS] + 8 * hit)
            x, hits = load_f64(joined[JOINED_NUMBERS] + 8 * hit), load(found + 8 * pair)
            result = load_f64(sums + 8 * pair) if hits else 0.0
            store_f64(sums + 8 * pair, add_hit(load(combiners + 8 * pair), result, x, hits))
            store(found + 8 * pair, hits + 1)
    for pair in range(pairs):
        hits = load(found + 8 * pair)
        if hits:
            result = load_f64(sums + 8 * pair)
            store_f64(cells + pair * width, result / hits if load(combiners + 8 * pair) == MEAN else result)
            store(found + 8 * pair, 0)


@inner
def _scatter_rows(op: I64, run: I64, joined: I64, number: int, combiners: int, cells: int) -> None:
    """Write the hits of every row of the keys `number` to the cells, float64[pairs, rows]; NaN where none is."""
    keys = value_at(run, load(op[P4] + 8 * number))
    starts, ends, step, key_at = keys[STARTS], keys[ENDS], 8 * keys[STRIDE], keys[VALUES]
    rows = distinct_rows(keys)
    empty = view_f64(cells, op[P3] * rows)
    for i in range(op[P3] * rows):
        empty[i] = np.nan
    for n in range(rows):
        start, end = load(starts + n * step), load(ends + n * step)
        if end - start == 1:
            _scatter_key(joined, load(key_at + 8 * start), combiners, cells + 8 * n, 8 * rows)
        elif end > start:
            _scatter_keys(op, joined, key_at + 8 * start, end - start, combiners, cells + 8 * n, 8 * rows)


@inner
def _read_dense(run: I64, member: I64, cells: int, rows: int, directory: int) -> Any:
    """Make a member's dense value of its cells."""
    values = take(run, 4 * rows)
    if values < 0:
        return OUT_OF_MEMORY
    found, out, default = view_f64(cells, rows), view_f32(values, rows), load_f32(member[DEFAULT])
    for n in range(rows):
        x = found[n]
        out[n] = default if np.isnan(x) else np.float32(x)
    target = value_at(run, member[TARGET])
    set_elements(target, values, 0, 0, rows)
    target[EXTRA_COUNT] = 1
    set_offsets(target, directory, rows, 0)
    return OK


@inner
def _read_numbers(run: I64, member: I64, cells: int, rows: int) -> Any:
    """Make a member's numbers, none or one a row, of its cells."""
    directory, values = take(run, 8 * (rows + 1)), take(run, 8 * rows)
    if values < 0:
        return OUT_OF_MEMORY
    position = 0
    store(directory, 0)
    for n in range(rows):
        x = load_f64(cells + 8 * n)
        store_f64(values + 8 * position, x)
        position += not np.isnan(x)
        store(directory + 8 * n + 8, position)
    target = value_at(run, member[TARGET])
    set_elements(target, values, 0, 0, position)
    set_offsets(target, directory, rows, 0)
    return OK


@inner
def _read_members(op: I64, run: I64, number: int, cells: int, first: int, directory: int) -> Any:
    """Make the values of the members, from `first` on, that have the keys `number`: the next member, or a failure."""
    keys = value_at(run, load(op[P4] + 8 * number))
    rows, m = distinct_rows(keys), first
    while m < op[P1]:
        member = view_i64(op[P0] + 8 * MEMBER * m, MEMBER)
        if member[KEYS] != number:
            break
        found = cells + 8 * rows * member[PAIR]
        if member[DEFAULT]:
            status = _read_dense(run, member, found, rows, directory)
        else:
            status = _read_numbers(run, member, found, rows)
        if status != OK:
            return status
        index, values = _pair_at(op, run, member[PAIR])
        value_at(run, member[TARGET])[ROWS] = max(index[ROWS], values[ROWS], keys[ROWS])
        m += 1
    return m


@inner
def lookup_group(op: I64, run: I64) -> Any:
    """LookupNumbers, some with ToDense behind, of many maps and keys.

    P0, P1: address of the members, int64[P1, MEMBER], sorted by keys; P2, P3: address of the pairs of slots (map,
    values) and their number; P4, P5: address of the slots of the keys and their number.
    """
    total = _count_entries(op, run)
    if total < 0 or total > _count_probes(op, run):
        return _run_alone(op, run)
    address, most = _join_maps(op, run, total), 1
    for number in range(op[P5]):
        most = max(most, distinct_rows(value_at(run, load(op[P4] + 8 * number))))
    cells, combiners, directory = take(run, 8 * op[P3] * most), take(run, 24 * op[P3]), take(run, 8 * (most + 1))
    if address < 0 or directory < 0:
        return OUT_OF_MEMORY
    joined, m = view_i64(address, JOINED), 0
    for n in range(most + 1):
        store(directory + 8 * n, n)
    for i in range(3 * op[P3]):
        store(combiners + 8 * i, 0)
    for number in range(op[P5]):
        for i in range(m, op[P1]):
            member = view_i64(op[P0] + 8 * MEMBER * i, MEMBER)
            if member[KEYS] != number:
                break
            store(combiners + 8 * member[PAIR], member[COMBINER])
        _scatter_rows(op, run, joined, number, combiners, cells)
        m = _read_members(op, run, number, cells, m, directory)
        if m < 0:
            return OUT_OF_MEMORY
    return OK
