from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.json_tensors.kernels import layout
from recserve.serving.json_tensors.lift import MIN_BODY_BYTES, Lifted, lift

PADDING = " " * MIN_BODY_BYTES


def padded(text: str) -> bytes:
    return (text + PADDING).encode()


def put_back(lifted: Lifted, value: Any) -> Any:
    """The parsed rest with lists in the places of the blocks."""
    if block := lifted.take(value):
        columns = {name: numbers.tolist() for name, numbers in block.columns.items()}
        if not block.is_table:
            return columns[""]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(value, list):
        return [put_back(lifted, part) for part in value]
    if isinstance(value, dict):
        return {name: put_back(lifted, part) for name, part in value.items()}
    return value


def is_same(got: Any, expected: Any) -> bool:
    """Whether a value is what was expected; among floats, an integer is the nearest float."""
    if isinstance(expected, dict):
        return (
            isinstance(got, dict) and got.keys() == expected.keys() and all(is_same(got[k], expected[k]) for k in got)
        )
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(is_same, got, expected))
    if isinstance(got, float) and type(expected) is int:
        expected = float(expected)
    return repr(got) == repr(expected)


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(-1000, 1000).map(str),
    st.floats(allow_nan=False).map(json.dumps),
    st.floats(width=32, allow_nan=False).map(json.dumps),
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?\Z"),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-0", "0.0", "-0.0", "1e400", "9223372036854775808", "0e999"]),
)
SPACES = st.sampled_from(["", "", "", " ", "\n\t ", "\r"])


@st.composite
def regular_lists(draw: st.DrawFn) -> str:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    kinds = draw(st.sampled_from([NUMBERS, st.integers(-9, 9).map(str), st.floats(0, 1).map(str)]))

    def make(axis: int) -> str:
        if axis == len(shape):
            return draw(SPACES) + draw(kinds) + draw(SPACES)
        return draw(SPACES) + "[" + ",".join(make(axis + 1) for _ in range(shape[axis])) + "]" + draw(SPACES)

    return make(0)


@st.composite
def tables(draw: st.DrawFn) -> str:
    keys = draw(st.lists(st.sampled_from(["a", "b", "c d", "e\\n", "é", "b64"]), min_size=1, max_size=3, unique=True))
    shapes = [draw(st.sampled_from([(), (2,), (2, 3)])) for _ in keys]
    rows = draw(st.integers(1, 5))

    def make(shape: tuple[int, ...]) -> str:
        if not shape:
            return draw(NUMBERS)
        return "[" + ",".join(make(shape[1:]) for _ in range(shape[0])) + "]"

    def row() -> str:
        return (
            "{"
            + ",".join(f'"{k}"{draw(SPACES)}:{draw(SPACES)}{make(s)}' for k, s in zip(keys, shapes, strict=True))
            + "}"
        )

    return "[" + f"{draw(SPACES)},".join(row() for _ in range(rows)) + "]"


VALUES = st.recursive(
    regular_lists() | tables() | NUMBERS | st.sampled_from(["true", "null", '"a"', '"[1,2]"', '"\\"["', "[]", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
        | st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda parts: "{" + ",".join(f'"{key}":{part}' for key, part in parts) + "}"
        )
    ),
    max_leaves=6,
)


def check(text: str) -> None:
    lifted = lift(padded(text))
    if lifted is None:
        return
    expected = json.loads(text)
    got = put_back(lifted, json.loads(lifted.rest))
    assert lifted.is_used_up
    assert is_same(got, expected)


@settings(max_examples=100)
@given(VALUES)
def test_the_rest_with_its_blocks_is_the_document(text: str) -> None:
    check(text)


@settings(max_examples=100)
@given(VALUES, st.data())
def test_the_rest_is_json_exactly_where_the_body_is(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    change = data.draw(
        st.sampled_from(["", ",", "]", "[", "{", "}", '"', "1", ".", "-", "e", "x", " ", "\\", "+", "0", "\x00"])
    )
    text = text[:place] + change + text[place + data.draw(st.integers(0, 2)) :]
    lifted = lift(padded(text))
    try:
        expected = json.loads(text)
    except ValueError:
        if lifted is not None:
            with pytest.raises(ValueError, match=r"."):
                json.loads(lifted.rest)
        return
    if lifted is not None:
        assert is_same(put_back(lifted, json.loads(lifted.rest)), expected)


@settings(max_examples=100)
@given(st.lists(NUMBERS, min_size=1, max_size=30), st.sampled_from(["", "1", "1.5"]))
def test_numbers_are_what_float_and_int_make_of_them(texts: list[str], more: str) -> None:
    texts = texts + [more] * bool(more)
    values = [json.loads(text) for text in texts]
    lifted = lift(padded("[" + ",".join(texts + texts + ["1"] * layout.MIN_BLOCK_BYTES) + "]"))
    beyond = any(isinstance(v, int) and not -(2**63) <= v < 2**63 for v in values)
    infinite = any(
        isinstance(v, float) and abs(v) == np.inf and "I" not in t for v, t in zip(values, texts, strict=True)
    )
    assert (lifted is None) == (beyond or infinite)
    if lifted is not None:
        numbers = lifted.blocks[0].columns[""]
        assert numbers.dtype == (np.float64 if float in map(type, values) else np.int64)
        expected = np.array(values, numbers.dtype)
        np.testing.assert_array_equal(numbers[: len(values)], expected)
        if numbers.dtype == np.float64:
            np.testing.assert_array_equal(np.signbit(numbers[: len(values)]), np.signbit(expected))


HARD = [
    "2.2250738585072011e-308",
    "2.2250738585072012e-308",
    "6.6312368714695828e-320",
    "3e-324",
    "7e-324",
    "1e-323",
    "4.9406564584124654e-324",
    "2.4703282292062327208e-324",
    "2.4703282292062328e-324",
    "1.7976931348623157e308",
    "1.7976931348623158079e308",
    "9007199254740993.0",
    "9007199254740992.99999999999999999999999999999999999999999999",
    "0." + "0" * 300 + "1" + "5" * 500,
    "1." + "0" * 15 + "1110223024625156540423631668090820312500000000000000000000000000001",
    "1.00000000000000011102230246251565404236316680908203125",
    "1.00000000000000033306690738754696212708950042724609375",
    "123456789012345678901234567890e-30",
    "1e-400",
    "1" * 700 + "e-690",
    "8.5e22",
    "9007199254740991e22",
    "9007199254740993e22",
]


@pytest.mark.parametrize("text", HARD)
def test_hard_numbers_are_rounded_once(text: str) -> None:
    lifted = lift(padded("[" + ",".join([text, "-" + text, "0.5"] * 20) + "]"))
    assert lifted is not None
    assert lifted.blocks[0].columns[""][:2].tolist() == [float(text), -float(text)]


@settings(max_examples=100)
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0), st.integers(17, 60))
def test_midpoints_of_neighbours_are_rounded_to_even(value: float, digits: int) -> None:
    above = math.nextafter(value, math.inf)
    if above == math.inf:
        return
    middle = (Fraction(value) + Fraction(above)) / 2
    power = len(str(middle.denominator)) + 800
    whole = str(middle.numerator * 10**power // middle.denominator)
    texts = [f"{whole}e-{power}", f"{whole[:digits]}e{len(whole) - digits - power}", f"{whole}1e-{power + 1}"]
    lifted = lift(padded("[" + ",".join([*texts, "0.5"] * 3) + "]"))
    assert lifted is not None
    assert lifted.blocks[0].columns[""][:3].tolist() == list(map(float, texts))


def test_rows_of_objects_are_columns() -> None:
    rows = [{"x": [n, n + 0.5], "y": n} for n in range(40)]
    lifted = lift(padded(json.dumps({"instances": rows})))
    assert lifted is not None
    (block,) = lifted.blocks
    assert block.is_table
    assert block.columns["x"].tolist() == [row["x"] for row in rows]
    assert block.columns["y"].tolist() == list(range(40))
    assert block.columns["y"].dtype == np.int64


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, 2, 3]}',
        "[" * 300_000,
        "[" * 300_000 + "]" * 300_000,
        '[{"a":' * 100_000,
        '"' + "\\" * 100_001,
        '{"a": "' + "[1,2]," * 1000 + '"}',
        "[" + ",".join(['{"a":1,"a":2}'] * 10) + "]",
        "[" + "1," * 100 + "true]",
        "[" + "[1,2,3],[1,2]," * 100 + "[1]]",
        '[{"a":1},{"b":1},{"a":2},{"a":2},{"a":2},{"a":2},{"a":2},{"a":2},{"a":2}]',
        "",
    ],
)
def test_what_has_no_regular_numbers_is_left_alone(text: str) -> None:
    assert lift(padded(text)) is None


def test_a_short_body_is_left_alone() -> None:
    assert lift(b"[" + b"1," * 100 + b"1]") is None


def test_more_blocks_than_there_is_room_for_are_left_alone() -> None:
    numbers = "[" + "1," * layout.MIN_BLOCK_BYTES + "1]"
    few = lift(padded("{" + ",".join(f'"{n}":{numbers}' for n in range(layout.MAX_BLOCKS)) + "}"))
    assert few is not None
    assert len(few.blocks) == layout.MAX_BLOCKS
    assert lift(padded("{" + ",".join(f'"{n}":{numbers}' for n in range(layout.MAX_BLOCKS + 1)) + "}")) is None


def test_a_text_cannot_stand_for_a_block() -> None:
    lifted = lift(padded('{"a": [' + "1," * 100 + '1], "b": "0"}'))
    assert lifted is not None
    assert lifted.take("0") is None
    assert not lifted.is_used_up
    assert lifted.take(json.loads(lifted.rest)["a"]) is lifted.blocks[0]
    assert lifted.is_used_up


@pytest.mark.parametrize(
    ("numbers", "is_mixed"),
    [
        (["1", "2", "3", "4"], False),
        (["1.0", "2e0", "3.5", "-0.0"], False),
        (["1.5", "2", "3.5", "4.5"], True),
        (["1", "2.5", "3.5", "4.5"], True),
        (["1", "2", "3.5", "4.5"], True),
        (["1.5", "2.5", "3.5", "4"], True),
    ],
)
def test_a_block_tells_whether_integers_stand_among_its_floats(numbers: list[str], is_mixed: bool) -> None:
    a, b, c, d = (number.rjust(20) for number in numbers)
    for text in (f"[{a},{b},{c},{d}]", f"[[{a},{b}],[{c},{d}]]", f'[{{"x":[{a},{b}]}},{{"x":[{c},{d}]}}]'):
        lifted = lift(padded(f'{{"a": {text}}}'))
        assert lifted is not None
        assert [block.is_mixed for block in lifted.blocks] == [is_mixed]
