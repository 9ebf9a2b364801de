"""Rows of numbers of a JSON rank request: arrays hold what the JSON parser's lists would."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import RecserveError
from recserve.serving.json_rows import read_rows
from recserve.serving.messages import Limits, decode_rank

PADDING = " " * 4096
LIMITS = Limits()


def padded(text: str) -> bytes:
    return (text + PADDING).encode()


def listed(value: Any) -> Any:
    """The value with lists for arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return {name: listed(part) for name, part in value.items()} if isinstance(value, dict) else value


NUMBERS = st.one_of(
    st.integers(-9, 9).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.sampled_from(["-0", "0.0", "-0.0", "1e400", "9223372036854775808", "1E2", "01", "null", "NaN", '"[["', "[1]"]),
)


@st.composite
def rows(draw: st.DrawFn) -> str:
    """A list of lists: mostly of one width and one kind of number."""
    kind = draw(st.sampled_from([NUMBERS, st.integers(-9, 9).map(str), st.floats(0, 1).map(str), st.just("0.25")]))
    width = draw(st.integers(0, 30))
    widths = [width if draw(st.integers(0, 30)) else draw(st.integers(0, 3)) for _ in range(draw(st.integers(1, 6)))]
    return "[" + ",".join("[" + ", ".join(draw(kind) for _ in range(width)) + "]" for width in widths) + "]"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    names = st.sampled_from(["item_id", "a", "b", "c"])
    cells = st.one_of(rows(), st.lists(st.integers(0, 10**9), max_size=30).map(str), st.sampled_from(["1", '["a"]']))

    def entries(place: str) -> str:
        pairs = draw(st.lists(st.tuples(names, cells), max_size=3))
        return f'"{place}": {{' + ", ".join(f'"{name}":{cell}' for name, cell in pairs) + "}"

    parts = [entries("user"), entries("candidates"), '"items": {' + entries("x") + "}", '"top_k": ' + draw(cells)]
    return padded("{" + ", ".join(draw(st.permutations(parts))) + "}")


@settings(max_examples=100)
@given(bodies())
def test_a_document_is_the_one_of_the_json_parser(body: bytes) -> None:
    found = read_rows(body)
    if found is None:
        return
    expected = orjson.loads(body)
    assert repr(listed(found)) == repr(expected)
    for part, value in found.items():
        for name, cells in value.items() if isinstance(value, dict) else ():
            if isinstance(cells, np.ndarray):
                kinds = {type(number) for row in expected[part][name] for number in row}
                assert part == "candidates"
                assert cells.ndim == 2
                assert cells.dtype == {int: np.int64, float: np.float64}[kinds.pop()]
                assert not kinds


def ask(**columns: Any) -> bytes:
    count = len(next(iter(columns.values())))
    return padded(json.dumps({"user": {"v": [0.5] * 40}, "candidates": {"item_id": list(range(count)), **columns}}))


def test_columns_of_rows_of_numbers_become_arrays_and_all_else_stays_lists() -> None:
    floats, integers = [[0.5, 1.5] * 9, [2.5, 3.5] * 9], [[1, 2] * 20, [3, 4] * 20]
    body = ask(floats=floats, integers=integers, texts=[["a"], ["b"]], deep=[[[1.5] * 30], [[2.5] * 30]], n=[0.5, 1.5])
    call = decode_rank(body, LIMITS)
    columns: Any = call.candidates
    assert (columns["floats"].dtype, columns["integers"].dtype) == (np.float64, np.int64)
    assert (columns["floats"].tolist(), columns["integers"].tolist()) == (floats, integers)
    assert (columns["item_id"], columns["texts"], columns["n"]) == ([0, 1], [["a"], ["b"]], [0.5, 1.5])
    assert columns["deep"] == [[[1.5] * 30], [[2.5] * 30]]
    assert call.user == {"v": [0.5] * 40}


@pytest.mark.parametrize(
    "rows",
    [
        [[0.5] * 30, [1] * 30],  # an integer stays one in the record
        [[0.5] * 30, [0.5] * 29],
        [[0.5] * 30, None],
        [[0.5] * 29 + [None]],
    ],
)
def test_rows_that_no_array_holds_stay_lists(rows: list[Any]) -> None:
    columns: Any = decode_rank(ask(rows=rows), LIMITS).candidates
    assert repr(columns["rows"]) == repr(rows)


@pytest.mark.parametrize(
    "body",
    [
        b'{"candidates": {"item_id": [[1]]}}',
        padded('{"candidates": {"item_id": [1], "x": [[' + "0.5, " * 30 + "NaN]]}}"),
        padded("[[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]]"),
        padded('{"x": [[' + "0.5, " * 30 + "0.5]]"),
        padded('{"x": [[' + "0.5, " * 30 + '0.5]], "y": [{"z": 1.5}, {"z": 2.5}, {"z": 1.5}, {"z": 2.5}, {"z": 1.5}]}'),
        padded('{"x": [["a"]]}'),
        padded('{"deep": {"er": {"x": [[' + "0.5, " * 30 + "0.5]]}}}"),
        padded('{"x": {"y": [[' + "0.5, " * 30 + '0.5]], "y": [[' + "0.5, " * 30 + "0.5]]}}"),
    ],
)
def test_other_bodies_are_left_to_the_json_parser(body: bytes) -> None:
    assert read_rows(body) is None


@settings(max_examples=100)
@given(bodies())
def test_a_request_is_read_or_refused_as_from_the_lists(body: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recserve.serving.messages.read_rows", lambda _: None)
        expected = outcome(body)
    assert outcome(body) == expected


def outcome(body: bytes) -> str:
    try:
        call = decode_rank(body, LIMITS)
    except RecserveError as error:
        return repr(error)
    return repr((call.user, listed(call.candidates), call.items, call.top_k))
