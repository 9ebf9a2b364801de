from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recserve.candidates import read_candidates, read_inline_items
from recserve.errors import RequestError


@pytest.mark.parametrize("ids", [["a", "b", "c"], pa.array(["a", "b", "c"]), np.array(["a", "b", "c"])])
def test_ids_come_as_list_array_or_arrow(ids: Any) -> None:
    listed = read_candidates(ids, ())
    assert listed.pick(np.array([2, 0])) == ["c", "a"]
    assert listed.leave_out(np.array([0, 2])) == ["b"]
    assert listed.leave_out(np.array([0, 1, 2])) == []


@pytest.mark.parametrize("prices", [[1, 2, 3], np.array([1, 2, 3]), pa.array([1, 2, 3])])
def test_columns_follow_their_candidates(prices: Any) -> None:
    listed = read_candidates({"item_id": [7, 8, 9], "price": prices}, ("price", "rank"))
    part = listed.columns_at(np.array([0, 2]))
    assert list(np.asarray(part["price"])) == [1, 3]
    assert part["rank"] == [None]
    assert listed.columns_at(np.arange(3)) is listed.columns


def test_rows_of_numbers_follow_their_candidates() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    part = read_candidates({"item_id": [7, 8, 9], "x": rows}, ("x",)).columns_at(np.array([0, 2]))
    assert part["x"].tolist() == [[0.0, 1.0], [4.0, 5.0]]


def fails(candidates: Any, wanted: tuple[str, ...] = ()) -> str:
    with pytest.raises(RequestError) as caught:
        read_candidates(candidates, wanted)
    return str(caught.value)


def test_what_is_wrong_is_said() -> None:
    assert fails([]) == "candidates: there are no candidates. Send at least one item id"
    assert fails("abc") == "candidates: expected a list of item ids, got 'abc'"
    assert fails(7) == "candidates: expected a list of item ids, got 7"
    assert fails({"x": [1]}) == "candidates: there is no column 'item_id'"
    assert fails({"itemid": [1]}) == "candidates: there is no column 'item_id'. Did you mean 'itemid'?"
    assert fails({"item_id": {"a": 1}}) == "candidates.item_id: expected a list of item ids, got an object"
    columns = {"item_id": [1, 2], "price": [1]}
    assert fails(columns, ("price",)) == "candidates.price: expected 2 cells, one for each candidate, got 1"
    assert fails({"item_id": [1, 2], "price": 3}, ("price",)).endswith("one for each candidate, got 3")
    assert fails({"item_id": [1, 2], "price": "ab"}, ("price",)).endswith("one for each candidate, got 'ab'")


def test_inline_items_are_matched_by_the_text_of_their_id() -> None:
    listed = read_candidates([1, 2, 1], ())
    inline = read_inline_items({"1": {"price": 5}}, listed, ("price", "brand"))
    assert inline.positions.tolist() == [0, 2]
    assert inline.columns == {"price": [5, 5], "brand": [None, None]}


def test_inline_items_of_another_form_are_refused() -> None:
    listed = read_candidates([1], ())
    with pytest.raises(RequestError, match=r"items: expected an object of items by id, got \[1\]"):
        read_inline_items([1], listed, ())
    with pytest.raises(RequestError, match=r"items\['a'\]: expected an object of columns, got 3"):
        read_inline_items({"a": 3}, listed, ())
