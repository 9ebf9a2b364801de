"""Eight bytes of text at a time, and what Numba has no name for."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recserve.features.kernels.jit import inner

_ZEROS: Final = np.uint64(0x3030303030303030)
_ABOVE_NINE: Final = np.uint64(0x7676767676767676)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_PAIRS: Final = np.uint64(0x000000FF000000FF)
_SCALES_HIGH: Final = np.uint64(0x000F424000000064)
_SCALES_LOW: Final = np.uint64(0x0000271000000001)
TENS: Final = np.array([10**n for n in range(20)], np.uint64)
"""Powers of ten that fit into uint64."""


@intrinsic
def store_byte(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
    """Write the low 8 bits of an integer to an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        kind = cgutils.ir.IntType(8)
        builder.store(builder.trunc(args[1], kind), builder.inttoptr(args[0], kind.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:  # noqa: ARG001
    """Zero bits below the lowest set bit of a uint64; 64 for 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.cttz(args[0], cgutils.false_bit)

    return types.int64(types.uint64), codegen


@intrinsic
def leading_zeros(typingctx: Any, word: Any) -> Any:  # noqa: ARG001
    """Zero bits above the highest set bit of a uint64; 64 for 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.ctlz(args[0], cgutils.false_bit)

    return types.int64(types.uint64), codegen


@inner
def leading_digits(word: Any) -> Any:
    """How many of the eight characters of a word are digits before the first that is none."""
    values = word ^ _ZEROS
    return trailing_zeros(((values + _ABOVE_NINE) | values) & _HIGH_BITS) >> 3


@inner
def digits_value(word: Any, count: int) -> Any:
    """The number that the first `count` characters of a word are, 1 to 8 digits, as uint64."""
    values = (word ^ _ZEROS) << np.uint64(64 - 8 * count)
    values = values * np.uint64(10) + (values >> np.uint64(8))
    high = (values & _PAIRS) * _SCALES_HIGH
    low = ((values >> np.uint64(16)) & _PAIRS) * _SCALES_LOW
    return (high + low) >> np.uint64(32)
