from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import DataError, RequestError
from recserve.serving.candidates import parse_candidates, parse_inline_items, row_of

FORMS = 'Give ["id", ...], [{"item_id": "id", ...}, ...] or {"item_id": ["id", ...], ...}.'


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The slow twin: objects to columns, one cell at a time."""
    names = {name for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}


cells = st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3), st.lists(st.integers(0, 3), max_size=2))
rows = st.lists(
    st.builds(
        lambda key, rest: {"item_id": key, **rest},
        st.integers(0, 9).map(str),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), cells),
    ),
    min_size=1,
    max_size=6,
)


@given(rows)
def test_objects_become_the_columns_of_their_slow_twin(rows: list[dict[str, Any]]) -> None:
    assert parse_candidates(rows, 10) == columns_of(rows)


@given(rows)
def test_objects_and_columns_are_the_same_request(rows: list[dict[str, Any]]) -> None:
    columns = columns_of(rows)
    assert parse_candidates(columns, 10) == parse_candidates(rows, 10)


def test_a_column_of_rows_may_be_an_array() -> None:
    rows = np.array([[0.5, 1.5], [2.5, 3.5]], np.float32)
    candidates: Any = parse_candidates({"item_id": np.array([7, 8]), "x": rows, "y": [1, None]}, 10)
    assert candidates["x"] is rows
    assert repr(candidates["item_id"]) == "[7, 8]"
    assert row_of(candidates, 1) == {"item_id": 8, "x": [2.5, 3.5], "y": None}
    assert row_of(["a", "b"], 1) == {}
    with pytest.raises(DataError, match="2 values for 1 candidates"):
        parse_candidates({"item_id": ["a"], "x": rows}, 10)
    with pytest.raises(DataError, match="expected an item id"):
        parse_candidates({"item_id": rows}, 10)


@pytest.mark.parametrize("ids", [["a", "b", "a"], [3, 1, -4], [2**63 - 1, -(2**63)]])
def test_ids_stay_as_they_are_with_their_duplicates(ids: list[Any]) -> None:
    assert parse_candidates(ids, 10) is ids


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, f"$.candidates: expected a list or an object, got null. {FORMS}"),
        ("a", f"$.candidates: expected a list or an object, got a string. {FORMS}"),
        ([], f"$.candidates: no candidates. {FORMS}"),
        ({"item_id": []}, f"$.candidates: no candidates. {FORMS}"),
        (
            ["a"] * 11,
            "$.candidates: 11 candidates, the limit is 10. Split the request, or raise --max-candidates.",
        ),
    ],
)
def test_a_wrong_candidate_list_is_a_request_error(value: object, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_candidates(value, 10)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a", None], "$.candidates[1]: expected an item id (string or integer), got null"),
        ([1, True], "$.candidates[1]: expected an item id (string or integer), got a boolean (True)"),
        ([1, 1e30], "$.candidates[1]: expected an item id (string or integer), got a number (1e+30)"),
        ([["a"]], "$.candidates[0]: expected an item id (string or integer), got a list"),
        (["a", 1], "$.candidates[1]: expected a string like the first candidate, got an integer"),
        ([1, 2**63], "$.candidates[1]: 9223372036854775808 is beyond int64"),
        (["a", {"item_id": "b"}], "$.candidates[1]: expected an item id (string or integer), got an object"),
        (
            [{"item_id": "b"}, "a"],
            f"$.candidates[1]: expected an object like the first candidate, got a string. {FORMS}",
        ),
        ([{"itemid": "b"}], "$.candidates: no 'item_id' among the columns. Rename 'itemid'."),
        ([{"x": 1}], f"$.candidates: no 'item_id' among the columns. {FORMS}"),
        ({}, f"$.candidates: no 'item_id' among the columns. {FORMS}"),
        (
            [{"item_id": "b"}, {"x": 1}],
            "$.candidates[1].item_id: expected an item id (string or integer), got null",
        ),
        ({"item_id": "b"}, "$.candidates.item_id: expected a list with one value per candidate, got a string"),
        (
            {"item_id": ["b"], "x": 1.5},
            "$.candidates.x: expected a list with one value per candidate, got a number",
        ),
        (
            {"item_id": ["a", "b"], "x": [1]},
            "$.candidates.x: 1 values for 2 candidates. Give one value per candidate; null where there is none.",
        ),
        ({"item_id": ["a", 2]}, "$.candidates.item_id[1]: expected a string like the first candidate, got an integer"),
    ],
)
def test_a_wrong_candidate_is_a_data_error(value: object, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_candidates(value, 10)
    assert str(caught.value) == message


def test_inline_items_have_ids_of_the_type_of_the_candidates() -> None:
    items = {"1": {"price": 2.5}, "2": {}}
    assert parse_inline_items(items, ["1", "3"]) == items
    assert parse_inline_items(items, [1, 3]) == {1: {"price": 2.5}, 2: {}}
    assert parse_inline_items(items, {"item_id": [1]}) == {1: {"price": 2.5}, 2: {}}
    assert parse_inline_items(None, [1]) is None


@pytest.mark.parametrize("key", ["1_0", " 2", "02", "+3", "１", "9223372036854775808", "9" * 5000, ""])
def test_only_the_plain_form_of_an_integer_is_an_id(key: str) -> None:
    with pytest.raises(DataError, match="expected an integer id"):
        parse_inline_items({"1": {}, key: {}}, [1])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], '$.items: expected an object, got a list. Give {"id": {"column": value, ...}, ...}.'),
        ({"1": 2}, '$.items[\'1\']: expected an object, got an integer. Give {"id": {"column": value, ...}, ...}.'),
        ({"x": {}}, "$.items: expected an integer id, got 'x'. The candidates of this request are integers."),
    ],
)
def test_wrong_inline_items_are_refused(value: object, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_inline_items(value, [1])
    assert str(caught.value) == message
