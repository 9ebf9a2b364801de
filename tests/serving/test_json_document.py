from __future__ import annotations

import contextlib
import gc
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.serving.json_document import MAX_DEPTH, JsonError, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_a_text_reads_as_the_standard_library_reads_it(value: Any) -> None:
    text = json.dumps(value)
    assert read_json(text.encode()) == json.loads(text)


def test_tokens_of_numbers_that_are_none_are_read() -> None:
    found = read_json(b'{"a": [NaN, Infinity, -Infinity, 1]}')["a"]
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, 1]


@given(st.integers(1100, 1500), VALUES)
def test_what_lies_too_deep_reads_as_empty(depth: int, value: Any) -> None:
    around = json.dumps({"before": value, "deep": "?", "after": [value, "]]}{", '"\\"]']})
    text = around.replace('"?"', "[" * depth + "7" + "]" * depth)
    found = read_json(text.encode())
    deep, levels = found.pop("deep"), 0
    while isinstance(deep, list) and deep:
        deep, levels = deep[0], levels + 1
    assert levels <= MAX_DEPTH
    assert deep in (7, [])
    assert found == {"before": value, "after": [value, "]]}{", '"\\"]']}


def test_a_quarter_of_a_million_lists_are_no_problem() -> None:
    text = b'{"ready":' + b"[" * 250_000 + b"true" + b"]" * 250_000 + b"}"
    assert isinstance(read_json(text)["ready"], list)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "The document is empty"),
        (b"{bad", "at 1"),
        (b"[1, NaN", "at 7"),
        (b'{"a": "\xff"}', "Invalid encoding in string. at 7"),
        (b"[" * 100_000, "Missing a comma or ] or } after an array or object. at 100000"),
        (b"]" * 1000, "at 0"),
        (b"[" * 300 + b"]" * 300 + b",", "Extra data"),
    ],
)
def test_what_is_no_json_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(JsonError) as caught:
        read_json(text)
    assert "failed to parse the request JSON buffer: " in str(caught.value)
    assert reason in str(caught.value)


@given(st.binary(max_size=60) | st.text('[]{}",:NaIfinty01-. \\', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    with contextlib.suppress(JsonError):
        read_json(text)


def test_a_deep_text_with_a_string_that_never_ends_is_refused_in_linear_time() -> None:
    for rest in (b'"' + b'\\"' * 200_000, b'"\\' * 200_001, b'"' + b"x" * 400_000 + b"\\"):
        with pytest.raises(JsonError):
            read_json(b"[" * 300 + rest)


def test_the_collector_is_as_it_was_after_a_large_text() -> None:
    large = b"[" + b"[]," * 50_000 + b"[]]"
    assert gc.isenabled()
    assert len(read_json(large)) == 50_001
    assert gc.isenabled()
    with pytest.raises(JsonError):
        read_json(large[:-1])
    assert gc.isenabled()
    gc.disable()
    try:
        read_json(large)
        assert not gc.isenabled()
    finally:
        gc.enable()
