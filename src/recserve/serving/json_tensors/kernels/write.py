"""Tensors as JSON: rows of values, with TensorFlow Serving's text for a number (see `tfs.float_text`).

The decimal digits of a float are those of its product with a power of ten of 128 bits. The product is off by less than
one unit in its last place, so rounding is right unless the rest lies that near to one half. Halves that are exact occur
only at powers that are exact here: 2**-n has no more than so many decimal digits.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.pointers import load, load_f32, load_f64, load_u8
from recserve.features.kernels.powers import READ_FIRST, READ_HIGH, READ_LOW, multiply_high
from recserve.features.kernels.read_number import bits_of, exact_product
from recserve.features.kernels.write_number import write_integer
from recserve.memory import view_i64
from recserve.serving.json_tensors.kernels import layout as at
from recserve.serving.json_tensors.kernels.words import TENS, leading_zeros, store_byte

_SHORT: Final = 6
_FULL32: Final = 9
_FULL64: Final = 17
_NEAR32: Final = 64
"""More than half a unit in the last place of a float32, in units of its ninth digit."""
_NEAR64: Final = 16
_SMALLEST32: Final = 2.0**-126
_SMALLEST64: Final = 2.0**-1022
_LAST_EXACT: Final = 27
"""Highest power of ten whose odd part fits into 64 bits."""
_1: Final = np.uint64(1)
_NAN: Final = b"NaN"
_INFINITY: Final = b"Infinity"
_TRUE: Final = b"true"
_FALSE: Final = b"false"
_DOUBT: Final = -1


@inner
def _write_word(p: int, word: bytes) -> Any:
    for i in range(len(word)):
        store_byte(p + i, word[i])
    return p + len(word)


@inner
def _round_off(high: Any, middle: Any, low: Any, places: int, power: int) -> Any:
    """(the product without its last 128 + `places` bits, rounded; whether that is sure)."""
    whole = high >> np.uint64(places)
    rest, half = high & ((_1 << np.uint64(places)) - _1), _1 << np.uint64(places - 1)
    if rest == half and middle <= np.uint64(2):
        if not 0 <= power <= _LAST_EXACT:
            return whole, False
        rounds_up = middle != 0 or low != 0 or whole & _1 != 0
    elif rest == half - _1 and middle >= ~np.uint64(2) and not 0 <= power <= _LAST_EXACT:
        return whole, False
    else:
        rounds_up = rest >= half
    return whole + np.uint64(rounds_up), True


@inner
def _find_digits(value: float, count: int) -> Any:
    """(`count` digits of a positive finite value as uint64, decimal exponent of the first, whether that is sure)."""
    bits = bits_of(value)
    mantissa, shift = np.uint64(bits & ((1 << 52) - 1)), (bits >> 52) - 1075
    if bits >> 52:
        mantissa |= _1 << np.uint64(52)
    else:
        shift += 1
    zeros = leading_zeros(mantissa)
    mantissa <<= np.uint64(zeros)
    shift -= zeros
    exponent = ((shift + 63) * 315653) >> 20
    while True:
        power = count - 1 - exponent
        factor, tail = READ_HIGH[power - READ_FIRST], READ_LOW[power - READ_FIRST]
        middle = mantissa * factor
        more = multiply_high(mantissa, tail)
        high = multiply_high(mantissa, factor)
        middle += more
        if middle < more:
            high += _1
        places = 127 - ((217706 * power) >> 16) - shift - 128
        if high >> np.uint64(places) < TENS[count]:
            break
        exponent += 1
    digits, is_sure = _round_off(high, middle, mantissa * tail, places, power)
    if digits == TENS[count]:
        return TENS[count - 1], exponent + 1, is_sure
    return digits, exponent, is_sure


@inner
def _write_digits(p: int, digits: Any, count: int) -> Any:
    place = p + count
    while place - p >= 2:  # pairs: half as many divisions that wait for one another
        rest = digits // np.uint64(100)
        pair = np.int64(digits - rest * np.uint64(100))
        tens = (pair * 103) >> 10
        place -= 2
        store_byte(place, 48 + tens)
        store_byte(place + 1, 48 + pair - 10 * tens)
        digits = rest
    if place > p:
        store_byte(p, 48 + np.int64(digits))
    return p + count


@inner
def _write_fixed(p: int, digits: Any, count: int, point: int) -> Any:
    """Write digits with a point behind the first `point` of them, and `.0` behind a whole number."""
    if point <= 0:
        p = _write_word(p, b"0.")
        for _ in range(-point):
            store_byte(p, 48)
            p += 1
        return _write_digits(p, digits, count)
    if point >= count:
        p = _write_digits(p, digits, count)
        for _ in range(point - count):
            store_byte(p, 48)
            p += 1
        return _write_word(p, b".0")
    after = TENS[count - point]
    whole = digits // after
    p = _write_digits(p, whole, point)
    store_byte(p, 46)
    return _write_digits(p + 1, digits - whole * after, count - point)


@inner
def _write_decimal(p: int, digits: Any, exponent: int, limit: int) -> Any:
    """Write `limit` digits, the first of them for 10**exponent, as `%.{limit}g` does."""
    count = limit
    while count > 1 and digits % np.uint64(10) == 0:
        digits //= np.uint64(10)
        count -= 1
    if -4 <= exponent < limit:
        return _write_fixed(p, digits, count, exponent + 1)
    p = _write_fixed(p, digits, count, 1) if count > 1 else _write_digits(p, digits, 1)
    store_byte(p, 101)
    store_byte(p + 1, 45 if exponent < 0 else 43)
    size = abs(exponent)
    return _write_digits(p + 2, np.uint64(size), 3 if size >= 100 else 2)


@inner
def _write_float(p: int, value: float, is_single: bool) -> Any:
    """The address behind the text of a float; _DOUBT where its digits are not sure."""
    if np.isnan(value):
        return _write_word(p, _NAN)
    if bits_of(value) < 0:
        store_byte(p, 45)
        p += 1
        value = -value
    if np.isinf(value):
        return _write_word(p, _INFINITY)
    if value == 0:
        return _write_word(p, b"0.0")
    full = _FULL32 if is_single else _FULL64
    digits, exponent, is_sure = _find_digits(value, full)
    step = TENS[full - _SHORT]
    rest = np.int64(digits % step)
    is_near = min(rest, np.int64(step) - rest) <= (_NEAR32 if is_single else _NEAR64)
    if is_near or value < (_SMALLEST32 if is_single else _SMALLEST64):
        short, place, is_short_sure = _find_digits(value, _SHORT)
        is_read, back = exact_product(short, place - _SHORT + 1)
        if not is_read or not is_short_sure:
            return _DOUBT
        if (np.float32(back) == np.float32(value)) if is_single else back == value:
            return _write_decimal(p, short, place, _SHORT)
    return _write_decimal(p, digits, exponent, full) if is_sure else _DOUBT


@inner
def _write_value(p: int, values: int, place: int, kind: int) -> Any:
    if kind == at.FLOAT32:
        return _write_float(p, np.float64(load_f32(values + 4 * place)), True)
    if kind == at.FLOAT64:
        return _write_float(p, load_f64(values + 8 * place), False)
    if kind == at.INT64:
        return p + write_integer(load(values + 8 * place), p)
    return _write_word(p, _TRUE) if load_u8(values + place) else _write_word(p, _FALSE)


@inner
def _write_separator(p: int, separator: int) -> Any:
    """Write `, `, or a line break."""
    if separator:
        store_byte(p, separator)
        return p + 1
    return _write_word(p, b", ")


@inner
def _write_nested(p: int, part: I64, row: int) -> Any:
    """Write the values of a row of an output; the address behind them, or _DOUBT."""
    rank, size = part[at.PART_RANK], part[at.PART_SIZE]
    run = part[at.PART_DIMS + rank - 1] if rank else 1
    place, end = row * size, (row + 1) * size
    for _ in range(rank):
        store_byte(p, 91)
        p += 1
    runs = 0
    while True:
        for i in range(run):
            if i:
                p = _write_word(p, b", ")
            p = _write_value(p, part[at.VALUES], place + i, part[at.KIND])
            if p == _DOUBT:
                return _DOUBT
        place, runs = place + run, runs + 1
        if place == end:
            break
        closed, level, left = 1, rank - 2, runs
        while left % part[at.PART_DIMS + level] == 0:
            left //= part[at.PART_DIMS + level]
            closed, level = closed + 1, level - 1
        for _ in range(closed):
            store_byte(p, 93)
            p += 1
        p = _write_word(p, b", ")
        for _ in range(closed):
            store_byte(p, 91)
            p += 1
    for _ in range(rank):
        store_byte(p, 93)
        p += 1
    return p


@inner
def write_rows(op: I64, run: I64) -> Any:
    """Write rows of outputs; DONE, or IN_DOUBT where the digits of a number are not sure."""
    p = op[at.OUT]
    for row in range(op[at.ROW_COUNT]):
        if row:
            p = _write_separator(p, op[at.SEPARATOR])
        for number in range(op[at.PART_COUNT]):
            part = view_i64(op[at.PARTS] + 8 * at.PART * number, at.PART)
            for i in range(part[at.PREFIX_SIZE]):
                store_byte(p + i, np.int64(load_u8(part[at.PREFIX] + i)))
            p = _write_nested(p + part[at.PREFIX_SIZE], part, row)
            if p == _DOUBT:
                return at.IN_DOUBT
        if op[at.IS_OBJECT]:
            store_byte(p, 125)
            p += 1
    run[at.WRITTEN] = p - op[at.OUT]
    return at.DONE
