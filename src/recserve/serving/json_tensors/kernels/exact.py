"""Checks a JSON text as `tfs.json_parser` does, and writes it as one that the usual parsers read as the same value.

One pass, whatever the text: no recursion, no byte looked at more than a few times. Of equal keys of an object the first
is written; what is nested deeper than `MAX_DEPTH` is written as an empty list; integers beyond 64 bits get a fraction;
the names of odd numbers are those that Python's parser knows; what follows the first value is left out.
"""

# mypy: disallow-untyped-decorators=False
# ruff: noqa: PLR1714  (Numba builds a tuple for `in`)

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.pointers import load_u8
from recserve.memory import view_i64
from recserve.serving.json_tensors.kernels import exact_layout as at
from recserve.serving.json_tensors.kernels.exact_number import check_number
from recserve.serving.json_tensors.kernels.exact_string import check_string, unescape
from recserve.serving.json_tensors.kernels.read_value import is_word, skip_space
from recserve.serving.json_tensors.kernels.words import store_byte

_NULL: Final = b"null"
_TRUE: Final = b"true"
_FALSE: Final = b"false"
_NAN: Final = b"NaN"
_INF: Final = b"Inf"
_INFINITY: Final = b"Infinity"
_OPENED: Final = -1
"""In the place of a status: a list or object begins here."""
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)


@inner
def _copy(out: int, begin: int, end: int) -> int:
    """The address behind the copy of a part of the text."""
    while begin < end:
        store_byte(out, load_u8(begin))
        out += 1
        begin += 1
    return out


@inner
def _write_word(out: int, word: bytes) -> Any:
    for i in range(len(word)):
        store_byte(out + i, np.int64(word[i]))
    return out + len(word)


@inner
def _check_name(p: int, out: int) -> Any:
    """(address behind the odd number at `p`, behind what is written for it); `p` itself where it is none."""
    begin = p
    is_negative = load_u8(p) == 45
    if is_negative:
        p += 1
    if is_word(p, _NAN):
        return p + 3, _write_word(out, _NAN)
    length = 8 if is_word(p, _INFINITY) else 3 if is_word(p, _INF) else 0
    if length == 0:
        return begin, out
    if is_negative:
        store_byte(out, np.int64(45))
        out += 1
    return p + length, _write_word(out, _INFINITY)


@inner
def _check_word(p: int) -> Any:
    """The address behind the literal at `p`; `p` itself where there is none."""
    if is_word(p, _NULL) or is_word(p, _TRUE):
        return p + 4
    return p + 5 if is_word(p, _FALSE) else p


@inner
def _check_scalar(p: int, end: int, out: int, run: I64) -> Any:
    """(status, address of its end or its error, address behind what is written) of the scalar at `p`."""
    c = load_u8(p)
    if c == 34:
        status, after, _ = check_string(p, end)
        return status, after, _copy(out, p, after) if status == at.READ else out
    after = _check_word(p)
    if after > p:
        return at.READ, after, _copy(out, p, after)
    after, written = _check_name(p, out)
    if after > p:
        run[at.IS_PLAIN] = 0
        return at.READ, after, written
    status, after, is_beyond = check_number(p)
    if status != at.READ:
        return status, after, out
    out = _copy(out, p, after)
    if is_beyond:
        store_byte(out, np.int64(46))
        store_byte(out + 1, np.int64(48))
        out += 2
    return at.READ, after, out


@inner
def _hash(address: int, size: int, seed: int) -> Any:
    value = np.uint64(seed)
    for i in range(size):
        value = (value ^ np.uint64(load_u8(address + i))) * _PRIME
        value ^= value >> _SHIFT
    return np.int64(value)


@inner
def _is_equal(left: int, right: int, size: int) -> Any:
    for i in range(size):  # noqa: SIM110  (numba has no generator expressions)
        if load_u8(left + i) != load_u8(right + i):
            return False
    return True


@inner
def _note_key(op: I64, run: I64, address: int, size: int) -> Any:
    """Whether the innermost object has a key already; where not, it has it from now on."""
    owner = view_i64(op[at.OBJECTS], at.MAX_DEPTH + 2)[run[at.DEPTH]]
    value = _hash(address, size, op[at.SEED] + owner)
    mask = op[at.SLOT_MASK]
    slots = view_i64(op[at.SLOTS], mask + 1)
    slot = value & mask
    while slots[slot] != 0:
        key = view_i64(op[at.KEYS] + 8 * at.KEY * slots[slot], at.KEY)
        if (
            key[at.KEY_HASH] == value
            and key[at.KEY_OBJECT] == owner
            and key[at.KEY_SIZE] == size
            and _is_equal(key[at.KEY_ADDRESS], address, size)
        ):
            return True
        slot = (slot + 1) & mask
    run[at.KEY_COUNT] += 1
    slots[slot] = run[at.KEY_COUNT]
    key = view_i64(op[at.KEYS] + 8 * at.KEY * run[at.KEY_COUNT], at.KEY)
    key[at.KEY_ADDRESS], key[at.KEY_SIZE], key[at.KEY_HASH], key[at.KEY_OBJECT] = address, size, value, owner
    return False


@inner
def _is_left_out(begin: int, end: int, has_escapes: bool, op: I64, run: I64) -> Any:
    """Whether the innermost object has the key already whose bytes, with its escapes, are those from `begin` on."""
    if not has_escapes:
        return _note_key(op, run, begin, end - begin)
    scratch = run[at.SCRATCH_AT]
    run[at.SCRATCH_AT] = unescape(begin, end, scratch)
    return _note_key(op, run, scratch, run[at.SCRATCH_AT] - scratch)


@inner
def _take_key(p: int, end: int, before: int, op: I64, run: I64) -> Any:
    """(status, address behind the colon or of the error) of the key at `p`; its comma was written to `before`."""
    if load_u8(p) != 34:
        return at.NO_NAME, p
    status, after, has_escapes = check_string(p, end)
    if status != at.READ:
        return status, after
    colon = skip_space(after)
    if load_u8(colon) != 58:
        return at.NO_COLON, colon
    is_seen = run[at.LEFT_OUT_DEPTH] == 0 and run[at.DEPTH] <= at.MAX_DEPTH
    if is_seen and _is_left_out(p + 1, after - 1, has_escapes, op, run):
        run[at.LEFT_OUT_DEPTH], run[at.LEFT_OUT_AT], run[at.HAS_EQUAL_KEYS] = run[at.DEPTH], before, 1
    out = _copy(run[at.OUT_AT], p, after)
    store_byte(out, np.int64(58))
    run[at.OUT_AT] = out + 1
    return at.READ, colon + 1


@inner
def _write(c: int, run: I64) -> None:
    store_byte(run[at.OUT_AT], np.int64(c))
    run[at.OUT_AT] += 1


@inner
def _open(p: int, c: int, op: I64, run: I64) -> Any:
    """Go into the list or object at `p`; the address of what is in it, after space."""
    run[at.DEPTH] += 1
    depth = run[at.DEPTH]
    store_byte(op[at.KINDS] + depth, np.int64(c))
    _write(c if depth <= at.MAX_DEPTH else 91, run)
    if depth == at.MAX_DEPTH + 1:
        run[at.DEEP_AT] = run[at.OUT_AT]
    if depth <= at.MAX_DEPTH and c == 123:
        run[at.OBJECT_COUNT] += 1
        view_i64(op[at.OBJECTS], at.MAX_DEPTH + 2)[depth] = run[at.OBJECT_COUNT]
    return skip_space(p + 1)


@inner
def _close(c: int, run: I64) -> None:
    """Leave the innermost list or object."""
    depth = run[at.DEPTH]
    if depth == at.MAX_DEPTH + 1:
        run[at.OUT_AT] = run[at.DEEP_AT]
    _write(c if depth <= at.MAX_DEPTH else 93, run)
    run[at.DEPTH] = depth - 1


@inner
def _take_value(p: int, end: int, op: I64, run: I64) -> Any:
    """(status, address) of the value at `p`: READ behind a whole one, _OPENED at the next value inside of it."""
    p = skip_space(p)
    c = np.int64(load_u8(p))
    if c != 91 and c != 123:
        status, p, run[at.OUT_AT] = _check_scalar(p, end, run[at.OUT_AT], run)
        return status, p
    p = _open(p, c, op, run)
    if load_u8(p) == c + 2:
        _close(c + 2, run)
        return at.READ, p + 1
    if c == 91:
        return _OPENED, p
    status, p = _take_key(p, end, run[at.OUT_AT], op, run)
    return _OPENED if status == at.READ else status, p


@inner
def _go_on(p: int, end: int, op: I64, run: I64) -> Any:
    """(status, address) of what comes after a value: READ behind the whole text, _OPENED at the next value."""
    while run[at.DEPTH] > 0:
        if run[at.LEFT_OUT_DEPTH] == run[at.DEPTH]:
            run[at.OUT_AT], run[at.LEFT_OUT_DEPTH] = run[at.LEFT_OUT_AT], 0
        p = skip_space(p)
        mark, kind = load_u8(p), np.int64(load_u8(op[at.KINDS] + run[at.DEPTH]))
        if mark == kind + 2:
            _close(kind + 2, run)
            p += 1
            continue
        if mark != 44:
            return at.NO_COMMA_IN_LIST if kind == 91 else at.NO_COMMA_IN_OBJECT, p
        before = run[at.OUT_AT]
        _write(44, run)
        if kind == 91:
            return _OPENED, p + 1
        status, p = _take_key(skip_space(p + 1), end, before, op, run)
        return _OPENED if status == at.READ else status, p
    return at.READ, p


@inner
def read_exact(op: I64, run: I64) -> Any:
    """Check and write the first value of a text: READ, or what is wrong with it."""
    end = op[at.TEXT] + op[at.SIZE]
    run[at.OUT_AT], run[at.SCRATCH_AT], run[at.IS_PLAIN] = op[at.OUT], op[at.SCRATCH], 1
    p = skip_space(op[at.TEXT])
    status = at.EMPTY if p >= end else _OPENED
    while status == _OPENED:
        status, p = _take_value(p, end, op, run)
        if status == at.READ:
            status, p = _go_on(p, end, op, run)
    run[at.AT], run[at.WRITTEN] = p - op[at.TEXT], run[at.OUT_AT] - op[at.OUT]
    return status
