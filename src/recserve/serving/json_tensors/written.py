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
_KINDS: Final = {
    "float32": at.FLOAT32,
    "float64": at.FLOAT64,
    "bool": at.BOOL,
    **dict.fromkeys(_INTEGERS, at.INT64),
}


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
    if any(tensor.dtype.name not in _KINDS or not tensor.size for tensor in parts.values()):
        return None
    if any(not 1 <= tensor.ndim <= at.MAX_PART_RANK for tensor in parts.values()):
        return None
    table = np.zeros((len(parts), at.PART), np.int64)
    held: list[NDArray[Any]] = []
    rows, width = 0, 0
    for fields, (prefix, tensor) in zip(table, parts.items(), strict=True):
        kind = _KINDS[tensor.dtype.name]
        values = np.ascontiguousarray(tensor, np.int64 if kind == at.INT64 else None)
        text = np.frombuffer(prefix or b" ", np.uint8)
        held += (values, text)
        rows, shape = len(tensor), tensor.shape[1:]
        fields[[at.VALUES, at.KIND, at.PREFIX]] = values.ctypes.data, kind, text.ctypes.data
        fields[[at.PREFIX_SIZE, at.PART_SIZE, at.PART_RANK]] = len(prefix), math.prod(shape), len(shape)
        fields[at.PART_DIMS : at.PART_DIMS + len(shape)] = shape
        width += len(prefix) + math.prod(shape) * (at.VALUE_BYTES + _brackets(shape)) + 2 * len(shape)
    out = np.empty(rows * (width + 3), np.uint8)
    op, run = np.zeros(at.OP, np.int64), np.zeros(at.RUN, np.int64)
    op[[at.OUT, at.ROW_COUNT, at.PARTS]] = out.ctypes.data, rows, table.ctypes.data
    op[[at.PART_COUNT, at.SEPARATOR, at.IS_OBJECT]] = len(parts), ord(separator or "\0"), are_objects
    if _write_rows(op.ctypes.data, run.ctypes.data) != at.DONE:
        return None
    return out[: run[at.WRITTEN]].tobytes()


def _brackets(shape: tuple[int, ...]) -> int:
    """Brackets that a value can need."""
    return 2 * max(0, len(shape) - 1)
