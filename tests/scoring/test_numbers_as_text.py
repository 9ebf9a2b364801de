"""Numbers as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.scoring.numbers_as_text import number_text, parse_boolean, parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), (" 2.50 ", 2.5), ("-.5", -0.5), ("3.", 3.0), ("1E3", 1000.0), ("+7", 7.0), ("Infinity", math.inf)],
)
def test_a_number_is_read(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["", "a", "1_000", "0x10", "1e", "--1", "1 2", "١"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert parse_number(text) is None


def test_booleans_are_read_in_any_case() -> None:
    assert [parse_boolean(text) for text in ("true", "FALSE", " 1", "0", "yes", "")] == [
        True,
        False,
        True,
        False,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("x", "shortest", "python", "java"),
    [
        (2.0, "2", "2.0", "2.0"),
        (2.5, "2.5", "2.5", "2.5"),
        (1e10, "10000000000", "10000000000.0", "1.0E10"),
        (1.5e-5, "1.5e-05", "1.5e-05", "1.5E-5"),
        (0.001, "0.001", "0.001", "0.001"),
        (12345678.9, "12345678.9", "12345678.9", "1.23456789E7"),
        (-0.00025, "-0.00025", "-0.00025", "-2.5E-4"),
        (math.inf, "inf", "inf", "Infinity"),
        (0.0, "0", "0.0", "0.0"),
    ],
)
def test_numbers_are_written_in_each_style(x: float, shortest: str, python: str, java: str) -> None:
    assert [number_text(x), number_text(x, "float"), number_text(x, "java")] == [shortest, python, java]


@given(st.floats(allow_nan=False), st.sampled_from(["shortest", "float", "java"]))
def test_what_is_written_is_read_again(x: float, style: str) -> None:
    assert parse_number(number_text(x, style)) == x
