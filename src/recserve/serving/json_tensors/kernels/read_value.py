"""One number of a JSON text, as the readers of `serving` read it: bit for bit what `int` and `float` make of it."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.features.kernels.jit import inner
from recserve.features.kernels.pointers import load_u8
from recserve.features.kernels.read_number import bits_of, exact_product, read_number
from recserve.features.kernels.rows import load_u64
from recserve.serving.json_tensors.kernels.words import TENS, digits_value, leading_digits

NOTHING: Final = 0
"""What stands there is no number, or one that is left to the usual parser."""
INTEGER: Final = 1
"""An integer within int64."""
FLOAT: Final = 2
"""A finite number with a fraction or an exponent, or one of the tokens NaN, Infinity and -Infinity."""

_MAX_DIGITS: Final = 19
"""Digits that always fit into uint64."""
_INT64_MAX: Final = np.uint64(2**63 - 1)
_FAR: Final = 100_000
_NAN: Final = b"NaN"
_INFINITY: Final = b"Infinity"


@inner
def skip_space(p: int) -> Any:
    """The first address from `p` on that holds none of JSON's four kinds of space."""
    c = load_u8(p)
    while c == 32 or c == 10 or c == 13 or c == 9:  # noqa: PLR1714  (Numba builds a tuple for `in`)
        p += 1
        c = load_u8(p)
    return p


@inner
def is_word(p: int, word: bytes) -> Any:
    """Whether `word` stands at `p`; the text ends with a byte that no word has."""
    for i in range(len(word)):  # noqa: SIM110  (numba has no generator expressions)
        if load_u8(p + i) != word[i]:
            return False
    return True


@inner
def _read_digits(p: int, end: int, number: Any) -> Any:
    """(address behind the digits at `p`, `number` with these digits appended modulo 2**64)."""
    while p + 8 <= end:
        word = load_u64(p)
        count = leading_digits(word)
        if count == 0:
            return p, number
        number = number * TENS[count] + digits_value(word, count)
        p += count
        if count < 8:
            return p, number
    digit = np.int64(load_u8(p)) - 48
    while 0 <= digit <= 9:
        number = number * np.uint64(10) + np.uint64(digit)
        p += 1
        digit = np.int64(load_u8(p)) - 48
    return p, number


@inner
def _read_name(p: int, is_negative: bool) -> Any:
    if is_word(p, _INFINITY):
        return p + 8, FLOAT, bits_of(-np.inf if is_negative else np.inf)
    if not is_negative and is_word(p, _NAN):
        return p + 3, FLOAT, bits_of(np.nan)
    return p, NOTHING, 0


@inner
def _read_exponent(p: int) -> Any:
    """(address behind the exponent whose sign or first digit is at `p`, the exponent, whether there is one)."""
    sign = load_u8(p)
    if sign == 43 or sign == 45:  # noqa: PLR1714
        p += 1
    first = p
    exponent: Any = 0
    digit = np.int64(load_u8(p)) - 48
    while 0 <= digit <= 9:
        exponent = min(exponent * 10 + digit, _FAR)
        p += 1
        digit = np.int64(load_u8(p)) - 48
    return p, -exponent if sign == 45 else exponent, p > first


@inner
def _whole(begin: int, p: int, number: Any, is_negative: bool) -> Any:
    if p - begin > _MAX_DIGITS or number > _INT64_MAX + np.uint64(is_negative):
        return begin, NOTHING, 0
    value = np.int64(number)
    return p, INTEGER, -value if is_negative else value


@inner
def _finite(begin: int, p: int, x: float, is_negative: bool) -> Any:
    if x == np.inf:
        return begin, NOTHING, 0
    return p, FLOAT, bits_of(-x if is_negative else x)


@inner
def read_value(p: int, end: int) -> Any:
    """(address behind the number at `p`, NOTHING | INTEGER | FLOAT, int64 or the bits of float64).

    Args:
        p: address within a text that ends with a byte 0.
        end: address of that byte.
    """
    is_negative = load_u8(p) == 45
    if is_negative:
        p += 1
    begin, number = p, np.uint64(0)
    first = load_u8(p)
    if first == 48:
        p += 1
        if 48 <= load_u8(p) <= 57:
            return begin, NOTHING, 0
    elif 49 <= first <= 57:
        p, number = _read_digits(p, end, number)
    else:
        return _read_name(p, is_negative)
    mark, digits, exponent = load_u8(p), p - begin, 0
    if mark == 46:
        point = p + 1
        p, number = _read_digits(point, end, number)
        if p == point:
            return begin, NOTHING, 0
        exponent = point - p
        digits += p - point
        mark = load_u8(p)
        is_whole = False
    else:
        is_whole = True
    if mark | 32 == 101:
        p, shift, is_there = _read_exponent(p + 1)
        if not is_there:
            return begin, NOTHING, 0
        exponent += shift
    elif is_whole:
        return _whole(begin, p, number, is_negative)
    if digits <= _MAX_DIGITS:
        if number == 0:
            return p, FLOAT, bits_of(-0.0 if is_negative else 0.0)
        is_decided, x = exact_product(number, exponent)
        if is_decided:
            return _finite(begin, p, x, is_negative)
    _, x = read_number(begin, p - begin)
    return _finite(begin, p, x, is_negative)
