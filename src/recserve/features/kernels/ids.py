"""Tokens and numbers to ids."""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

import numpy as np
from numba import njit

from recserve.dtypes import F32, I64, U8
from recserve.features.kernels.hashing import hash_bytes, murmur64a
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import (
    BAD_CODE,
    EIGHT_BYTES,
    NOT_A_MULTIPLE,
    NOT_AN_INTEGER,
    OK,
    OUT,
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    TOKENS,
    A,
)
from recserve.features.kernels.pointers import load
from recserve.features.kernels.read_number import read_integer, read_number
from recserve.features.kernels.rows import (
    copy_descriptor,
    copy_elements,
    distinct_rows,
    end_of,
    fail,
    fill_weights,
    first_of,
    holder_of,
    packed,
    room_for,
    set_offsets,
    share_rows,
    take,
    value_at,
)
from recserve.features.kernels.tokens import token_at
from recserve.memory import COUNT, FIELDS, OUT_OF_MEMORY, ROWS, VALUES, view_f32, view_f64, view_i64, view_u8

MOST_COUNTED: Final = 64
"""Up to so many boundaries it is faster to count those below a number than to search."""
COUNTED_BLOCK: Final = 512
"""Numbers that stay in the nearest cache while all boundaries pass over them."""


@inner
def align(op: I64, run: I64, size: int, is_exact: bool) -> Any:
    """Give the output one 8-byte element for each of A: address of A's whole descriptor, or OUT_OF_MEMORY."""
    target, address = value_at(run, op[OUT]), packed(run, op[A], size, is_exact)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    share_rows(source, target)
    target[VALUES] = take(run, 8 * source[COUNT])
    return OUT_OF_MEMORY if target[VALUES] < 0 else address


@inner
def hash_ids(op: I64, run: I64) -> Any:
    """HashIds. P0: buckets; P1: algorithm."""
    address = align(op, run, TOKENS, False)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    out = view_i64(value_at(run, op[OUT])[VALUES], source[COUNT])
    buckets = np.uint64(op[P0])
    for j in range(source[COUNT]):
        token, size = token_at(source, j)
        h = hash_bytes(token, size, op[P1])
        out[j] = np.int64(h % buckets) if op[P0] else np.int64(h)
    return OK


@inner
def is_same(a: int, b: int, size: int) -> Any:
    """Whether `size` bytes at two addresses are equal."""
    left, right = view_u8(a, size), view_u8(b, size)
    for i in range(size):  # noqa: SIM110  (numba has no generator expressions)
        if left[i] != right[i]:
            return False
    return True


@inner
def find_word(words: int, offsets: int, table: int, mask: int, token: int, size: int) -> Any:
    """Number of a word of a vocabulary, or -1. `table`: int64[mask + 1, 2], see `build_vocabulary`."""
    h = np.int64(murmur64a(token, size))
    at = h & mask
    while True:
        entry = view_i64(table + 16 * at, 2)
        if entry[1] == 0:
            return -1
        if entry[0] == h:
            first = load(offsets + 8 * (entry[1] - 1))
            if load(offsets + 8 * entry[1]) - first == size and is_same(words + first, token, size):
                return entry[1] - 1
        at = (at + 1) & mask


@njit(cache=True)
def build_vocabulary(words: U8, offsets: I64, table: I64) -> None:
    """Fill the hash table of a vocabulary: entry 2i the hash and 2i + 1 the number + 1 of a word, 0 if free.

    Args:
        words: uint8, bytes of all words.
        offsets: int64[words + 1].
        table: int64[2 * 2**k], zero, more than twice as many entries as words.
    """
    mask = len(table) // 2 - 1
    for word in range(len(offsets) - 1):
        h = np.int64(murmur64a(words.ctypes.data + offsets[word], offsets[word + 1] - offsets[word]))
        at = h & mask
        while table[2 * at + 1] != 0:
            at = (at + 1) & mask
        table[2 * at], table[2 * at + 1] = h, word + 1


@inner
def vocab_ids(op: I64, run: I64) -> Any:
    """VocabIds, VocabNumbers. P0, P1: bytes and offsets of the words; P2: table; P3: mask; P4: results; P5: else."""
    address = align(op, run, TOKENS, False)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    out = view_i64(value_at(run, op[OUT])[VALUES], source[COUNT])
    for j in range(source[COUNT]):
        token, size = token_at(source, j)
        word = find_word(op[P0], op[P1], op[P2], op[P3], token, size)
        out[j] = op[P5] if word < 0 else load(op[P4] + 8 * word)
    return OK


@inner
def _integer_of(token: int, size: int, last: int) -> Any:
    """(is an integer, id) of a token; ids beyond `last` are missing."""
    is_found, value = read_integer(token, size)
    if is_found:
        return True, value if value <= last else -1
    if size == 0:
        return True, -1
    is_number, x = read_number(token, size)
    if not is_number or x != np.trunc(x):
        return False, 0
    if not 0 <= x <= 2.0**63:
        return not np.isinf(x), -1
    value = exact_integer(token, size, x)
    return True, value if 0 <= value <= last else -1


@inner
def exact_integer(token: int, size: int, x: float) -> Any:
    """The integer that a token with the value x, 0 <= x <= 2**63, spells: its digits if it has only these, else x.

    Negative beyond int64.
    """
    text, value, count = view_u8(token, size), np.uint64(0), 0
    for i in range(size):
        c = text[i]
        if 48 <= c <= 57:
            value = value * np.uint64(10) + np.uint64(c - 48)
            count += count > 0 or c != 48
        elif not (c in (43, 45) or c <= 32):
            return np.int64(x)
    return np.int64(value) if count <= 19 else np.int64(x)


@inner
def parse_ints(op: I64, run: I64) -> Any:
    """ParseInts. P0: last id. P1: id of what is outside."""
    address = align(op, run, TOKENS, True)
    if address < 0:
        return OUT_OF_MEMORY
    source, target = view_i64(address, FIELDS), value_at(run, op[OUT])
    out = view_i64(target[VALUES], source[COUNT])
    for j in range(source[COUNT]):
        token, size = token_at(source, j)
        is_integer, out[j] = _integer_of(token, size, op[P0])
        if not is_integer:
            return fail(op, run, NOT_AN_INTEGER, holder_of(target, j), token, size)
        if out[j] < 0 and size > 0:
            out[j] = op[P1]
    return OK


@inner
def truncate_to_ids(op: I64, run: I64) -> Any:
    """TruncateToIds. P0: last id."""
    address = align(op, run, EIGHT_BYTES, False)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    numbers, out = view_f64(source[VALUES], source[COUNT]), view_i64(value_at(run, op[OUT])[VALUES], source[COUNT])
    for j in range(source[COUNT]):
        x = np.trunc(numbers[j])
        value = np.int64(x) if 0 <= x < 2.0**63 else -1
        out[j] = value if value <= op[P0] else -1
    return OK


@inner
def _count_boundaries(numbers: int, count: int, boundaries: F32, out: int) -> None:
    """Number j of `count` → how many boundaries are at most it, -1 of a NaN. Each boundary meets many numbers."""
    for first in range(0, count, COUNTED_BLOCK):
        size = min(COUNTED_BLOCK, count - first)
        x, below = view_f64(numbers + 8 * first, size), view_i64(out + 8 * first, size)
        for j in range(size):
            below[j] = -1 if np.isnan(x[j]) else 0
        for i in range(len(boundaries)):
            boundary = boundaries[i]
            for j in range(size):
                below[j] += boundary <= np.float32(x[j])


@inner
def bucketize(op: I64, run: I64) -> Any:
    """Bucketize. P0, P1: address of float32 boundaries, rising, and their number."""
    address = align(op, run, EIGHT_BYTES, False)
    if address < 0:
        return OUT_OF_MEMORY
    source, boundaries = view_i64(address, FIELDS), view_f32(op[P0], op[P1])
    numbers, out = view_f64(source[VALUES], source[COUNT]), view_i64(value_at(run, op[OUT])[VALUES], source[COUNT])
    if len(boundaries) <= MOST_COUNTED:
        _count_boundaries(source[VALUES], source[COUNT], boundaries, value_at(run, op[OUT])[VALUES])
        return OK
    for j in range(source[COUNT]):
        x = np.float32(numbers[j])
        low, left = 0, len(boundaries)
        while left > 1:  # without branches that depend on x
            half = left >> 1
            low += half * (boundaries[low + half - 1] <= x)
            left -= half
        low += left > 0 and boundaries[low] <= x
        out[j] = -1 if np.isnan(x) else low
    return OK


@inner
def semantic_ids(op: I64, run: I64) -> Any:
    """SemanticIds. P0, P1: address of the codebook and its number of levels."""
    address = align(op, run, TOKENS, True)
    if address < 0:
        return OUT_OF_MEMORY
    source, target, codebook = view_i64(address, FIELDS), value_at(run, op[OUT]), view_i64(op[P0], op[P1])
    out = view_i64(target[VALUES], source[COUNT])
    for n in range(distinct_rows(source)):
        first, end = first_of(source, n), end_of(source, n)
        if (end - first) % len(codebook):
            return fail(op, run, NOT_A_MULTIPLE, n, 0, -1)
        below = 0
        for j in range(first, end):
            level = (j - first) % len(codebook)
            below = 0 if level == 0 else below + codebook[level - 1]
            token, size = token_at(source, j)
            is_integer, code = _integer_of(token, size, codebook[level] - 1)
            if not is_integer or code < 0:
                return fail(op, run, BAD_CODE, n, token, size)
            out[j] = code + below
    return OK


@inner
def fill_ids(op: I64, run: I64) -> Any:
    """FillIds. P0, P1: address of the defaults and their number."""
    source, target, defaults = value_at(run, op[A]), value_at(run, op[OUT]), view_i64(op[P0], op[P1])
    rows, total, is_changed = distinct_rows(source), 0, False
    for n in range(rows):
        first, kept = first_of(source, n), 0
        ids = view_i64(source[VALUES] + 8 * first, end_of(source, n) - first)
        for j in range(len(ids)):
            kept += ids[j] != -1
        is_changed |= kept < len(ids) or (kept == 0 and op[P1] > 0)
        total += kept if kept else op[P1]
    if not is_changed:
        copy_descriptor(source, target)
        return OK
    directory = take(run, 8 * (rows + 1))
    if room_for(run, source, target, total, 0, EIGHT_BYTES) != OK:
        return OUT_OF_MEMORY
    offsets, out, at = view_i64(directory, rows + 1), view_i64(target[VALUES], total), 0
    offsets[0] = 0
    for n in range(rows):
        for j in range(first_of(source, n), end_of(source, n)):
            if load(source[VALUES] + 8 * j) != -1:
                copy_elements(source, j, 1, target, at, EIGHT_BYTES)
                at += 1
        if at == offsets[n]:
            fill_weights(target, at, op[P1], 1.0)
            for j in range(op[P1]):
                out[at + j] = defaults[j]
            at += op[P1]
        offsets[n + 1] = at
    set_offsets(target, directory, rows, source[ROWS])
    return OK
