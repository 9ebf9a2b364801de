from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.tfs.float_text import double_text, exact_texts, float_texts


def slow_text(value: Any) -> str:
    """The rule, one value at a time."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{float(value):.6g}"
    with np.errstate(over="ignore"):
        if type(value)(text) != value:
            text = f"{float(value):.{9 if isinstance(value, np.float32) else 17}g}"
    return text if "." in text or "e" in text else text + ".0"


@settings(max_examples=100)
@given(st.lists(st.floats(width=32), max_size=20))
def test_float32_texts_follow_the_rule(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert float_texts(array) == exact_texts(array) == [slow_text(value) for value in array]


@settings(max_examples=100)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_every_float32_bit_pattern_reads_back(bits: list[int]) -> None:
    array = np.array(bits, np.uint32).view(np.float32)
    texts = float_texts(array)
    assert texts == [slow_text(value) for value in array]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(np.array([float(text) for text in texts]).astype(np.float32), array)


@settings(max_examples=100)
@given(st.lists(st.floats(), max_size=20))
def test_float64_texts_follow_the_rule(values: list[float]) -> None:
    array = np.array(values, np.float64)
    assert float_texts(array) == [slow_text(value) for value in array] == [double_text(value) for value in values]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(-10_000_000, 10_000_000), st.integers(-12, 12)), min_size=1, max_size=20))
def test_short_decimals_follow_the_rule(parts: list[tuple[int, int]]) -> None:
    array = np.array([float(f"{digits}e{exponent}") for digits, exponent in parts], np.float32)
    assert float_texts(array) == [slow_text(value) for value in array]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3.0"),
        (-0.0, "-0.0"),
        (999999.0, "999999.0"),
        (9000000.0, "9e+06"),
        (0.00003, "3e-05"),
        (0.2, "0.2"),
        (1435774336.0, "1.43577434e+09"),
        (555557.5, "555557.5"),
        (1e-45, "1.4013e-45"),
    ],
)
def test_known_values_have_their_text(value: float, text: str) -> None:
    assert float_texts(np.array([value], np.float32)) == [text]
