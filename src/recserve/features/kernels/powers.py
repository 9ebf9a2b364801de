"""Powers of ten to 128 bits, for reading and writing decimal numbers; and 64 × 64 → 128 bit products.

READ_HIGH, READ_LOW: floor(10**e * 2**s) with 128 bits, s so that the first is set, for e from READ_FIRST on.
WRITE_HIGH, WRITE_LOW: 1 + floor(10**-k * 2**s) with 126 bits, as 63 and 63, for k from WRITE_FIRST on.
Both are computed here with Python's integers, exactly, rather than kept as tables of literals.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

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


@intrinsic
def multiply_high(typingctx: Any, a: Any, b: Any) -> Any:  # noqa: ARG001  (numba passes the typing context)
    """The upper 64 bits of the product of two uint64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        wide = cgutils.ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, wide(64)), cgutils.ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen
