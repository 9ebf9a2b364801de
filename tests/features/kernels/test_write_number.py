"""Numbers to text against Python's repr()."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from recserve.features.kernels.write_number import MAX_BYTES, write_integer, write_number

PROPERTY = settings(max_examples=300, deadline=None)


@njit
def _write(x: float, address: int) -> Any:
    return write_number(x, address)


@njit
def _write_integer(x: int, address: int) -> Any:
    return write_integer(x, address)


def write(x: float) -> str:
    out = np.zeros(MAX_BYTES, np.uint8)
    return bytes(out[: _write(x, out.ctypes.data)]).decode()


DOUBLES = st.integers(0, 2**64 - 1).map(lambda x: struct.unpack("<d", struct.pack("<Q", x))[0])
FINITE = (DOUBLES | st.floats()).filter(math.isfinite)


@PROPERTY
@given(FINITE)
@example(5e-324)
@example(2.0**-44)
@example(9007199254740993.0)
@example(1e16)
@example(1e15)
@example(123456789012345680.0)
@example(1e-4)
@example(1e-5)
@example(2.2250738585072014e-308)
def test_a_double_is_written_as_python_writes_it(x: float) -> None:
    assert write(x) == ("0" if x == 0 else repr(x).removesuffix(".0"))


@pytest.mark.parametrize(("x", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (-0.0, "0")])
def test_special_doubles_are_written(x: float, text: str) -> None:
    assert write(x) == text


@PROPERTY
@given(st.integers(-(2**63), 2**63 - 1))
@example(-(2**63))
@example(2**63 - 1)
@example(0)
def test_an_integer_is_written_in_decimal(x: int) -> None:
    out = np.zeros(MAX_BYTES, np.uint8)
    assert bytes(out[: _write_integer(x, out.ctypes.data)]).decode() == str(x)


@PROPERTY
@given(st.integers(0, 2**64 - 1))
@example(2**53)
@example(2**63)
def test_doubles_around_powers_of_two_are_written_as_python_writes_them(x: int) -> None:
    number = struct.unpack("<d", struct.pack("<Q", x & ~((1 << 52) - 1)))[0]
    if math.isfinite(number):
        for value in (number, math.nextafter(number, 0.0), math.nextafter(number, math.inf)):
            if math.isfinite(value) and value != 0:
                assert write(value) == repr(value).removesuffix(".0")
