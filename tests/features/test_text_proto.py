"""Protobuf text format, held to the reader of the protobuf library on a schema of its own."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2, text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.features.text_proto import parse


def test_fields_hold_the_lists_of_their_values() -> None:
    text = """
    # a comment
    a { b: "x" b: 'y'; c <d: 1, e: -2.5e3>, f: [1, 2.5, 0x1F] }
    a: { g: SUM h: true i: "one " "two" # and another
         j: -inf k: 1.5f l: [] m: [{n: 1}, {n: 2}] [some.extension]: 3 }
    """
    first = {"b": ["x", "y"], "c": [{"d": [1], "e": [-2500.0]}], "f": [1, 2.5, 31]}
    second = {"g": ["SUM"], "h": [True], "i": ["one two"], "j": [float("-inf")], "k": [1.5], "l": []}
    assert parse(text) == {"a": [first, {**second, "m": [{"n": [1]}, {"n": [2]}], "[some.extension]": [3]}]}
    assert parse("") == {}


def test_texts_side_by_side_are_one_unless_a_comma_parts_them() -> None:
    assert parse("a: ['x' 'y', 'z'] b: 'u'\n'v', c: 1; d: 2") == {"a": ["xy", "z"], "b": ["uv"], "c": [1], "d": [2]}


def test_escapes_are_bytes() -> None:
    assert parse(r"a: '\x1d\035\n\\\"\'\u00e9é\303\251'") == {"a": ["\x1d\x1d\n\\\"'\u00e9\u00e9\u00e9"]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a {\n b: 1\n", "line 3: a field name is wanted, not 'the end'"),
        ("a: }", "line 1: a value is wanted, not '}'"),
        ("a 1", "line 1: a colon or a message is wanted"),
        ("\n\na: %", "line 3: cannot read '%'"),
        ('a: "x', "line 1: cannot read '\"x'"),
        ("a: 1 }", "line 1: a field name is wanted, not '}'"),
        ("a: [1", "line 1: a value is wanted, not 'the end'"),
        ("a: ,", "line 1: a value is wanted, not ','"),
        ("a: 1.2.3", "line 1: cannot read '1.2.3'"),
        ("a{" * 200, "line 1: messages are nested more than 100 deep"),
    ],
)
def test_what_is_no_protobuf_text_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert problem in str(caught.value)


VALUES = st.recursive(
    st.one_of(st.text(max_size=8).filter(lambda x: "\x00" not in x), st.booleans(), st.integers(-9, 9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc\n\"'\\é", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def _struct(message: Any) -> dict[str, Any]:
    entries = message.get("fields", [])
    return {entry.get("key", [""])[0]: _value(entry["value"][0]) for entry in entries}


def _value(message: Any) -> Any:
    if "struct_value" in message:
        return _struct(message["struct_value"][0])
    if "list_value" in message:
        return [_value(part) for part in message["list_value"][0].get("values", [])]
    return next(iter(message.values()))[0]


@settings(max_examples=80, deadline=None)
@given(content=st.dictionaries(st.text("ab", max_size=2), VALUES, max_size=3), as_utf8=st.booleans())
def test_what_the_protobuf_library_writes_is_read_as_it_meant(content: dict[str, Any], as_utf8: bool) -> None:
    struct = json_format.ParseDict(content, struct_pb2.Struct())
    assert _struct(parse(text_format.MessageToString(struct, as_utf8=as_utf8))) == content
