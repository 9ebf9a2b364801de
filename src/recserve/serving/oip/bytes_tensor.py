"""BYTES tensors ↔ their bytes on the wire: each element behind its length, 4 bytes, little-endian."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recserve.serving.oip.bytes_kernels import pack, unpack

MAX_ELEMENT_BYTES: Final = 2**32 - 1


class CutOffError(ValueError):
    """The bytes end within an element.

    Attributes:
        element: the element that is cut off, counted from 0.
    """

    def __init__(self, element: int) -> None:
        super().__init__(f"element {element} is cut off")
        self.element = element


class SurplusError(ValueError):
    """Bytes are left after the last element.

    Attributes:
        surplus_bytes: how many.
    """

    def __init__(self, surplus_bytes: int) -> None:
        super().__init__(f"{surplus_bytes} bytes are left")
        self.surplus_bytes = surplus_bytes


def unpack_bytes(packed: bytes | memoryview, elements: int) -> NDArray[Any]:
    """The elements as object[elements] of `bytes`.

    Raises:
        CutOffError: the bytes end too early.
        SurplusError: they go on after the last element.
    """
    # Each element takes 4 bytes at least: a huge count is refused before it costs memory.
    if elements > len(packed) // 4:
        raise CutOffError(_whole_elements(packed))
    source = np.frombuffer(packed, np.uint8)
    source.flags.writeable = False
    offsets = np.zeros(elements + 1, np.int64)
    data = np.empty(len(source), np.uint8)
    end = unpack(source, offsets, data)
    if end < 0:
        raise CutOffError(-1 - end)
    if end < len(source):
        raise SurplusError(len(source) - end)
    column = pa.Array.from_buffers(pa.large_binary(), elements, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    return np.asarray(column.to_numpy(zero_copy_only=False), object)


def pack_bytes(tensor: NDArray[Any]) -> bytes:
    """The wire form of an object array of `bytes`, in row-major order.

    Raises:
        ValueError: an element is longer than `MAX_ELEMENT_BYTES`.
    """
    elements = tensor.ravel().tolist()
    lengths = np.fromiter(map(len, elements), np.int64, len(elements))
    if len(lengths) and lengths.max() > MAX_ELEMENT_BYTES:
        raise ValueError(f"an element has {lengths.max()} bytes; its length takes 4 bytes")
    data = np.frombuffer(b"".join(elements), np.uint8)
    packed = np.empty(len(data) + 4 * len(lengths), np.uint8)
    pack(data, lengths, packed)
    return packed.tobytes()


def _whole_elements(packed: bytes | memoryview) -> int:
    """How many elements are whole at the beginning of bytes that hold fewer than they should."""
    most = len(packed) // 4
    offsets = np.zeros(most + 1, np.int64)
    source = np.frombuffer(packed, np.uint8)
    source.flags.writeable = False
    end = unpack(source, offsets, np.empty(len(source), np.uint8))
    return -1 - end if end < 0 else most
