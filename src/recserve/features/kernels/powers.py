"""Powers of ten to 128 bits, for reading and writing decimal numbers; and 64 × 64 → 128 bit products.

READ_HIGH, READ_LOW: floor(10**e * 2**s) with 128 bits, s so that the first is set, for e from READ_FIRST on.
WRITE_HIGH, WRITE_LOW: 1 + floor(10**-k * 2**s) with 126 bits, as 63 and 63, for k from WRITE_FIRST on.
Both are computed here with Python's integers, exactly, rather than kept as tables of literals.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.features.kernels.jit import inner

READ_FIRST: Final = -348
READ_LAST: Final = 347
WRITE_FIRST: Final = -324
WRITE_LAST: Final = 292


def _power(e: int, bits: int) -> int:
    """floor(10**e * 2**s), s such that the result has `bits` bits."""
    if e >= 0:
        power = int(10**e)
        excess = power.bit_length() - bits
        return power >> excess if excess > 0 else power << -excess
    divisor = int(10**-e)
    shift = bits + divisor.bit_length()
    quotient = (1 << shift) // divisor
    return quotient >> (quotient.bit_length() - bits)


def _words(values: list[int], bits: int) -> tuple[Any, Any]:
    mask = (1 << bits) - 1
    return (
        np.array([v >> bits for v in values], dtype=np.uint64),
        np.array([v & mask for v in values], dtype=np.uint64),
    )


READ_HIGH, READ_LOW = _words([_power(e, 128) for e in range(READ_FIRST, READ_LAST + 1)], 64)
WRITE_HIGH, WRITE_LOW = _words([_power(-k, 126) + 1 for k in range(WRITE_FIRST, WRITE_LAST + 1)], 63)

_LOW: Final = np.uint64(0xFFFFFFFF)
_32: Final = np.uint64(32)


@inner
def multiply_high(a: Any, b: Any) -> Any:
    """The upper 64 bits of the product of two uint64."""
    a0, a1, b0, b1 = a & _LOW, a >> _32, b & _LOW, b >> _32
    low = a0 * b0
    middle = a1 * b0 + (low >> _32)
    other = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> _32) + (other >> _32)
