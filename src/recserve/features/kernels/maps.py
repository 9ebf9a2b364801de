"""Maps: an index for each row, and lookups in it.

The index of the map row with the elements [s, e) is int32[8 * (e - s)] at 8 * s of EXTRA, of which the first c entries
are a hash table with linear probing, c the power of two from 4 * (e - s) on: element number within the row + 1, or 0.
So it lies where the row's elements say, and needs no directory of its own. VALUES are the key hashes; TOKEN_OFFSETS is
1 where equal keys are all kept.
"""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import EIGHT_BYTES, OK, OUT, P0, P1, TOKENS, TOO_MANY_COMBINATIONS, A, B, C
from recserve.features.kernels.numeric import COMBINERS, combine, make_dense
from recserve.features.kernels.pointers import load, load_f32, load_f64, load_i32, store, store_f32, store_f64
from recserve.features.kernels.rows import (
    copy_elements,
    distinct_rows,
    end_of,
    fail,
    first_of,
    give_back,
    packed,
    room_for,
    set_elements,
    set_offsets,
    share_rows,
    take,
    take_rest,
    value_at,
)
from recserve.features.op import MAX_COMBINATIONS
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
    view_f64,
    view_i32,
    view_i64,
)

MEAN: Final = COMBINERS["mean"]
MIN: Final = COMBINERS["min"]
COUNT_HITS: Final = COMBINERS["count"]


@inner
def capacity_of(count: int) -> Any:
    """Entries of the index of a row with `count` keys."""
    capacity = 4
    while capacity < 4 * count:
        capacity *= 2
    return capacity


@inner
def mask_of(count: int, keeps_all: int) -> Any:
    """Entries of the index of a row with `count` keys, less 1. One that keeps all has half, and chains behind them."""
    capacity = capacity_of(count)
    return (capacity >> 1 if keeps_all else capacity) - 1


@inner
def build_map(op: I64, run: I64) -> Any:
    """BuildMap. P0: keeps_all."""
    target, address = value_at(run, op[OUT]), packed(run, op[A], EIGHT_BYTES, False)
    if address < 0:
        return OUT_OF_MEMORY
    keys = view_i64(address, FIELDS)
    share_rows(keys, target)
    extra = take(run, 32 * keys[COUNT])
    if extra < 0:
        return OUT_OF_MEMORY
    target[VALUES], target[EXTRA], target[EXTRA_COUNT] = keys[VALUES], extra, 8 * keys[COUNT]
    target[TOKEN_OFFSETS] = op[P0]
    for n in range(distinct_rows(keys)):
        first = first_of(keys, n)
        count = end_of(keys, n) - first
        if count == 0:
            continue
        mask = mask_of(count, op[P0])
        table, hashes = view_i32(extra + 32 * first, mask + 1), view_i64(keys[VALUES] + 8 * first, count)
        for j in range(mask + 1):
            table[j] = 0
        following, last = _chains(extra, first, count)
        for j in range(count):
            at = hashes[j] & mask
            while table[at] != 0 and hashes[table[at] - 1] != hashes[j]:
                at = (at + 1) & mask
            if op[P0]:
                head = j if table[at] == 0 else table[at] - 1
                following[last[head] if head < j else j] = j + 1
                following[j], last[head], table[at] = 0, j, head + 1
            else:
                table[at] = j + 1
    return OK


@inner
def _chains(extra: int, first: int, count: int) -> Any:
    """Of a map that keeps all: (number + 1 of the next element under an equal hash, or 0; number of the last one)."""
    return view_i32(extra + 32 * first + 16 * count, count), view_i32(extra + 32 * first + 20 * count, count)


@inner
def _probe(index: I64, first: int, count: int, key: int, hits: int, most: int, base: int) -> Any:
    """Write base + the number of each element with the hash `key` at `hits`; how many, or -1 if more than `most`."""
    mask, found = mask_of(count, index[TOKEN_OFFSETS]), 0
    following, _ = _chains(index[EXTRA], first, count)
    table, hashes = view_i32(index[EXTRA] + 32 * first, mask + 1), view_i64(index[VALUES] + 8 * first, count)
    at = key & mask
    while table[at] != 0:
        element = table[at] - 1
        if hashes[element] == key:
            while element >= 0:
                if found >= most:
                    return -1
                view_i64(hits + 8 * found, 1)[0] = base + element
                found += 1
                element = following[element] - 1 if index[TOKEN_OFFSETS] else -1
            return found
        at = (at + 1) & mask
    return found


@inner
def find_hits(op: I64, run: I64, directory: int, distinct: int) -> Any:
    """The elements of the values (B) under the keys (C) of each row: their address, in the rest of the arena.

    OUT_OF_MEMORY, or less where a row has too many; see `status_of`. `directory` gets the offsets of the rows. Kept:
    what the offsets say; `give_back` has been called.
    """
    index, values, keys = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[C])
    hits, room = take_rest(run)
    offsets, total = view_i64(directory, distinct + 1), 0
    offsets[0] = 0
    for n in range(distinct):
        first = first_of(index, n)
        count = end_of(index, n) - first
        if count > 0:
            base = first_of(values, n)
            for j in range(first_of(keys, n), end_of(keys, n)):
                key = load(keys[VALUES] + 8 * j)
                found = _probe(index, first, count, key, hits + 8 * total, room // 8 - total, base)
                if found < 0:
                    return OUT_OF_MEMORY
                total += found
                if total - offsets[n] > max(MAX_COMBINATIONS, end_of(keys, n) - first_of(keys, n)):
                    return -fail(op, run, TOO_MANY_COMBINATIONS, n, 0, -1)
        offsets[n + 1] = total
    give_back(run, hits, 8 * total)
    return hits


@inner
def status_of(hits: int) -> Any:
    """What a kernel returns where `find_hits` gave no address."""
    return OUT_OF_MEMORY if hits == OUT_OF_MEMORY else -hits


@inner
def _rows_of(op: I64, run: I64) -> Any:
    """(distinct rows, rows) of a lookup."""
    index, values, keys = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[C])
    rows = max(index[ROWS], values[ROWS], keys[ROWS])
    is_same = index[STRIDE] == 0 and values[STRIDE] == 0 and keys[STRIDE] == 0
    return 1 if is_same else rows, rows


@inner
def _find_element(table: int, hashes: int, mask: int, key: int) -> Any:
    """The element number + 1 under the first equal hash from 8 bytes after `hashes` on, or 0.

    Hits and misses come in no order: the loop, which is left at once for most keys, is the only branch.
    """
    at = key & mask
    element = load_i32(table + 4 * at)
    while (element != 0) & (load(hashes + 8 * (element + (element == 0))) != key):
        at = (at + 1) & mask
        element = load_i32(table + 4 * at)
    return element


@inner
def _look_up_one(op: I64, run: I64, directory: int, distinct: int, out: int) -> Any:
    """Look up every key of each row in the one map of all rows; the number of rows with a hit."""
    index, values, keys = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[C])
    combiner, step, starts, ends, key_at = op[P0], 8 * keys[STRIDE], keys[STARTS], keys[ENDS], keys[VALUES]
    first = first_of(index, 0)
    count, position = end_of(index, 0) - first, 0
    mask, table, hashes = capacity_of(count) - 1, index[EXTRA] + 32 * first, index[VALUES] + 8 * first - 8
    numbers = values[VALUES] + 8 * first_of(values, 0) - 8
    store(directory, 0)
    if count == 0:  # a table of one free entry
        mask, table, hashes, numbers = 0, directory, directory - 8, directory - 8
    for n in range(distinct):
        start, end = load(starts + n * step), load(ends + n * step)
        if end - start == 1:
            element = _find_element(table, hashes, mask, load(key_at + 8 * start))
            x = load_f64(numbers + 8 * (element + (element == 0)))
            store_f64(out + 8 * position, 1.0 if combiner == COUNT_HITS else x)
            position += (element != 0) & (x == x)  # noqa: PLR0124  (not NaN)
        else:
            found, result = 0, 0.0
            for j in range(start, end):
                element = _find_element(table, hashes, mask, load(key_at + 8 * j))
                x = load_f64(numbers + 8 * (element + (element == 0)))
                if (element != 0) & (x == x):  # noqa: PLR0124  (not NaN)
                    result = add_hit(combiner, result, x, found)
                    found += 1
            if found > 0:
                store_f64(out + 8 * position, result / found if combiner == MEAN else result)
                position += 1
        store(directory + 8 * n + 8, position)
    return position


@inner
def _look_up_combined(op: I64, run: I64) -> Any:
    """LookupNumbers with a combiner, where map and values are the same in all rows and a key has one value."""
    target = value_at(run, op[OUT])
    distinct, rows = _rows_of(op, run)
    directory, out = take(run, 8 * (distinct + 1)), take(run, 8 * distinct)
    if out < 0:
        return OUT_OF_MEMORY
    position = _look_up_one(op, run, directory, distinct, out)
    set_elements(target, out, 0, 0, position)
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def add_hit(combiner: int, result: float, x: float, found: int) -> Any:
    """The result with one number more; `found` were there before."""
    if combiner == COUNT_HITS:
        return result + 1.0
    if found == 0 or combiner == 0:
        return result if found else x
    if combiner <= MEAN:
        return result + x
    return min(result, x) if combiner == MIN else max(result, x)


@inner
def lookup_numbers(op: I64, run: I64) -> Any:
    """LookupNumbers. P0: combiner."""
    index, values, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    if op[P0] and index[STRIDE] == 0 and values[STRIDE] == 0 and index[TOKEN_OFFSETS] == 0:
        return _look_up_combined(op, run)
    distinct, rows = _rows_of(op, run)
    directory = take(run, 8 * (distinct + 1))
    hits = find_hits(op, run, directory, distinct) if directory >= 0 else OUT_OF_MEMORY
    if hits < 0:
        return status_of(hits)
    offsets = view_i64(directory, distinct + 1)
    found, out, at, position = view_i64(hits, offsets[distinct]), view_f64(hits, offsets[distinct]), 0, 0
    for n in range(distinct):
        end, first = offsets[n + 1], at
        while position < end:  # numbers replace the hits they came from
            x = view_f64(values[VALUES] + 8 * found[position], 1)[0]
            position += 1
            if not np.isnan(x):
                out[at] = x
                at += 1
        if op[P0] and at > first:
            out[first] = combine(view_f64(hits + 8 * first, at - first), at - first, op[P0])
            at = first + 1
        offsets[n + 1] = at
    set_elements(target, hits, 0, 0, at)
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def _look_up_dense(op: I64, run: I64, directory: int, rows: int, out: int) -> None:
    """As `_look_up_one`, each row its float32."""
    index, values, keys = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[C])
    combiner, step, starts, ends, key_at = op[P0], 8 * keys[STRIDE], keys[STARTS], keys[ENDS], keys[VALUES]
    first, default = first_of(index, 0), load_f32(op[P1])
    count = end_of(index, 0) - first
    mask, table, hashes = capacity_of(count) - 1, index[EXTRA] + 32 * first, index[VALUES] + 8 * first - 8
    numbers = values[VALUES] + 8 * first_of(values, 0) - 8
    store(directory, 0)
    if count == 0:  # a table of one free entry
        mask, table, hashes, numbers = 0, directory, directory - 8, directory - 8
    for n in range(rows):
        start, end = load(starts + n * step), load(ends + n * step)
        found, result = 0, 0.0
        if end - start == 1:
            element = _find_element(table, hashes, mask, load(key_at + 8 * start))
            x = load_f64(numbers + 8 * (element + (element == 0)))
            found = 1 if (element != 0) & (x == x) else 0  # noqa: PLR0124  (not NaN)
            result = 1.0 if combiner == COUNT_HITS else x
        else:
            for j in range(start, end):
                element = _find_element(table, hashes, mask, load(key_at + 8 * j))
                x = load_f64(numbers + 8 * (element + (element == 0)))
                if (element != 0) & (x == x):  # noqa: PLR0124  (not NaN)
                    result = add_hit(combiner, result, x, found)
                    found += 1
            if combiner == MEAN and found > 0:
                result /= found
        single = np.float32(result)
        store_f32(out + 4 * n, single if (found > 0) & (single == single) else default)  # noqa: PLR0124
        store(directory + 8 * n + 8, n + 1)


@inner
def lookup_dense(op: I64, run: I64) -> Any:
    """LookupNumbers, then ToDense of one number (without a combiner the first). P0: combiner; P1: default's address."""
    index, values, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    if index[STRIDE] != 0 or values[STRIDE] != 0 or index[TOKEN_OFFSETS] != 0:
        status = lookup_numbers(op, run)
        return status if status != OK else make_dense(run, target, target, op[P1], 1)
    distinct, rows = _rows_of(op, run)
    directory, out = take(run, 8 * (distinct + 1)), take(run, 4 * distinct)
    if out < 0:
        return OUT_OF_MEMORY
    _look_up_dense(op, run, directory, distinct, out)
    set_elements(target, out, 0, 0, distinct)
    target[EXTRA_COUNT] = 1
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def lookup_ids(op: I64, run: I64) -> Any:
    """LookupIds."""
    values, target = value_at(run, op[B]), value_at(run, op[OUT])
    distinct, rows = _rows_of(op, run)
    directory = take(run, 8 * (distinct + 1))
    hits = find_hits(op, run, directory, distinct) if directory >= 0 else OUT_OF_MEMORY
    if hits < 0:
        return status_of(hits)
    offsets, at, position = view_i64(directory, distinct + 1), 0, 0
    found = view_i64(hits, offsets[distinct])
    for n in range(distinct):
        end = offsets[n + 1]
        while position < end:
            value = load(values[VALUES] + 8 * found[position])
            position += 1
            if value != -1:
                found[at] = value
                at += 1
        offsets[n + 1] = at
    set_elements(target, hits, 0, 0, at)
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def lookup_tokens(op: I64, run: I64) -> Any:
    """LookupTokens."""
    values, target = value_at(run, op[B]), value_at(run, op[OUT])
    distinct, rows = _rows_of(op, run)
    directory = take(run, 8 * (distinct + 1))
    hits = find_hits(op, run, directory, distinct) if directory >= 0 else OUT_OF_MEMORY
    if hits < 0:
        return status_of(hits)
    total, size = view_i64(directory, distinct + 1)[distinct], 0
    found = view_i64(hits, total)
    for t in found:
        size += load(values[TOKEN_OFFSETS] + 8 * t + 8) - load(values[TOKEN_OFFSETS] + 8 * t)
    if room_for(run, values, target, total, size, TOKENS) != OK:
        return OUT_OF_MEMORY
    for j in range(total):
        copy_elements(values, found[j], 1, target, j, TOKENS)
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def dot_product(op: I64, run: I64) -> Any:
    """DotProduct. P0: slot of the factors."""
    index, values, keys = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[C])
    factors, target = value_at(run, op[P0]), value_at(run, op[OUT])
    distinct, rows = _rows_of(op, run)
    if factors[STRIDE] != 0:
        distinct = rows
    directory, address = take(run, 8 * (distinct + 1)), take(run, 8 * distinct)
    hits, room = take_rest(run)
    if address < 0:
        return OUT_OF_MEMORY
    offsets, out = view_i64(directory, distinct + 1), view_f64(address, distinct)
    offsets[0] = 0
    for n in range(distinct):
        first, start = first_of(index, n), first_of(keys, n)
        count, total = end_of(index, n) - first, 0.0
        is_empty = count == 0 or end_of(keys, n) == start
        if not is_empty:
            numbers = view_f64(factors[VALUES] + 8 * first_of(factors, n), end_of(keys, n) - start)
            for j in range(len(numbers)):
                key = load(keys[VALUES] + 8 * (start + j))
                found = _probe(index, first, count, key, hits, room // 8, first_of(values, n))
                if found < 0:
                    return OUT_OF_MEMORY
                for h in range(found):
                    x = numbers[j] * view_f64(values[VALUES] + 8 * load(hits + 8 * h), 1)[0]
                    total += 0.0 if np.isnan(x) else x
            out[offsets[n]] = total
        offsets[n + 1] = offsets[n] + (not is_empty)
    set_elements(target, address, 0, 0, offsets[distinct])
    set_offsets(target, directory, distinct, rows)
    return OK
