"""Tensors → the text of rows, as lists and objects of JSON, by compiled code."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from struct import Struct
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
_HEAD: Final = Struct("=6q")
_PARTS: Final = [Struct(f"={at.PART_DIMS + rank}q") for rank in range(at.MAX_PART_RANK)]
_FEW_PARTS: Final = 8
_SHORT_BYTES: Final = 32 << 10


class _Desk(threading.local):
    """What a thread writes on: the records for the kernel, and room for a short text, which cost more to make."""

    def __init__(self) -> None:
        self.run = (ctypes.c_int64 * at.RUN)()
        self.run_address = ctypes.addressof(self.run)
        self.text, self.text_address = _make_room(_SHORT_BYTES)
        self.record, self.record_address = _make_room(8 * (at.OP + _FEW_PARTS * at.PART))


def _make_room(size: int) -> tuple[memoryview, int]:
    room = (ctypes.c_char * size)()
    return memoryview(room).cast("B"), ctypes.addressof(room)


_desk: Final = _Desk()


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
    desk = _desk
    count = len(parts)
    record, record_address = desk.record, desk.record_address
    if count > _FEW_PARTS:
        record, record_address = _make_room(8 * (at.OP + count * at.PART))
    held: list[NDArray[Any]] = []  # until the text is written
    rows, width, place = 0, 0, 8 * at.OP
    for prefix, tensor in parts.items():
        kind = _KINDS.get(tensor.dtype)
        if kind is None or not tensor.size or not 1 <= tensor.ndim <= at.MAX_PART_RANK:
            return None
        rows, *shape = tensor.shape
        size, rank = tensor.size // rows, len(shape)
        values = np.ascontiguousarray(tensor, np.int64 if kind == at.INT64 else None)
        held.append(values)
        text_address = 0
        if prefix:
            held.append(text := np.frombuffer(prefix, np.uint8))
            text_address = _address(text)
        fields = (_address(values), kind, text_address, len(prefix), size, rank, *shape)
        _PARTS[rank].pack_into(record, place, *fields)
        place += 8 * at.PART
        width += len(prefix) + size * (at.VALUE_BYTES + 2 * max(0, rank - 1)) + 2 * rank
    out, out_address = desk.text, desk.text_address
    if (needed := rows * (width + 3)) > _SHORT_BYTES:
        whole = np.empty(needed, np.uint8)
        out, out_address = whole.data, _address(whole)
    separator_code = ord(separator) if separator else 0
    _HEAD.pack_into(record, 0, out_address, rows, record_address + 8 * at.OP, count, separator_code, are_objects)
    if _write_rows(record_address, desk.run_address) != at.DONE:
        return None
    return bytes(out[: desk.run[at.WRITTEN]])


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
