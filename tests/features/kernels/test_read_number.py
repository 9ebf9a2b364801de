"""Text to numbers against Python's float()."""

from __future__ import annotations

import math
import struct
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from recserve.features.kernels.read_number import read_number

PROPERTY = settings(max_examples=300, deadline=None)


@njit
def _read(address: int, size: int) -> Any:
    return read_number(address, size)


def read(text: str) -> float | None:
    """What the kernel reads, None if no number."""
    data = np.frombuffer(text.encode() + b"9", np.uint8)  # a digit beyond the end must not be read
    is_number, x = _read(data.ctypes.data, len(data) - 1)
    return x if is_number else None


def bits(x: float | None) -> bytes | None:
    return None if x is None else b"nan" if math.isnan(x) else struct.pack("<d", x)


def assert_reads_as_python(text: str) -> None:
    try:
        want: float | None = float(text)
    except ValueError:
        want = None
    assert bits(read(text)) == bits(want), text


DOUBLES = st.integers(0, 2**64 - 1).map(lambda x: struct.unpack("<d", struct.pack("<Q", x))[0])
FINITE = (DOUBLES | st.floats()).filter(math.isfinite)


@PROPERTY
@given(FINITE, st.sampled_from(["%r", "%.17g", "%.25e", "%.3f", "%.19g", "%+.15g", " %.1g\t", "%g.", "0000%.20f"]))
def test_a_formatted_double_is_read_as_python_reads_it(x: float, form: str) -> None:
    assert_reads_as_python(form % x)


@PROPERTY
@given(st.integers(0, 10**40), st.integers(-400, 400))
@example(9007199254740993, 0)
@example(1, -400)
@example(17976931348623158, 292)
@example(17976931348623159, 292)
@example(24703282292062327208, -343)
@example(49406564584124654, -340)
def test_digits_and_exponent_are_read_as_python_reads_them(digits: int, exponent: int) -> None:
    assert_reads_as_python(f"{digits}e{exponent}")
    assert_reads_as_python(f"-0.{digits:045d}e{exponent}")


@PROPERTY
@given(FINITE.map(abs).filter(lambda x: x < 1.7e308), st.sampled_from(["", "0" * 900, "0" * 900 + "1"]))
def test_the_midpoint_of_two_doubles_goes_to_the_even_one(x: float, tail: str) -> None:
    middle = (Fraction(x) + Fraction(math.nextafter(x, math.inf))) / 2
    with localcontext() as context:
        context.prec = 1200
        text = format(Decimal(middle.numerator) / Decimal(middle.denominator), "f")
    assert_reads_as_python((text if "." in text else text + ".") + tail)


@PROPERTY
@given(st.text("0123456789+-.eE infatyINF", max_size=12))
def test_other_text_is_no_number_where_python_has_none(text: str) -> None:
    assert_reads_as_python(text)


@pytest.mark.parametrize("text", ["1_000", "", " ", "0x1", "1e", "1e+", ".", "+", "--1", "1 2", "nanx", "infin", "١"])
def test_text_that_is_not_a_number_is_rejected(text: str) -> None:
    assert read(text) is None
