"""The living definition of the stored precisions: slow, obvious, a number at a time. `kernels` is held to it.

What is too large for a precision becomes its largest number, infinities among it. NaN stays NaN in fp16 and bf16, and
becomes 0 in int8; nobody stores one, but every pattern of bits has an answer.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from recserve.dtypes import F32
from recserve.rows.formats import StoredRows, dtype_of

_FLOAT_MAX = Fraction(float(np.finfo(np.float32).max))
_SHAPES = {"fp16": (11, -24, Fraction(65504)), "bf16": (8, -133, Fraction(float(2**127)) * (2 - Fraction(1, 128)))}
"""Bits of the mantissa with the leading one, exponent of the least number, largest number."""


def round_to(number: float, precision: str) -> float:
    """The fp16 or bf16 number nearest to a float32, ties to an even mantissa."""
    if math.isnan(number) or number == 0:
        return number
    bits, least, largest = _SHAPES[precision]
    size = _FLOAT_MAX if math.isinf(number) else abs(Fraction(number))
    exponent = max(math.frexp(float(size))[1] - bits, least)
    step = Fraction(2) ** exponent
    rounded = min(round(size / step) * step, largest)  # Python rounds ties to even
    return math.copysign(float(rounded), number)


def scale_of(row: F32) -> np.float32:
    """The scale of an int8 row: the largest of its numbers is 127 steps, and 127 steps are finite."""
    sizes = np.minimum(np.abs(row[~np.isnan(row)]), np.finfo(np.float32).max)
    largest = np.nextafter(np.finfo(np.float32).max / np.float32(127), np.float32(0))
    return np.float32(min(np.float32(sizes.max(initial=0)) / np.float32(127), largest))


def store_rows(rows: F32, precision: str) -> StoredRows:
    """float32[V, W] in a precision."""
    width = rows.shape[1]
    if precision == "fp32":
        return rows
    if precision == "int8":
        stored: StoredRows = np.zeros(len(rows), dtype_of("int8", width))
        for v, row in enumerate(rows):
            scale = stored["scale"][v] = scale_of(row)
            for d, number in enumerate(row):
                if scale > 0 and not np.isnan(number):
                    stored["row"][v, d] = round(float(np.clip(number / scale, np.float32(-127), np.float32(127))))
        return stored
    rounded = np.array([[round_to(float(x), precision) for x in row] for row in rows], np.float32)
    rounded = rounded.reshape(rows.shape)
    return rounded.astype(np.float16) if precision == "fp16" else (rounded.view(np.uint32) >> 16).astype(np.uint16)


def load_rows(stored: StoredRows, precision: str) -> F32:
    """float32[V, W] of stored rows."""
    if precision == "int8":
        return np.array(stored["row"], np.float32) * np.array(stored["scale"], np.float32)[:, None]
    if precision == "bf16":
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32)
