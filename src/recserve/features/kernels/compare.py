"""Ops that compare the tokens of two values: Overlap and EditDistance."""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.hashing import murmur64a
from recserve.features.kernels.ids import is_same
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import OK, OUT, P0, TOO_MANY_COMPARISONS, A, B
from recserve.features.kernels.rows import (
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
from recserve.features.kernels.tokens import token_at
from recserve.features.op import MAX_COMPARISONS
from recserve.memory import OUT_OF_MEMORY, ROWS, STRIDE, view_f64, view_i64, view_u8

METHODS: Final = (
    "query_common_ratio",
    "title_common_ratio",
    "is_contain",
    "is_equal",
    "index_of",
    "proximity_min_cover",
    "proximity_min_dist",
    "proximity_max_dist",
    "proximity_avg_dist",
)
PROXIMITY: Final = METHODS.index("proximity_min_dist")
"""From here on methods compare pairs of terms."""


@inner
def _number_terms(
    query: I64, first: int, count: int, title: I64, other: int, length: int, codes: I64, table: I64
) -> Any:
    """Write for each term of query, then of title, the number of its term; how many terms query has.

    Equal terms have equal numbers, in order of appearance in query; a term of title that query lacks has -1. `table`
    has a power of two of places, at least one more than query has terms.
    """
    terms, mask = 0, len(table) - 1
    table[:] = 0
    for i in range(count + length):
        if i < count:
            text, size = token_at(query, first + i)
        else:
            text, size = token_at(title, other + i - count)
        place, codes[i] = np.int64(murmur64a(text, size) & np.uint64(mask)), -1
        while table[place] != 0:
            known, width = token_at(query, first + table[place] - 1)
            if width == size and is_same(known, text, size):
                codes[i] = codes[table[place] - 1]
                break
            place = (place + 1) & mask
        if codes[i] < 0 and i < count:
            table[place], codes[i] = i + 1, terms
            terms += 1
    return terms


@inner
def _contained(codes: I64, count: int, length: int) -> Any:
    """Whether title has all terms of query in their order."""
    at = 0
    for j in range(length):
        if at < count and codes[count + j] == codes[at]:
            at += 1
    return at == count


@inner
def _index_of(codes: I64, count: int, length: int, border: I64) -> Any:
    """First position at which query stands in title as a whole, else -1 (Knuth, Morris and Pratt)."""
    border[0], k = 0, 0
    for i in range(1, count):
        while k > 0 and codes[i] != codes[k]:
            k = border[k - 1]
        k += codes[i] == codes[k]
        border[i] = k
    k = 0
    for j in range(length):
        while k > 0 and codes[count + j] != codes[k]:
            k = border[k - 1]
        k += codes[count + j] == codes[k]
        if k == count:
            return j - count + 1
    return -1


@inner
def _common(codes: I64, count: int, length: int, of_query: bool, seen: I64) -> Any:
    """Terms of query that title has, or terms of title that query has."""
    found = 0
    seen[:] = 0
    for j in range(length):
        if codes[count + j] >= 0:
            seen[codes[count + j]] = 1
            found += not of_query
    if of_query:
        for i in range(count):
            found += seen[codes[i]]
    return found


@inner
def _min_cover(codes: I64, count: int, length: int, terms: int, inside: I64) -> Any:
    """Length of the shortest stretch of title with all terms of query, 0 if there is none."""
    best, have, start = 0, 0, 0
    inside[:] = 0
    for j in range(length):
        code = codes[count + j]
        if code >= 0:
            have += inside[code] == 0
            inside[code] += 1
        while have == terms:
            best = j - start + 1 if best == 0 else min(best, j - start + 1)
            code = codes[count + start]
            if code >= 0:
                inside[code] -= 1
                have -= inside[code] == 0
            start += 1
    return best


@inner
def _proximity(codes: I64, count: int, length: int, terms: int, method: int, last: I64, nearest: I64) -> Any:
    """Smallest, largest or mean smallest distance of two terms in title; length + 1 if a term lacks."""
    last[:] = -1
    nearest[: terms * terms] = length + 1
    for j in range(length):
        code = codes[count + j]
        if code >= 0:
            for t in range(terms):
                if t != code and last[t] >= 0:
                    pair = min(t, code) * terms + max(t, code)
                    nearest[pair] = min(nearest[pair], j - last[t])
            last[code] = j
    pairs, total, low, high = 0, 0, length + 1, 0
    for a in range(terms):
        for b in range(a + 1, terms):
            distance = nearest[a * terms + b]
            if distance > length:
                return float(length + 1)
            pairs, total, low, high = pairs + 1, total + distance, min(low, distance), max(high, distance)
    if pairs == 0:
        return float(length + 1)
    return float(low) if method == 6 else float(high) if method == 7 else total / pairs


@inner
def _overlap(codes: I64, count: int, length: int, terms: int, method: int, last: I64, nearest: I64) -> Any:
    if method == 0:
        return _common(codes, count, length, True, last) / count
    if method == 1:
        return _common(codes, count, length, False, last) / length
    if method == 2:
        return 1.0 if _contained(codes, count, length) else 0.0
    if method == 3:
        return 1.0 if count == length and _index_of(codes, count, length, last) == 0 else 0.0
    if method == 4:
        return float(_index_of(codes, count, length, last))
    if method == 5:
        return float(_min_cover(codes, count, length, terms, last))
    return _proximity(codes, count, length, terms, method, last, nearest)


@inner
def overlap(op: I64, run: I64) -> Any:
    """Overlap: A the query, B the title. P0: number of the method."""
    query, title, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    rows = max(query[ROWS], title[ROWS])
    distinct = 1 if query[STRIDE] == 0 and title[STRIDE] == 0 else rows
    directory, address = take(run, 8 * (distinct + 1)), take(run, 8 * distinct)
    scratch, room = take_rest(run)
    if address < 0:
        return OUT_OF_MEMORY
    offsets, out = view_i64(directory, distinct + 1), view_f64(address, distinct)
    offsets[0] = 0
    for n in range(distinct):
        first, other = first_of(query, n), first_of(title, n)
        count, length = end_of(query, n) - first, end_of(title, n) - other
        offsets[n + 1] = offsets[n]
        if count > 0 and length > 0:
            places = 2
            while places <= count:
                places *= 2
            free = room // 8 - (2 * count + length + 2 * places)
            if free < 0:
                return OUT_OF_MEMORY
            codes, last = view_i64(scratch, count + length), view_i64(scratch + 8 * (count + length), count)
            rest = scratch + 8 * (2 * count + length)
            table = view_i64(rest, 2 * places)
            terms = _number_terms(query, first, count, title, other, length, codes, table)
            if op[P0] >= PROXIMITY and terms * (terms + length) > MAX_COMPARISONS:
                return fail(op, run, TOO_MANY_COMPARISONS, n, 0, -1)
            if op[P0] >= PROXIMITY and terms * terms > free:
                return OUT_OF_MEMORY
            nearest = view_i64(rest + 16 * places, terms * terms if op[P0] >= PROXIMITY else 0)
            out[offsets[n]] = _overlap(codes, count, length, terms, op[P0], last, nearest)
            offsets[n + 1] += 1
    give_back(run, scratch, 0)
    set_elements(target, address, 0, 0, offsets[distinct])
    set_offsets(target, directory, distinct, rows)
    return OK


@inner
def _write_characters(address: int, size: int, is_utf8: bool, out: I64) -> Any:
    """Write the bytes, or the UTF-8 characters, of a text as numbers; how many."""
    text, count, at = view_u8(address, size), 0, 0
    while at < size:
        width = 1
        lead = text[at]
        if is_utf8 and lead >= 0xC2:
            width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        code = 0
        for i in range(at, min(at + width, size)):
            code = code * 256 + text[i]
        out[count] = code
        count += 1
        at += width
    return count


@inner
def _distance(left: I64, count: int, right: I64, length: int, row: I64) -> Any:
    """Levenshtein distance of two sequences."""
    for j in range(length + 1):
        row[j] = j
    for i in range(count):
        diagonal, row[0] = row[0], i + 1
        for j in range(length):
            best = min(row[j + 1], row[j]) + 1
            best = min(best, diagonal + (left[i] != right[j]))
            diagonal, row[j + 1] = row[j + 1], best
    return row[length]


@inner
def edit_distance(op: I64, run: I64) -> Any:
    """EditDistance: of A and B. P0: 1 for characters, 0 for bytes."""
    left, right, target = value_at(run, op[A]), value_at(run, op[B]), value_at(run, op[OUT])
    rows = max(left[ROWS], right[ROWS])
    distinct = 1 if left[STRIDE] == 0 and right[STRIDE] == 0 else rows
    directory, address = take(run, 8 * (distinct + 1)), take(run, 8 * distinct)
    scratch, room = take_rest(run)
    if address < 0:
        return OUT_OF_MEMORY
    offsets, out = view_i64(directory, distinct + 1), view_f64(address, distinct)
    offsets[0] = 0
    for n in range(distinct):
        first, other = first_of(left, n), first_of(right, n)
        offsets[n + 1] = offsets[n]
        if end_of(left, n) > first and end_of(right, n) > other:
            a, size = token_at(left, first)
            b, width = token_at(right, other)
            if 8 * (size + 2 * width + 1) > room:
                return OUT_OF_MEMORY
            text, pattern = view_i64(scratch, size), view_i64(scratch + 8 * size, width)
            row = view_i64(scratch + 8 * (size + width), width + 1)
            count = _write_characters(a, size, op[P0] != 0, text)
            length = _write_characters(b, width, op[P0] != 0, pattern)
            if count * length > MAX_COMPARISONS:
                return fail(op, run, TOO_MANY_COMPARISONS, n, 0, -1)
            out[offsets[n]] = _distance(text, count, pattern, length, row)
            offsets[n + 1] += 1
    give_back(run, scratch, 0)
    set_elements(target, address, 0, 0, offsets[distinct])
    set_offsets(target, directory, distinct, rows)
    return OK
