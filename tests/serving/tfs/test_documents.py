from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.tfs.documents import read_document
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.json_parser import parse_exactly


def object_text(members: list[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in members) + "}"


KEYS = st.sampled_from(["instances", "inputs", "a", "a:b", ":"])
LEAVES = st.sampled_from(
    [
        "1",
        "-1",
        "1.0",
        "1e400",
        "1e-400",
        "NaN",
        "Infinity",
        "-Inf",
        "Inf",
        "-NaN",
        '"Inf -NaN"',
        '"\\"Inf"',
        "true",
        "null",
        '"a:b"',
        '"\\ud800"',
        '"\\u003a"',
        "18446744073709551616",
        "9223372036854775808",
        "99999999999999999999999",
        "0.1",
        "1e308",
        '"é"',
        "-0",
    ]
)
TEXTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
        | st.lists(st.tuples(KEYS, inner), max_size=3).map(object_text)
    ),
    max_leaves=12,
)


def read(reader: Any, body: bytes) -> str:
    try:
        value = reader(body)
    except WireError as error:
        return error.message
    return repr(value if reader is parse_exactly else value.members)


@settings(max_examples=100)
@given(st.lists(st.tuples(KEYS, TEXTS), max_size=4).map(object_text), st.sampled_from(["", " ", "x", "{", "\x00"]))
def test_the_fast_readers_read_what_the_exact_one_reads(text: str, rest: str) -> None:
    body = (text + rest).encode()
    assert read(read_document, body) == read(parse_exactly, body)


@settings(max_examples=100)
@given(st.text('[]{}":,019.eE+-truNaInf\\ ', max_size=30).map(str.encode) | st.binary(max_size=20))
def test_any_bytes_are_read_alike(body: bytes) -> None:
    body = b'{"a":' + body + b"}"
    assert read(read_document, body) == read(parse_exactly, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[1.0, 2.0]", "JSON Value: [\n    1.0,\n    2.0\n] Is not object"),
        (b"7", "JSON Value: 7 Is not object"),
        (b'"' + b"x" * 10_000 + b'"', f'JSON Value: "{"x" * 255} Is not object'),
    ],
)
def test_a_document_is_an_object(body: bytes, message: str) -> None:
    with pytest.raises(WireError) as caught:
        read_document(body)
    assert caught.value.message == message


def test_true_and_false_are_told() -> None:
    assert read_document(b'{"a": true}').has_literals
    assert not read_document(b'{"a": 1}').has_literals


def test_a_large_body_is_read_like_a_small_one() -> None:
    numbers = b"1," * (1 << 20)
    for odd in (b"Inf", b"NaN", b"1e-400", b'"\xff"'):
        assert len(read_document(b'{"a": [' + numbers + odd + b"]}").members["a"]) == (1 << 20) + 1
    with pytest.raises(WireError) as caught:
        read_document(b'{"a": [' + numbers + b"Infx]}")
    assert caught.value.message.endswith(f"Missing a comma or ] after an array element. at offset: {10 + (2 << 20)}")


@pytest.mark.parametrize("depth", [100, 980, 1000, 1020, 1030, 3000])
def test_every_depth_is_read_alike(depth: int) -> None:
    body = b'{"a:b": ' + b"[" * depth + b"]" * depth + b"}"
    assert list(read_document(body).members) == ["a:b"]


def test_a_colon_in_a_text_is_no_key() -> None:
    assert read_document(b'{"a": "x:y", "b": 9223372036854775807}').members == {"a": "x:y", "b": 2**63 - 1}
