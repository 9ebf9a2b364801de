"""Numbers to decimal text.

Floats are written in the shortest form that reads back equal, the nearest of these, with Schubfach (R. Giulietti, "The
Schubfach way to render doubles", 2020), laid out as Python's repr does but without a trailing ".0"; zero is "0".
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.features.kernels.jit import inner
from recserve.features.kernels.powers import WRITE_FIRST, WRITE_HIGH, WRITE_LOW, multiply_high
from recserve.features.kernels.read_number import bits_of
from recserve.memory import view_u8

MAX_BYTES: Final = 32
"""More than any int64 or float64 takes."""
_1: Final = np.uint64(1)
_2: Final = np.uint64(2)
_63: Final = np.uint64(63)
_MASK_63: Final = np.uint64((1 << 63) - 1)


@inner
def write_digits(digits: Any, address: int) -> Any:
    """Write a uint64 in decimal at `address`; the number of bytes."""
    ten = np.uint64(10)
    count, rest = 1, digits // ten
    while rest:
        count += 1
        rest //= ten
    out = view_u8(address, count)
    for i in range(count - 1, -1, -1):
        rest = digits // ten
        out[i] = 48 + np.int64(digits - rest * ten)
        digits = rest
    return count


@inner
def write_integer(x: int, address: int) -> Any:
    """Write an int64 in decimal at `address`; the number of bytes."""
    if x >= 0:
        return write_digits(np.uint64(x), address)
    view_u8(address, 1)[0] = 45
    return 1 + write_digits(~np.uint64(x) + _1, address + 1)


@inner
def _round_to_odd(high: Any, low: Any, x: Any) -> Any:
    x1 = multiply_high(low, x)
    y0, y1 = high * x, multiply_high(high, x)
    z = (y0 >> _1) + x1
    w = y1 + (z >> _63)
    return w | (((z & _MASK_63) + _MASK_63) >> _63)


@inner
def _shortest(bits: int) -> Any:
    """(digits as uint64, k): digits * 10**k is the shortest decimal that reads as the positive double `bits`."""
    fraction, power = bits & ((1 << 52) - 1), bits >> 52
    c, q = (fraction | (1 << 52), power - 1075) if power else (fraction, -1074)
    is_regular = fraction != 0 or power <= 1
    k = (q * 661971961083 - (0 if is_regular else 274743187321)) >> 41
    h = np.uint64(q + ((-k * 913124641741) >> 38) + 2)
    high, low = WRITE_HIGH[k - WRITE_FIRST], WRITE_LOW[k - WRITE_FIRST]
    odd, c4 = np.uint64(c & 1), np.uint64(4 * c)
    middle = _round_to_odd(high, low, c4 << h)
    lower = _round_to_odd(high, low, (c4 - (_2 if is_regular else _1)) << h) + odd
    upper = _round_to_odd(high, low, (c4 + _2) << h) - odd
    s = middle >> _2
    if s >= np.uint64(10):
        tens = s // np.uint64(10)
        forty = np.uint64(40) * tens
        is_down, is_up = lower <= forty, forty + np.uint64(40) <= upper
        if is_down != is_up:
            return tens if is_down else tens + _1, k + 1
    is_down, is_up = lower <= (s << _2), ((s + _1) << _2) <= upper
    if is_down != is_up:
        return s if is_down else s + _1, k
    centre = (s << _2) + _2
    rounds_up = middle > centre or (middle == centre and s & _1)
    return s + _1 if rounds_up else s, k


@inner
def _write_exponent(exponent: int, address: int) -> Any:
    out = view_u8(address, 3)
    out[0], out[1] = 101, 45 if exponent < 0 else 43
    if abs(exponent) >= 10:
        return 2 + write_digits(np.uint64(abs(exponent)), address + 2)
    out[2] = 48
    return 3 + write_digits(np.uint64(abs(exponent)), address + 3)


@inner
def _lay_out(address: int, count: int, point: int) -> Any:
    """Put a point after digit `point` of the `count` digits at `address`, or an exponent; the number of bytes."""
    out = view_u8(address, MAX_BYTES)
    if -4 < point <= 0:
        for i in range(count - 1, -1, -1):
            out[i + 2 - point] = out[i]
        for i in range(2 - point):
            out[i] = 48
        out[1] = 46
        return count + 2 - point
    if count <= point <= 16:
        for i in range(count, point):
            out[i] = 48
        return point
    whole = point if 0 < point <= 16 else 1
    if count > whole:
        for i in range(count - 1, whole - 1, -1):
            out[i + 1] = out[i]
        out[whole] = 46
        count += 1
    return count if 0 < point <= 16 else count + _write_exponent(point - 1, address + count)


@inner
def write_number(x: float, address: int) -> Any:
    """Write a float64 at `address`, where MAX_BYTES must be free; the number of bytes."""
    out = view_u8(address, MAX_BYTES)
    if np.isnan(x):
        out[0], out[1], out[2] = 110, 97, 110
        return 3
    bits = bits_of(x)
    if x == 0:
        out[0] = 48
        return 1
    sign = 0
    if bits < 0:
        out[0] = 45
        sign, bits = 1, bits & ((1 << 63) - 1)
    if np.isinf(x):
        out[sign], out[sign + 1], out[sign + 2] = 105, 110, 102
        return sign + 3
    digits, k = _shortest(bits)
    while digits % np.uint64(10) == 0:
        digits //= np.uint64(10)
        k += 1
    count = write_digits(digits, address + sign)
    return sign + _lay_out(address + sign, count, count + k)
