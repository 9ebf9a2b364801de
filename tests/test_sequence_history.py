"""Histories of item ids, joined from the item store at a request: equal to columns that the request sends itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.debug import explain_candidate
from recserve.errors import DataError
from recserve.features.sequence_join import join_sequences
from recserve.ranker import Ranker

Build = Callable[..., Path]


def raw(name: str, source: str, **options: Any) -> dict[str, Any]:
    return {"feature_name": name, "feature_type": "raw_feature", "expression": source} | options


def taste(name: str, key: str) -> dict[str, Any]:
    return {"feature_name": name, "feature_type": "lookup_feature", "map": "user:tastes", "key": key}


CLICK = {
    "sequence_name": "click",
    "sequence_length": 4,
    "features": [
        raw("price", "item:price", default_value="0.125"),
        raw("size", "item:size", value_dim=2, default_value="3"),
        taste("brand", "item:brand"),
        taste("tags", "item:tags"),
    ],
}
SEEN = {
    "sequence_name": "seen",
    "sequence_pk": "context:shown",
    "sequence_delim": "|",
    "features": [raw("price", "item:price"), taste("id", "item:item_id")],
}
FEATURES = [raw("value", "item:price"), taste("same", "item:brand"), CLICK, SEEN]
OUTPUTS = {
    f"sum_{name}": [name]
    for name in ("click__price", "click__size", "click__brand", "click__tags", "seen__price", "seen__id")
}
TASTES = {"a": 1.0, "b;c": 20.0, "d": 300.0, "1": 4000.0, "2": 5000.0, "2.5": 60000.0, "true": 7e5, "x": 8e6}
PRICES = st.one_of(st.none(), st.floats(-1e3, 1e3, width=32))
BRANDS = st.sampled_from([None, "", "a", "b;c", "d\x1da", "d"])
TAGS = st.one_of(st.none(), st.lists(st.sampled_from([None, "", "a", "b;c", "x"]), max_size=3))
SIZES = st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=3))
STRINGS, INTEGERS = ["i1", "i2", "7", "08", "é|"], [1, 2, 7, -8, 2**62]
UNKNOWN: list[Any] = ["no such", 5, "7", -8, "-8", "08", 2**70, 2.5, True, None]


@pytest.fixture(scope="module")
def rankers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ranker]:
    return {}


def open_ranker(build: Build, rankers: dict[str, Ranker], kind: str) -> Ranker:
    if kind not in rankers:
        first = STRINGS[0] if kind == "string" else INTEGERS[0]
        path = build(FEATURES, {"ctr": ["value", "same"], **OUTPUTS}, out=f"{kind}/1", score="ctr")
        rankers[kind] = Ranker.open(path)
        rankers[kind] = Ranker(rankers[kind].bundle, rankers[kind].pipeline, kind)
        rankers[kind].upsert_items(pa.table({"item_id": [first]}))
    return rankers[kind]


def histories(ids: list[Any], delimiter: str) -> st.SearchStrategy[Any]:
    one = st.one_of(st.sampled_from(ids), st.sampled_from(ids), st.sampled_from(UNKNOWN))
    lists = st.lists(one, max_size=7)
    texts = lists.map(lambda found: delimiter.join(map(str, found)))
    arrays = st.lists(st.sampled_from(ids), max_size=7).map(np.array)
    return st.one_of(st.none(), st.just(""), lists, lists.map(tuple), texts, texts.map(str.encode), arrays, one)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["string", "int64"]))
def test_joined_columns_rank_as_columns_that_are_sent(
    sum_model: Build, rankers: dict[str, Ranker], data: st.DataObject, kind: str
) -> None:
    ids: list[Any] = STRINGS if kind == "string" else INTEGERS
    ranker = open_ranker(sum_model, rankers, kind)
    rows = len(ids)
    items = {"item_id": ids, "price": data.draw(st.lists(PRICES, min_size=rows, max_size=rows))}
    items["brand"] = data.draw(st.lists(BRANDS, min_size=rows, max_size=rows))
    items["tags"] = data.draw(st.lists(TAGS, min_size=rows, max_size=rows))
    items["size"] = data.draw(st.lists(SIZES, min_size=rows, max_size=rows))
    ranker.upsert_items(pa.table({name: pa.array(cells) for name, cells in items.items()}))
    user = {"click": data.draw(histories(ids, ";")), "tastes": TASTES}
    context = {"shown": data.draw(histories(ids, "|"))}
    joins = ranker.pipeline.feature_set.sequence_joins()
    joined = join_sequences(joins, _cells(user) | _cells(context), items)
    sent = {name: cells[0] for name, cells in joined.items()}
    expected = ranker.rank(sent, {}, ids)
    answer = ranker.rank(user, context, ids)
    assert answer.missing_columns == []
    assert answer.item_ids == expected.item_ids
    for name, output in expected.outputs.items():
        np.testing.assert_array_equal(answer.outputs[name], output, err_msg=name)


def _cells(row: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [cell] for name, cell in row.items()}


ITEMS = [{"item_id": "i1", "price": 1.5, "brand": "a"}, {"item_id": "i2", "price": 2, "brand": "d"}]


@pytest.fixture
def ranker(sum_model: Build) -> Ranker:
    outputs = {name: names for name, names in OUTPUTS.items() if name.startswith("sum_click")}
    path = sum_model([raw("value", "item:price"), CLICK], {"ctr": ["value"], **outputs}, score="ctr")
    return Ranker.open(path, items=ITEMS)


def test_ids_become_the_columns_of_their_items(ranker: Ranker) -> None:
    outputs = ranker.rank({"click": "i1;nobody;i2", "tastes": TASTES}, {}, ["i1"]).outputs
    assert outputs["sum_click__price"].tolist() == [1.5 + 0.125 + 2]
    assert outputs["sum_click__brand"].tolist() == [1 + 300]


def test_only_the_first_steps_are_joined(ranker: Ranker) -> None:
    for history in ("i1;i1;i1;i1;i2", ["i1", "i1", "i1", "i1", "i2"], "i1\x1di1\x1di1\x1di1\x1di2"):
        assert ranker.rank({"click": history}, {}, ["i1"]).outputs["sum_click__price"].tolist() == [6]


def test_columns_that_the_request_carries_win(ranker: Ranker) -> None:
    outputs = ranker.rank({"click": "i1;i2", "click__price": "10;20", "tastes": TASTES}, {}, ["i1"]).outputs
    assert outputs["sum_click__price"].tolist() == [30]
    assert outputs["sum_click__brand"].tolist() == [301]
    outputs = ranker.rank({"click": "i1", "click__price": None, "click__brand": "a"}, {}, ["i1"]).outputs
    assert outputs["sum_click__price"].tolist() == [0.125]


def test_changes_of_items_are_joined_by_the_next_request(ranker: Ranker) -> None:
    ranker.upsert_items([{"item_id": "i1", "price": 4.0}])
    ranker.delete_items(["i2"])
    outputs = ranker.rank({"click": "i1;i2", "tastes": TASTES}, {}, ["i1"]).outputs
    assert outputs["sum_click__price"].tolist() == [4.125]
    assert outputs["sum_click__brand"].tolist() == [0]


def test_missing_ids_are_told_unless_all_columns_are_sent(ranker: Ranker) -> None:
    made = ["click__price", "click__size", "click__brand", "click__tags"]
    user = {"tastes": TASTES}
    assert ranker.rank(user, {}, ["i1"]).missing_columns == [*made, "click"]
    assert ranker.rank(user | {"click": None}, {}, ["i1"]).missing_columns == []
    assert ranker.rank(user | dict.fromkeys(made), {}, ["i1"]).missing_columns == []


def test_a_ranker_tells_the_columns_of_ids_and_what_it_keeps(ranker: Ranker) -> None:
    known = ranker.describe()
    assert "click" in known["columns"]["user"]
    assert {"price", "size", "brand", "tags"} <= set(known["columns"]["item"])
    assert "column:brand" in known["bytes_per_item"]


def test_columns_that_the_network_does_not_read_are_not_kept(sum_model: Build) -> None:
    path = sum_model([raw("hour", "candidate:hour"), CLICK], {"ctr": ["click__price", "hour"]})
    ranker = Ranker.open(path, items=ITEMS)
    assert ranker.history.columns == ("price",)
    none = Ranker.open(sum_model([raw("value", "item:price")], {"ctr": ["value"]}, out="sums/2"), items=ITEMS)
    assert (none.history.joins, none.history.parts) == ((), ())


def test_maps_numbers_and_bools_are_kept_as_the_texts_that_a_request_would_carry(ranker: Ranker) -> None:
    pairs = pa.array([[("k", 1.5), ("l", None), ("m", 2.0)], None], pa.map_(pa.string(), pa.float64()))
    batch = pa.record_batch({"price": pa.array([1e300, float("nan")]), "brand": pairs, "tags": pa.array([True, None])})
    kept = ranker.history.keep_columns(batch)
    sizes = dict(zip(ranker.history.columns, kept.values[:, 7].tolist(), strict=True))
    assert sizes == {"price": 1, "size": 0, "brand": 1, "tags": 1}
    texts = [array.tobytes() for array in kept.keep if array.dtype == np.uint8]
    assert texts[ranker.history.columns.index("price")].startswith(b"1e+300")
    assert texts[ranker.history.columns.index("brand")].startswith(b"k:1.5\x1dm:2")
    assert texts[ranker.history.columns.index("tags")].startswith(b"true")


def test_ids_and_cells_of_other_types_are_refused_by_name(ranker: Ranker) -> None:
    with pytest.raises(DataError, match=r"^column 'click': item ids are neither strings nor integers"):
        ranker.rank({"click": ["\ud800"]}, {}, ["i1"])
    with pytest.raises(DataError, match="column 'tags': Arrow type struct<a: int64> is no type of cells"):
        ranker.upsert_items([{"item_id": "i3", "tags": {"a": 1}}])
    assert ranker.rank({}, {}, ["i3"]).unknown_items == ["i3"]


def test_a_trace_shows_the_steps_that_were_joined(ranker: Ranker) -> None:
    trace = explain_candidate(ranker, {"click": "i1;nobody;i2"}, {}, "i1")
    price = next(feature for feature in trace.features if feature.name == "click__price")
    assert price.inputs == {"user:click__price": ["1.5", "", "2"]}
    assert trace.outputs["sum_click__price"] == 3.625
