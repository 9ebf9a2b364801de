from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.serving.oip.bytes_tensor import CutOffError, SurplusError, pack_bytes, unpack_bytes

ELEMENTS = st.lists(st.binary(max_size=20), max_size=12)


def pack_slowly(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def unpack_slowly(packed: bytes, count: int) -> list[bytes]:
    """The elements; raises what the fast one raises."""
    found: list[bytes] = []
    while len(found) < count:
        if len(packed) < 4 or len(packed) - 4 < struct.unpack_from("<I", packed)[0]:
            raise CutOffError(len(found))
        (length,) = struct.unpack_from("<I", packed)
        found.append(packed[4 : 4 + length])
        packed = packed[4 + length :]
    if packed:
        raise SurplusError(len(packed))
    return found


def column(elements: list[bytes]) -> np.ndarray:
    tensor = np.empty(len(elements), object)
    tensor[:] = elements
    return tensor


@given(ELEMENTS)
def test_packing_is_what_the_slow_one_does(elements: list[bytes]) -> None:
    packed = pack_bytes(column(elements))
    assert packed == pack_slowly(elements)
    assert unpack_bytes(memoryview(packed), len(elements)).tolist() == elements


@given(st.binary(max_size=60) | ELEMENTS.map(pack_slowly), st.integers(0, 15), st.integers(0, 8))
def test_unpacking_any_bytes_ends_as_the_slow_one_does(packed: bytes, count: int, cut: int) -> None:
    packed = packed[: len(packed) - cut]
    try:
        expected: object = unpack_slowly(packed, count)
    except (CutOffError, SurplusError) as error:
        expected = (type(error), str(error))
    try:
        got: object = unpack_bytes(packed, count).tolist()
    except (CutOffError, SurplusError) as error:
        got = (type(error), str(error))
    assert got == expected


def test_rows_are_packed_one_after_the_other() -> None:
    tensor = column([b"a", b"bc", b"", b"d"]).reshape(2, 2).T
    assert pack_bytes(tensor) == pack_slowly([b"a", b"", b"bc", b"d"])


def test_a_huge_count_costs_no_memory() -> None:
    with pytest.raises(CutOffError, match="element 1 is cut off"):
        unpack_bytes(pack_slowly([b"abcd"]), 2**60)


def test_a_length_beyond_the_end_is_cut_off() -> None:
    with pytest.raises(CutOffError, match="element 0 is cut off"):
        unpack_bytes(b"\xff\xff\xff\xff", 1)


def test_bytes_after_the_last_element_are_a_surplus() -> None:
    with pytest.raises(SurplusError, match="2 bytes are left") as caught:
        unpack_bytes(pack_slowly([b"abc"]) + b"xy", 1)
    assert caught.value.surplus_bytes == 2
