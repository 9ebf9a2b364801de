"""Hashes against twins in plain Python and known vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from recserve.features.kernels.hashing import fingerprint64, murmur64a
from recserve.features.reference_hash import HASHES

MASK = 2**64 - 1


@njit
def _murmur(address: int, size: int) -> Any:
    return murmur64a(address, size)


@njit
def _farm(address: int, size: int) -> Any:
    return fingerprint64(address, size)


def hashed(function: Any, data: bytes, shift: int = 0) -> int:
    """The hash of bytes that lie `shift` bytes after an aligned address."""
    memory = np.zeros(len(data) + 16, np.uint8)
    memory[shift : shift + len(data)] = np.frombuffer(data, np.uint8)
    return int(function(memory.ctypes.data + shift, len(data)))


@pytest.mark.parametrize(
    ("text", "bucket"),
    [("abc", 33), ("efg", 44), ("hij", 66), ("xyz", 13), ("0", 26), ("1", 95), ("2", 70), ("ua_ia", 37)],
)
def test_murmur_has_the_known_buckets(text: str, bucket: int) -> None:
    assert hashed(_murmur, text.encode()) % 100 == bucket


@pytest.mark.parametrize(("text", "bucket"), [("1", 49), ("2", 59), ("3", 21)])
def test_farmhash_has_the_known_buckets(text: str, bucket: int) -> None:
    assert hashed(_farm, text.encode()) % 100 == bucket


DATA = st.binary(max_size=40) | st.binary(min_size=15, max_size=18) | st.binary(min_size=30, max_size=200)


@settings(max_examples=300, deadline=None)
@given(DATA, st.integers(0, 7))
def test_hashes_equal_their_twins_at_any_alignment(data: bytes, shift: int) -> None:
    assert hashed(_murmur, data, shift) & MASK == HASHES["murmur64a"](data) & MASK
    assert hashed(_farm, data, shift) & MASK == HASHES["farmhash"](data) & MASK
