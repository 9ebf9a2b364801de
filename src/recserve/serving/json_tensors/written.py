"""Tensors → the text of rows, as lists and objects of JSON, by compiled code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recserve.serving.json_tensors.kernels import layout as at
from recserve.serving.json_tensors.kernels.entries import load_kernel

_write_rows: Final = load_kernel("write_rows")
_INTEGERS: Final = ("int8", "int16", "int32", "int64", "uint8", "uint32")
_KINDS: Final[dict[np.dtype[Any], int]] = {
    np.dtype(np.float32): at.FLOAT32,
    np.dtype(np.float64): at.FLOAT64,
    np.dtype(np.bool_): at.BOOL,
    **{np.dtype(name): at.INT64 for name in _INTEGERS},
}
_NO_TEXT: Final = np.frombuffer(b" ", np.uint8)
_NO_DIMS: Final = [0] * at.MAX_PART_RANK


def write_rows(parts: Mapping[bytes, NDArray[Any]], *, separator: str = "", are_objects: bool = False) -> bytes | None:
    """The rows of tensors, one after the other.

    Args:
        parts: at least one, all of the same first size; the bytes go before the values of the tensor in each row.
        separator: a character between two rows; `, ` where it is empty.
        are_objects: whether to write `}` behind each row.

    Returns:
        None where this is not for compiled code: no values, another dtype than float32, float64, bool and integers
        within int64, or a number so near to the middle of two texts that only exact arithmetic can tell.
    """
    words: list[int] = []  # the fields of each part, in the order of `layout`
    held: list[NDArray[Any]] = []
    rows, width = 0, 0
    for prefix, tensor in parts.items():
        kind = _KINDS.get(tensor.dtype)
        if kind is None or not tensor.size or not 1 <= tensor.ndim <= at.MAX_PART_RANK:
            return None
        values = np.ascontiguousarray(tensor, np.int64 if kind == at.INT64 else None)
        text = np.frombuffer(prefix, np.uint8) if prefix else _NO_TEXT
        held += (values, text)
        rows, *shape = tensor.shape
        size = math.prod(shape)
        words += (values.ctypes.data, kind, text.ctypes.data, len(prefix), size, len(shape))
        words += shape + _NO_DIMS[len(shape) :]
        width += len(prefix) + size * (at.VALUE_BYTES + _brackets(shape)) + 2 * len(shape)
    table, run, out = np.array(words, np.int64), np.zeros(at.RUN, np.int64), np.empty(rows * (width + 3), np.uint8)
    separator_code = ord(separator or "\0")
    op = np.array((out.ctypes.data, rows, table.ctypes.data, len(parts), separator_code, are_objects, 0, 0), np.int64)
    if _write_rows(op.ctypes.data, run.ctypes.data) != at.DONE:
        return None
    return out[: run[at.WRITTEN]].tobytes()


def _brackets(shape: list[int]) -> int:
    """Brackets that a value can need."""
    return 2 * max(0, len(shape) - 1)
