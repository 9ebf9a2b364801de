"""Numbers of a JSON text: their end, their errors, and whether they fit."""

# mypy: disallow-untyped-decorators=False
# ruff: noqa: PLR1714  (Numba builds a tuple for `in`)

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.features.kernels.jit import inner
from recserve.features.kernels.pointers import load_u8
from recserve.serving.json_tensors.kernels import exact_layout as at

_OVERFLOW: Final = np.frombuffer(str((1 << 1024) - (1 << 970)).encode(), np.uint8)
"""Digits of the least number that is rounded to infinity: halfway between the largest float64 and 2**1024."""
_LARGEST_POWER: Final = 308
"""Power of ten of its first digit."""
_FAR: Final = 1 << 40
_INT_BYTES: Final = 20
"""A longer integer is a float."""
_UINT64_TENTH: Final = np.uint64((1 << 64) // 10)
_INT64_MIN: Final = np.uint64(1 << 63)


@inner
def _is_digit(p: int) -> Any:
    return 48 <= load_u8(p) <= 57


@inner
def _skip_digits(p: int) -> Any:
    while _is_digit(p):
        p += 1
    return p


@inner
def _read_power(p: int) -> Any:
    """(address behind the exponent at `p`, its value within ±2**40, whether it has digits)."""
    sign = load_u8(p)
    if sign == 43 or sign == 45:
        p += 1
    first = p
    power: Any = 0
    while _is_digit(p):
        power = min(power * 10 + np.int64(load_u8(p)) - 48, _FAR)
        p += 1
    return p, -power if sign == 45 else power, p > first


@inner
def _is_infinite(begin: int, end: int, power: int) -> Any:
    """Whether the digits in [begin, end), with a point among them or none, times 10**power are beyond float64."""
    whole: Any = 0  # digits before the point
    while begin + whole < end and load_u8(begin + whole) != 46:
        whole += 1
    place = whole - 1 + power  # the power of ten of the digit that comes next
    compared = 0
    for p in range(begin, end):
        c = load_u8(p)
        if c == 46:
            continue
        if compared == 0:
            if c != 48:
                if place != _LARGEST_POWER:
                    return place > _LARGEST_POWER
                compared = 1
                if c != _OVERFLOW[0]:
                    return c > _OVERFLOW[0]
        elif c != _OVERFLOW[compared]:
            return c > _OVERFLOW[compared]
        else:
            compared += 1
        if compared == len(_OVERFLOW):
            return True
        place -= 1
    return False  # its digits end first; those that remain of the other are not all 0


@inner
def _is_beyond(begin: int, end: int, is_negative: bool) -> Any:
    """Whether an integer fits neither into int64 nor into uint64."""
    if end - begin + np.int64(is_negative) > _INT_BYTES:
        return True
    value = np.uint64(0)
    for p in range(begin, end):
        digit = np.uint64(load_u8(p)) - np.uint64(48)
        if value > _UINT64_TENTH or (value == _UINT64_TENTH and digit > np.uint64(5)):
            return True
        value = value * np.uint64(10) + digit
    return is_negative and value > _INT64_MIN


@inner
def check_number(p: int) -> Any:
    """(status, address behind the number at `p` or of its error, whether it is an integer that is read as a float)."""
    start = p
    is_negative = load_u8(p) == 45
    if is_negative:
        p += 1
    begin = p
    if not _is_digit(p):
        return at.NO_VALUE, p, False
    p = p + 1 if load_u8(p) == 48 else _skip_digits(p)
    end, power, lacks_fraction, is_whole = p, 0, False, True
    if load_u8(p) == 46:
        end = _skip_digits(p + 1)
        lacks_fraction, is_whole = end == p + 1, False
        p = end
    if load_u8(p) | 32 == 101:
        p, power, has_digits = _read_power(p + 1)
        is_whole = False
        if not has_digits and not lacks_fraction:
            return at.NO_EXPONENT, p, False
    if lacks_fraction:
        return at.NO_FRACTION, p, False
    if is_whole and not _is_beyond(begin, end, is_negative):
        return at.READ, p, False
    if _is_infinite(begin, end, power):
        return at.TOO_BIG, start, False
    return at.READ, p, is_whole
