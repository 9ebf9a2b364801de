"""Precisions of stored rows: their names, what they take, and how an array says which one it holds.

Axes: V rows, W floats of a row.

| precision | an element is                  | NumPy dtype of V rows               | error of an element           |
|-----------|--------------------------------|-------------------------------------|-------------------------------|
| `fp32`    | itself                         | `float32[V, W]`                     | none |
| `fp16`    | IEEE binary16                  | `float16[V, W]`                     | 2^-12 of it, from 6e-5 to 65504 |
| `bf16`    | the upper half of a float32    | `uint16[V, W]`                      | 2^-9 of it                    |
| `int8`    | scale times -127 .. 127        | `{scale: float32, row: int8[W]}[V]` | 1/254 of the row's largest    |

Rounding is to nearest, ties to even. What is too large for a precision becomes its largest number; who wants it
refused looks first (`first_overflow`). The scale of an int8 row lies beside it, so that a row is one read. It
has no offset: rows of embeddings and of products with them lie around zero, where an offset costs four bytes and buys
nothing; what is not so shows in the quality gate.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32
from recserve.errors import ConfigError, InvariantError, suggest

PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")
"""From exact to small. The code of a precision in kernels is its position."""
FP32, FP16, BF16, INT8 = range(4)

StoredRows: TypeAlias = npt.NDArray[Any]
"""Rows in one of the layouts above."""

_TOO_LARGE: Final = {"fp16": 65520.0, "bf16": float(np.array([0x7F7F8000], np.uint32).view(np.float32)[0])}
"""The least numbers that would round to infinity: half a step above the largest."""
_ELEMENT_BYTES: Final = {"fp32": 4, "fp16": 2, "bf16": 2}
SCALE_BYTES: Final = 4


def check_precision(word: str, where: str, *more: str) -> None:
    """Refuse a word that is neither a precision nor one of `more`.

    Raises:
        ConfigError: with the nearest known word, or all of them.
    """
    known = (*PRECISIONS, *more)
    if word not in known:
        hint = suggest(str(word), known) or f"Known: {', '.join(known)}"
        raise ConfigError(f"unknown precision {word!r}", code="unknown_precision", where=where, hint=hint)


def row_bytes(precision: str, width: int) -> int:
    """Bytes of a row of `width` floats inside a payload: a multiple of 4, so that what follows it is aligned."""
    size = SCALE_BYTES + width if precision == "int8" else _ELEMENT_BYTES[precision] * width
    return -(-size // 4) * 4


def effective(precision: str, width: int) -> str:
    """The precision that rows of `width` floats are kept in: `fp32` where `precision` would take as many bytes."""
    return precision if row_bytes(precision, width) < row_bytes("fp32", width) else "fp32"


def table_row_bytes(precision: str, width: int) -> int:
    """Bytes of a row of `width` floats in a table, where rows of one dtype follow one another."""
    return row_bytes("int8", width) if precision == "int8" else _ELEMENT_BYTES[precision] * width


def dtype_of(precision: str, width: int) -> np.dtype[Any]:
    """Of rows of `width` floats: that of an element, or of a whole row of int8."""
    if precision == "int8":
        return np.dtype(
            {
                "names": ["scale", "row"],
                "formats": [np.dtype("<f4"), np.dtype((np.int8, (width,)))],
                "offsets": [0, SCALE_BYTES],
                "itemsize": row_bytes("int8", width),
            }
        )
    return np.dtype({"fp32": np.float32, "fp16": np.float16, "bf16": np.uint16}[precision])


def precision_of(rows: StoredRows) -> str:
    """The precision of stored rows.

    Raises:
        InvariantError: an array of something else.
    """
    if rows.ndim == 2 and rows.shape[1] >= 1:
        for precision in ("fp32", "fp16", "bf16"):
            if rows.dtype == dtype_of(precision, 1):
                return precision
    elif rows.ndim == 1 and rows.dtype.names == ("scale", "row"):
        shape = rows.dtype["row"].shape
        if len(shape) == 1 and shape[0] >= 1 and rows.dtype == dtype_of("int8", shape[0]):
            return "int8"
    raise InvariantError(f"{rows.dtype}{list(rows.shape)} are no stored rows")


def width_of(rows: StoredRows) -> int:
    """Floats of a stored row, W."""
    return int(rows.dtype["row"].shape[0] if rows.dtype.names else rows.shape[1])


def first_overflow(rows: F32, precision: str) -> tuple[int, float] | None:
    """The first row of float32[V, W] with a number too large for the precision, and that number; None without one.

    Reads in blocks, to bound its memory.
    """
    limit = _TOO_LARGE.get(precision)
    if limit is None:
        return None
    block = max(1, (1 << 20) // max(1, rows.shape[1]))
    for start in range(0, len(rows), block):
        part = np.abs(rows[start : start + block])
        over = part.max(axis=1, initial=0.0) >= limit
        if over.any():
            row = start + int(over.argmax())
            return row, float(rows[row][np.abs(rows[row]).argmax()])
    return None
