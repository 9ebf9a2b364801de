"""Text to numbers, bit for bit as Python's float() reads ASCII text without underscores.

Three paths, each exact: up to 15 digits with a small exponent are one floating-point operation; nearly all else is one
128-bit product (Eisel and Lemire, "Number parsing at a gigabyte per second", 2021); what that cannot decide is compared
with the midpoint of two neighbouring doubles in big integers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import intrinsic

from recserve.features.kernels.jit import inner
from recserve.features.kernels.powers import READ_FIRST, READ_HIGH, READ_LAST, READ_LOW, multiply_high
from recserve.memory import view_u8

_POWERS: Final = np.array([10.0**e for e in range(23)])
_MAX_DIGITS: Final = 780
"""Digits beyond these cannot change the result: a midpoint of two doubles has at most 767."""
_LIMBS: Final = 320
_LARGEST: Final = 0x7FEFFFFFFFFFFFFF
"""Bits of the largest finite double."""


@intrinsic
def bits_of(typingctx: Any, x: Any) -> Any:  # noqa: ARG001  (numba passes the typing context)
    """The bits of a float64 as int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), codegen


@intrinsic
def from_bits(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001
    """The float64 with these bits (int64)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.int64), codegen


@inner
def _is_space(c: int) -> Any:
    return c == 32 or 9 <= c <= 13


@inner
def _is_word(text: Any, first: int, last: int, word: bytes) -> Any:
    """Whether text[first:last] is `word` (lower case) in any case."""
    if last - first != len(word):
        return False
    for i in range(len(word)):  # noqa: SIM110  (numba has no generator expressions)
        if text[first + i] | 32 != word[i]:
            return False
    return True


@inner
def _named_number(text: Any, first: int, last: int) -> Any:
    """(is inf or nan, its value)."""
    if _is_word(text, first, last, b"nan"):
        return True, np.nan
    if _is_word(text, first, last, b"inf") or _is_word(text, first, last, b"infinity"):
        return True, np.inf
    return False, 0.0


@inner
def _read_exponent(text: Any, position: int, last: int) -> Any:
    """(is well formed, exponent) of text[position:last] after the "e"."""
    is_negative = False
    if position < last and (text[position] == 43 or text[position] == 45):
        is_negative = text[position] == 45
        position += 1
    if position >= last:
        return False, 0
    exponent = 0
    for i in range(position, last):
        c = text[i]
        if not 48 <= c <= 57:
            return False, 0
        exponent = min(exponent * 10 + (c - 48), 1_000_000)
    return True, -exponent if is_negative else exponent


@inner
def exact_product(digits: Any, exponent: int) -> Any:
    """(is decided, digits * 10**exponent as a positive double)."""
    if digits <= np.uint64(1 << 53) and -22 <= exponent <= 22:
        x = np.float64(np.int64(digits))
        return True, x / _POWERS[-exponent] if exponent < 0 else x * _POWERS[exponent]
    if exponent < READ_FIRST or exponent > READ_LAST:
        return False, 0.0
    zeros = 0
    while digits >> np.uint64(63) == 0:
        digits <<= np.uint64(1)
        zeros += 1
    power: Any = ((217706 * exponent) >> 16) + 64 + 1023 - zeros
    factor, tail = READ_HIGH[exponent - READ_FIRST], READ_LOW[exponent - READ_FIRST]
    high, low = multiply_high(digits, factor), digits * factor
    if high & np.uint64(0x1FF) == 0x1FF and low + digits < digits:
        tail_high, tail_low = multiply_high(digits, tail), digits * tail
        merged = low + tail_high
        if merged < low:
            high += np.uint64(1)
        if high & np.uint64(0x1FF) == 0x1FF and merged + np.uint64(1) == 0 and tail_low + digits < digits:
            return False, 0.0
        low = merged
    top = np.int64(high >> np.uint64(63))
    mantissa: Any = np.int64(high >> np.uint64(top + 9))
    power -= 1 ^ top
    if low == 0 and high & np.uint64(0x1FF) == 0 and mantissa & 3 == 1:
        return False, 0.0
    if power < 1:  # below the normal doubles: fewer bits are left
        if power < -61:
            return True, 0.0
        mantissa >>= 1 - power
        return True, from_bits((mantissa + (mantissa & 1)) >> 1)
    mantissa = (mantissa + (mantissa & 1)) >> 1
    if mantissa >> 53 > 0:
        mantissa >>= 1
        power += 1
    if power >= 0x7FF:
        return False, 0.0
    return True, from_bits((power << 52) | (mantissa & ((1 << 52) - 1)))


@inner
def _multiply(limbs: Any, used: int, factor: int, addend: int) -> Any:
    """limbs[:used] (32 bits each) * factor + addend in place; the new number of limbs."""
    carry = np.uint64(addend)
    for i in range(used):
        product = limbs[i] * np.uint64(factor) + carry
        limbs[i] = product & np.uint64(0xFFFFFFFF)
        carry = product >> np.uint64(32)
    if carry:
        limbs[used] = carry
        used += 1
    return used


@inner
def _scale(limbs: Any, used: int, tens: int, twos: int) -> Any:
    """Multiply limbs by 10**tens * 2**twos in place; the new number of limbs."""
    while tens > 0:
        step = min(tens, 9)
        used = _multiply(limbs, used, 10**step, 0)
        tens -= step
    while twos > 0:
        step = min(twos, 31)
        used = _multiply(limbs, used, 1 << step, 0)
        twos -= step
    return used


@inner
def _compare(digits: Any, count: int, exponent: int, bits: int) -> Any:
    """Sign of (digits * 10**exponent - the midpoint of the doubles `bits` and `bits + 1`)."""
    fraction, power = bits & ((1 << 52) - 1), bits >> 52
    mantissa = fraction | (1 << 52) if power else fraction
    middle, twos = 2 * mantissa + 1, max(power, 1) - 1076
    left, right = np.zeros(_LIMBS, np.uint64), np.zeros(_LIMBS, np.uint64)
    n = 0
    for i in range(count):
        n = _multiply(left, n, 10, digits[i])
    n = _scale(left, n, max(exponent, 0), max(-twos, 0))
    right[0], right[1] = np.uint64(middle & 0xFFFFFFFF), np.uint64(middle >> 32)
    m = _scale(right, 2 if right[1] else 1, max(-exponent, 0), max(twos, 0))
    if n != m:
        return 1 if n > m else -1
    for i in range(n - 1, -1, -1):
        if left[i] != right[i]:
            return 1 if left[i] > right[i] else -1
    return 0


@inner
def _nearest(text: Any, first: int, last: int, exponent: int) -> Any:
    """The double nearest to the digits of text[first:last], its first not 0, times 10**exponent. Slow and exact."""
    digits, count, total = np.empty(_MAX_DIGITS + 1, np.uint8), 0, 0
    estimate, is_longer = 0.0, False
    for i in range(first, last):
        if 48 <= text[i] <= 57:
            total += 1
            if count < _MAX_DIGITS:
                digits[count] = text[i] - 48
                count += 1
                if count <= 19:
                    estimate = estimate * 10.0 + (text[i] - 48)
            elif text[i] != 48:
                is_longer = True
    scale = exponent + total - min(count, 19)
    exponent += total - count
    if is_longer:  # something positive below the last digit kept: enough to leave a midpoint
        digits[count] = 1
        count += 1
        exponent -= 1
    if scale + 19 < -342:
        return 0.0
    if scale > 310:
        return np.inf
    estimate = estimate * 10.0 ** max(scale, -290) * 10.0 ** min(scale + 290, 0)
    bits = min(bits_of(estimate), _LARGEST)
    while True:
        order = _compare(digits, count, exponent, bits)
        if order > 0 or (order == 0 and bits & 1):
            if bits == _LARGEST:
                return np.inf
            bits += 1
            if order == 0:
                return from_bits(bits)
        elif bits > 0 and _is_below(digits, count, exponent, bits):
            bits -= 1
        else:
            return from_bits(bits)


@inner
def _is_below(digits: Any, count: int, exponent: int, bits: int) -> Any:
    """Whether the number rounds to a double below `bits`."""
    order = _compare(digits, count, exponent, bits - 1)
    return order < 0 or (order == 0 and bits & 1)


@inner
def read_number(address: int, size_bytes: int) -> Any:
    """(is a number, its value) of the text at `address`: what Python's float() makes of it."""
    text = view_u8(address, size_bytes)
    first, last = 0, size_bytes
    while first < last and _is_space(text[first]):
        first += 1
    while last > first and _is_space(text[last - 1]):
        last -= 1
    is_negative = first < last and text[first] == 45
    if first < last and (text[first] == 43 or text[first] == 45):
        first += 1
    if first < last and (text[first] | 32 == 105 or text[first] | 32 == 110):
        is_named, x = _named_number(text, first, last)
        return is_named, -x if is_negative else x
    is_number, x = _read_decimal(text, first, last)
    return is_number, -x if is_negative else x


@inner
def _read_decimal(text: Any, first: int, last: int) -> Any:
    """(is a decimal number, its value) of text[first:last] without sign."""
    digits, kept, dropped, fraction = np.uint64(0), 0, 0, 0
    has_digits, in_fraction, is_truncated = False, False, False
    start, position = -1, first
    while position < last:
        c = text[position]
        if 48 <= c <= 57:
            has_digits = True
            fraction += in_fraction
            if kept < 19 and (kept > 0 or c != 48):
                if kept == 0:
                    start = position
                digits = digits * np.uint64(10) + np.uint64(c - 48)
                kept += 1
            elif kept == 19:
                dropped += 1
                is_truncated |= c != 48
        elif c == 46 and not in_fraction:
            in_fraction = True
        else:
            break
        position += 1
    end, exponent = position, 0
    if not has_digits:
        return False, 0.0
    if position < last:
        if text[position] | 32 != 101:
            return False, 0.0
        is_well_formed, exponent = _read_exponent(text, position + 1, last)
        if not is_well_formed:
            return False, 0.0
    if kept == 0:
        return True, 0.0
    is_decided, x = exact_product(digits, exponent - fraction + dropped)
    if is_decided and is_truncated:
        is_decided, y = exact_product(digits + np.uint64(1), exponent - fraction + dropped)
        is_decided &= x == y
    return True, x if is_decided else _nearest(text, start, end, exponent - fraction)


@inner
def read_integer(address: int, size_bytes: int) -> Any:
    """(0 not a number, 1 an integer, 2 an integer beyond int64; its value) of decimal text without spaces or signs."""
    text = view_u8(address, size_bytes)
    if size_bytes == 0 or size_bytes > 18:
        return 0, 0
    value = 0
    for i in range(size_bytes):
        if not 48 <= text[i] <= 57:
            return 0, 0
        value = value * 10 + (text[i] - 48)
    return 1, value
