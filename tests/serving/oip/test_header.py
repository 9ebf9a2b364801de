from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.oip.header import read_json_length


@pytest.mark.parametrize(("value", "length"), [(None, 50), ("0", 0), ("50", 50), (" 7 ", 7), ("+7", 7)])
def test_a_header_says_how_long_the_json_is(value: str | None, length: int) -> None:
    assert read_json_length(value, 50) == length


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("abc", "Unable to parse Inference-Header-Content-Length, got: abc"),
        ("", "Unable to parse Inference-Header-Content-Length, got: "),
        ("5x", "Unable to parse Inference-Header-Content-Length, got: 5x"),
        ("1.5", "Unable to parse Inference-Header-Content-Length, got: 1.5"),
        ("٣", "Unable to parse Inference-Header-Content-Length, got: ٣"),
        ("99999999999", "value is out of range [ -2147483648, 2147483647 ], got: 99999999999"),
        ("9" * 10_000, "value is out of range [ -2147483648, 2147483647 ], got: 999"),
        ("-1", "inference header size should be in range (0, 50), got: -1"),
        ("51", "inference header size should be in range (0, 50), got: 51"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(value: str, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_json_length(value, 50)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=30), st.integers(0, 2**40))
def test_any_header_is_within_the_body_or_refused(value: str, body_bytes: int) -> None:
    with contextlib.suppress(RequestError):
        assert 0 <= read_json_length(value, body_bytes) <= body_bytes
