from __future__ import annotations

import numpy as np

from recserve.serving.oip.bytes_kernels import pack, unpack


def read_only(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def test_packing_puts_a_length_before_each_element() -> None:
    packed = np.zeros(11, np.uint8)
    pack(read_only(b"abc"), np.array([2, 1]), packed)
    assert packed.tobytes() == b"\x02\x00\x00\x00ab\x01\x00\x00\x00c"


def test_unpacking_tells_where_it_stopped() -> None:
    offsets, data = np.zeros(3, np.int64), np.zeros(11, np.uint8)
    packed = b"\x02\x00\x00\x00ab\x01\x00\x00\x00c"
    assert unpack(read_only(packed), offsets, data) == 11
    assert offsets.tolist() == [0, 2, 3]
    assert data[:3].tobytes() == b"abc"
    assert unpack(read_only(packed[:-1]), offsets, data) == -2
    assert unpack(read_only(packed[:3]), offsets, data) == -1
