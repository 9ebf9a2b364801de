from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.json_parser import MAX_DEPTH, parse_exactly

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@settings(max_examples=100)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_plain_json_is_read_as_the_standard_library_reads_it(value: Any, is_ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent)
    assert same(parse_exactly(text.encode()), json.loads(text))


@settings(max_examples=100)
@given(st.binary(max_size=40) | st.text('[]{}":,0123456789.eE+-truefalsnNaIify\\ u', max_size=30).map(str.encode))
def test_any_bytes_are_read_or_refused_with_an_offset(body: bytes) -> None:
    refusal = "JSON Parse error: "
    try:
        parse_exactly(body)
    except WireError as error:
        refusal = error.message
    assert refusal.startswith("JSON Parse error: ")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"NaN", math.nan),
        (b"[Infinity, -Infinity, Inf, -Inf]", [math.inf, -math.inf, math.inf, -math.inf]),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1} {', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 1}),
        (b'"\xff"', "\udcff"),
        (b'"\\u00e9\\ud83d\\ude00\\n"', "é😀\n"),
        (b"18446744073709551616", 2.0**64),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775809", -(2.0**63)),
        (b"1.0", 1.0),
        (b"1e2", 100.0),
        (b"-0", 0),
    ],
)
def test_what_goes_beyond_plain_json_is_read(body: bytes, value: Any) -> None:
    read = parse_exactly(body)
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b" \n", "The document is empty. at offset: 2"),
        (b"instances", "Invalid value. at offset: 0"),
        (b"[nan]", "Invalid value. at offset: 1"),
        (b"[1,]", "Invalid value. at offset: 3"),
        (b"-", "Invalid value. at offset: 1"),
        (b"[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
        (b'{"a":1 "b"', "Missing a comma or } after an object member. at offset: 7"),
        (b"{'a'", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1', "Missing a colon after a name of object member. at offset: 5"),
        (b'["a', "Missing a closing quotation mark in string. at offset: 1"),
        (b'["\n"]', "Invalid encoding in string. at offset: 2"),
        (b'["\\q"]', "Invalid escape character in string. at offset: 2"),
        (b'["\\u12g4"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
        (b'["\\ud800"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b"[1.]", "Miss fraction part in number. at offset: 3"),
        (b"[1e]", "Miss exponent in number. at offset: 3"),
        (b"[1e400]", "Number too big to be stored in double. at offset: 1"),
        (b"[" * 5000, "Invalid value. at offset: 5000"),
    ],
)
def test_what_is_no_json_is_refused_with_its_offset(body: bytes, message: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_exactly(body)
    assert caught.value.message == f"JSON Parse error: {message}"


def test_deep_nesting_is_checked_and_not_kept() -> None:
    value = parse_exactly(b"[" * 20_000 + b'{"a": [1]}' + b"]" * 20_000)
    depth = 0
    while value:
        (value,) = value
        depth += 1
    assert depth == MAX_DEPTH
    with pytest.raises(WireError, match="Missing a comma or ]"):
        parse_exactly(b"[" * 2000 + b"1}" + b"]" * 2000)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 600), st.sampled_from(["[]", "[ ]", "[\n", "{}", "[{"])), max_size=6),
    st.integers(-3, 3),
)
def test_runs_of_brackets_are_checked_like_single_ones(runs: list[tuple[int, str]], surplus: int) -> None:
    opening = "".join("".join('{"a":' if mark == "{" else mark for mark in kind[0]) * count for count, kind in runs)
    brackets = [mark for mark in opening if mark in "[{"]
    closing = [{"[": "]", "{": "}"}[mark] for mark in reversed(brackets)]
    text = opening + "1" + " ".join(closing[: len(closing) + min(surplus, 0)])
    if surplus < 0 and brackets:
        with pytest.raises(WireError, match="Missing a comma or "):
            parse_exactly(text.encode())
    else:
        parse_exactly(text.encode())
        if brackets:
            wrong = "}" if closing[-1] == "]" else "]"
            with pytest.raises(WireError, match="Missing a comma or "):
                parse_exactly((text[:-1] + wrong).encode())
