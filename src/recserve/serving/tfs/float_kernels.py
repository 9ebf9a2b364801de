"""The text of numbers, compiled: see `float_text` for the rule and for the values that are left to it.

A value is scaled to an integer of 6 (or 9) digits in float64. The scaled value is off by a few units in its last place,
so what lies that near to where rounding or reading back turns over is left alone and marked.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit, types

from recserve.dtypes import F64, U8

WIDTH: Final = 24
"""Bytes that one text can need, with the line break behind it."""

MARK: Final = ord("?")
"""Stands for the size of a value that is left to the caller."""

LINE_BREAK: Final = ord("\n")

_POWERS: Final = np.array([float(f"1e{k}") for k in range(23)])
_MAX_EXACT: Final = 22
_SMALLEST_NORMAL32: Final = 2.0**-126
_SMALLEST64: Final = 1e-280
_LARGEST64: Final = 1e280
_DOUBT: Final = 1e-4
_HALF: Final = 1 << 28
_LOW_BITS: Final = (1 << 29) - 1
_NAN: Final = np.frombuffer(b"NaN", np.uint8)
_INFINITY: Final = np.frombuffer(b"Infinity", np.uint8)
_FLOATS = types.Array(types.float64, 1, "C", readonly=True)


@njit(cache=True)
def _scale(value: float, power: int) -> float:
    """`value * 10**power`; rounded once where |power| <= 22."""
    while power > _MAX_EXACT:
        value *= _POWERS[_MAX_EXACT]
        power -= _MAX_EXACT
    while power < -_MAX_EXACT:
        value /= _POWERS[_MAX_EXACT]
        power += _MAX_EXACT
    return float(value * _POWERS[power] if power >= 0 else value / _POWERS[-power])


@njit(cache=True)
def _digits(value: float, count: int) -> tuple[int, int]:
    """(`count` digits as an integer, decimal exponent of the first) of a positive value; 0 digits where in doubt."""
    exponent = math.floor(math.log10(value))
    scaled = _scale(value, count - 1 - exponent)
    if scaled < _POWERS[count - 1]:
        exponent -= 1
        scaled = _scale(value, count - 1 - exponent)
    elif scaled >= _POWERS[count]:
        exponent += 1
        scaled = _scale(value, count - 1 - exponent)
    whole = math.floor(scaled)
    if abs(scaled - whole - 0.5) < _DOUBT:
        return 0, 0
    digits = int(whole) + (1 if scaled - whole > 0.5 else 0)
    if digits >= int(_POWERS[count]):
        return digits // 10, exponent + 1
    return digits, exponent


@njit(cache=True)
def _write(text: U8, at: int, digits: int, exponent: int, count: int) -> int:
    """Write digits as `%.{count}g` does, with `.0` behind a whole number; returns where the text ends."""
    limit = count
    while count > 1 and digits % 10 == 0:
        digits //= 10
        count -= 1
    is_fixed = -4 <= exponent < limit
    point = exponent + 1 if is_fixed else 1  # digits before the point
    if point <= 0:  # 0.000ddd
        text[at] = 48
        text[at + 1] = 46
        at += 2
        text[at : at - point] = 48
        at -= point
    end = at + count + (1 if 0 < point < count else 0)
    place = end
    for left in range(count, 0, -1):
        if left == point and point < count:
            place -= 1
            text[place] = 46
        place -= 1
        text[place] = 48 + digits % 10
        digits //= 10
    at = end
    if is_fixed:
        if point >= count:
            text[at : at + point - count] = 48
            at += point - count
            text[at] = 46
            text[at + 1] = 48
            at += 2
        return at
    text[at] = 101
    text[at + 1] = 45 if exponent < 0 else 43
    size = abs(exponent)
    at += 2
    if size >= 100:
        text[at] = 48 + size // 100
        at += 1
    text[at] = 48 + size // 10 % 10
    text[at + 1] = 48 + size % 10
    return at + 2


@njit(cache=True)
def _find(value: float, is_single: bool, cell: F64) -> tuple[int, int, int]:
    """(digits, exponent, how many digits) of a positive finite value; 0 digits where the caller has to look."""
    if is_single and value < _SMALLEST_NORMAL32:
        return 0, 0, 0
    if not is_single and not _SMALLEST64 < value < _LARGEST64:
        return 0, 0, 0
    digits, exponent = _digits(value, 6)
    if digits == 0:
        return 0, 0, 0
    cell[0] = _scale(float(digits), exponent - 5)
    if not is_single:
        is_sure = abs(exponent - 5) <= _MAX_EXACT and cell[0] == value
        return (digits if is_sure else 0), exponent, 6
    low = cell.view(np.int64)[0] & _LOW_BITS
    if abs(low - _HALF) <= 16:  # next to where two float32 meet
        return 0, 0, 0
    if np.float32(cell[0]) == np.float32(value):
        return digits, exponent, 6
    digits, exponent = _digits(value, 9)
    return digits, exponent, 9


@njit([types.int64(_FLOATS, types.boolean, types.uint8[::1])], cache=True, nogil=True)
def write_floats(values: F64, is_single: bool, text: U8) -> int:
    """Write each value and a line break; `?` for one that the caller has to write.

    Args:
        values: float64[n].
        is_single: whether they are float32 values.
        text: uint8[n * WIDTH], written.

    Returns:
        Bytes written.
    """
    at = 0
    cell = np.empty(1, np.float64)
    for value in values:
        if math.isnan(value):
            text[at : at + 3] = _NAN
            at += 3
        else:
            if math.copysign(1.0, value) < 0:
                text[at] = 45
                at += 1
            size = abs(value)
            if size == np.inf:
                text[at : at + 8] = _INFINITY
                at += 8
            elif size == 0:
                at = _write(text, at, 0, 0, 1)
            else:
                digits, exponent, count = _find(size, is_single, cell)
                if digits == 0:
                    text[at] = MARK
                    at += 1
                else:
                    at = _write(text, at, digits, exponent, count)
        text[at] = LINE_BREAK
        at += 1
    return at
