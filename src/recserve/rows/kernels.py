"""Compiled: rows of float32 into a stored precision, and back.

Axes: V rows, W floats of a row. `recserve.rows.reference` says the same slowly; both agree bit for bit.

Everything works on the bits of a float32, so that it does not depend on how a processor treats denormal numbers, and
the loops that widen are plain enough to become vector instructions.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.extending import intrinsic

from recserve.dtypes import F32
from recserve.memory import view_f32, view_i8, view_i32, view_u16
from recserve.rows.formats import BF16, FP16, INT8, PRECISIONS, SCALE_BYTES, StoredRows, dtype_of

_MOST: Final = np.float32(127)
_LARGEST_SCALE: Final = np.nextafter(np.finfo(np.float32).max / _MOST, np.float32(0))
"""127 times it is finite."""
_LARGEST_FLOAT: Final = np.finfo(np.float32).max
_ABS: Final = 0x7FFFFFFF
_INFINITY: Final = 0x7F800000
_LARGEST_BF16: Final = 0x7F7F0000
_LARGEST_FP16: Final = 0x477FE000
_LEAST_NORMAL_FP16: Final = 0x38800000


@njit(cache=True, inline="always")
def _bf16_of(bits: int) -> int:
    """The bfloat16 nearest to a float32, both as bits."""
    sign, size = (bits >> 16) & 0x8000, bits & _ABS
    if size > _INFINITY:
        return sign | 0x7FC0
    size = min(size, _LARGEST_BF16)
    return sign | (size + 0x7FFF + ((size >> 16) & 1)) >> 16


@njit(cache=True, inline="always")
def _fp16_of(bits: int) -> int:
    """The binary16 nearest to a float32, both as bits."""
    sign, size = (bits >> 16) & 0x8000, bits & _ABS
    if size > _INFINITY:
        return sign | 0x7E00
    size = min(size, _LARGEST_FP16)
    if size >= _LEAST_NORMAL_FP16:
        return sign | (size - (112 << 23) + 0xFFF + ((size >> 13) & 1)) >> 13
    # A denormal counts steps of 2^-24: the mantissa, shifted right as far as its exponent lacks, and rounded.
    shift = 126 - (size >> 23)
    if shift > 25:
        return sign
    mantissa = (size & 0x7FFFFF) | 0x800000
    return sign | (mantissa + (1 << (shift - 1)) - 1 + ((mantissa >> shift) & 1)) >> shift


@njit(cache=True, nogil=True)
def _narrow_int8(source: int, target: int, width: int) -> None:
    """Scale and integers of one row."""
    row = view_f32(source, width)
    largest = np.float32(0)
    for d in range(width):
        size = min(abs(row[d]), _LARGEST_FLOAT)
        if size > largest:  # noqa: PLR1730  (false of NaN)
            largest = size
    scale = min(largest / _MOST, _LARGEST_SCALE)
    view_f32(target, 1)[0] = scale
    integers = view_i8(target + SCALE_BYTES, width)
    for d in range(width):
        steps = row[d] / scale if scale > np.float32(0) else np.float32(0)
        steps = np.rint(min(max(steps, -_MOST), _MOST)) if steps == steps else np.float32(0)  # noqa: PLR0124
        integers[d] = np.int8(steps)


@njit(cache=True, nogil=True)
def narrow(code: int, source: int, target: int, width: int) -> None:
    """Store one row.

    Args:
        code: position of the precision in `PRECISIONS`.
        source: address of float32[width].
        target: address of the stored row.
        width: W.
    """
    if code == INT8:
        _narrow_int8(source, target, width)
        return
    bits = view_i32(source, width)
    if code == BF16:
        halves = view_u16(target, width)
        for d in range(width):
            halves[d] = _bf16_of(np.int64(bits[d]))
    elif code == FP16:
        halves = view_u16(target, width)
        for d in range(width):
            halves[d] = _fp16_of(np.int64(bits[d]))
    else:
        copy = view_i32(target, width)
        for d in range(width):
            copy[d] = bits[d]


@njit(cache=True)
def half_by_bits(half: Any) -> Any:
    """The float32 that the bits of a binary16 are, by integers alone and without a branch."""
    word = np.uint32(half)
    size = (word & np.uint32(0x7FFF)) << np.uint32(13)
    exponent = size & np.uint32(0x0F800000)
    normal = size + np.uint32(112 << 23)
    special = size + np.uint32(224 << 23)
    # A denormal is its mantissa times 2^-24: as a number with the exponent of 2^-14, less 2^-14.
    small = np.float32(np.uint32(size + np.uint32(113 << 23)).view(np.float32) - np.float32(2.0**-14))
    bits = special if exponent == np.uint32(0x0F800000) else normal
    bits = small.view(np.uint32) if exponent == np.uint32(0) else bits
    return np.uint32(bits | (word & np.uint32(0x8000)) << np.uint32(16)).view(np.float32)


@intrinsic
def _half_by_instruction(typingctx: Any, half: Any) -> Any:  # noqa: ARG001  (numba passes the typing context)
    """The same by one instruction of the processor, a vector of them at a time: five times as fast."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), codegen


_CAN_CONVERT: Final = get_host_cpu_features().get("f16c", False)
"""Elsewhere LLVM calls a function for it, which need not be there."""
_float_of: Final = _half_by_instruction if _CAN_CONVERT else half_by_bits


@njit(cache=True, nogil=True)
def widen(code: int, source: int, target: int, width: int) -> None:
    """Read one stored row.

    Args:
        code: position of the precision in `PRECISIONS`.
        source: address of the stored row.
        target: address of float32[width].
        width: W.
    """
    if code == INT8:
        scale = view_f32(source, 1)[0]
        integers = view_i8(source + SCALE_BYTES, width)
        numbers = view_f32(target, width)
        for d in range(width):
            numbers[d] = np.float32(integers[d]) * scale
        return
    bits = view_i32(target, width)
    if code == BF16:
        halves = view_u16(source, width)
        for d in range(width):
            bits[d] = np.uint32(halves[d]) << np.uint32(16)
    elif code == FP16:
        halves, numbers = view_u16(source, width), view_f32(target, width)
        for d in range(width):
            numbers[d] = _float_of(halves[d])
    else:
        copy = view_i32(source, width)
        for d in range(width):
            bits[d] = copy[d]


@njit(cache=True, nogil=True)
def add_weighted(code: int, source: int, target: int, width: int, weight: Any) -> None:
    """Add `weight` times a stored row to float32[width] at `target`; multiplied first, then added, in float32."""
    out = view_f32(target, width)
    if code == INT8:
        scale = view_f32(source, 1)[0]
        integers = view_i8(source + SCALE_BYTES, width)
        for d in range(width):
            out[d] += weight * (np.float32(integers[d]) * scale)
    elif code == BF16:
        halves = view_u16(source, width)
        for d in range(width):
            out[d] += weight * np.uint32(np.uint32(halves[d]) << np.uint32(16)).view(np.float32)
    elif code == FP16:
        halves = view_u16(source, width)
        for d in range(width):
            out[d] += weight * _float_of(halves[d])
    else:
        row = view_f32(source, width)
        for d in range(width):
            out[d] += weight * row[d]


@njit(cache=True, nogil=True)
def _narrow_rows(code: int, source: int, target: int, shape: tuple[int, int], stride: int) -> None:
    for v in range(shape[0]):
        narrow(code, source + 4 * v * shape[1], target + stride * v, shape[1])


@njit(cache=True, nogil=True)
def _widen_rows(code: int, source: int, target: int, shape: tuple[int, int], stride: int) -> None:
    for v in range(shape[0]):
        widen(code, source + stride * v, target + 4 * v * shape[1], shape[1])


def store_rows(rows: F32, precision: str) -> StoredRows:
    """The rows float32[V, W] in a precision; the same array where that is `fp32`."""
    if precision == "fp32":
        return rows
    source = np.ascontiguousarray(rows)
    dtype = dtype_of(precision, rows.shape[1])
    stored: StoredRows = np.zeros(len(rows) if dtype.names else rows.shape, dtype)
    code = PRECISIONS.index(precision)
    if stored.size:
        _narrow_rows(code, source.ctypes.data, stored.ctypes.data, source.shape, stored.strides[0])
    return stored


def load_rows(stored: StoredRows, precision: str, width: int) -> F32:
    """float32[V, W] of stored rows; the same array where they are float32."""
    if precision == "fp32":
        return stored
    source = np.ascontiguousarray(stored)
    rows: F32 = np.empty((len(stored), width), np.float32)
    if rows.size:
        code = PRECISIONS.index(precision)
        _widen_rows(code, source.ctypes.data, rows.ctypes.data, rows.shape, source.strides[0])
    return rows
