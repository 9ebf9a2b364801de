"""Every public entry under wrong input: it says where and how to mend it, and goes on working."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.bundle import Bundle
from recserve.errors import ConfigError, DataError, RecserveError, RequestError
from recserve.features.feature_set import FeatureSet
from recserve.ranker import Ranker

Build = Callable[..., Path]
IDS = {"hash_bucket_size": 9, "embedding_dim": 2}
FEATURES: list[dict[str, Any]] = [
    {"feature_name": "bias", "feature_type": "raw_feature", "expression": "user:bias"},
    {"feature_name": "hour", "feature_type": "raw_feature", "expression": "context:hour"},
    {"feature_name": "value", "feature_type": "raw_feature", "expression": "item:value"},
    {"feature_name": "boost", "feature_type": "raw_feature", "expression": "candidate:boost"},
    {"feature_name": "name", "feature_type": "id_feature", "expression": "user:name"} | IDS,
    {
        "sequence_name": "clicks",
        "features": [
            {"feature_name": "item", "feature_type": "id_feature", "expression": "user:item"} | IDS,
            {"feature_name": "age", "feature_type": "raw_feature", "expression": "user:age"},
        ],
    },
]
NAMES = ["bias", "hour", "value", "boost", "name", "clicks__item", "clicks__age"]
TABLES = {name: np.zeros((9, 2), np.float32) for name in ("name_emb", "clicks__item_emb")}
ITEMS = [{"item_id": name, "value": float(n)} for n, name in enumerate("abc")]


@pytest.fixture
def ranker(sum_model: Build) -> Ranker:
    return Ranker.open(sum_model(FEATURES, {"ctr": NAMES}, tables=TABLES), items=ITEMS)


def assert_works(ranker: Ranker) -> None:
    result = ranker.rank({"bias": 1}, {}, ["a", "b", "c"])
    assert result.item_ids == ["c", "b", "a"]
    assert result.scores.tolist() == [3, 2, 1]


def refuse(call: Callable[[], Any], kind: type[RecserveError] = RequestError) -> RecserveError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


WRONG_CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("user", {"user": None}, "user: expected an object of columns, got None"),
    ("user list", {"user": [1]}, "user: expected an object of columns, got [1]"),
    ("user text", {"user": "x" * 200}, "user: expected an object of columns, got '" + "x" * 79),
    ("context", {"context": 7}, "context: expected an object of columns, got 7"),
    ("no candidates", {"candidates": []}, "candidates: there are no candidates. Send at least one item id"),
    ("no ids", {"candidates": {"item_id": []}}, "candidates: there are no candidates. Send at least one item id"),
    ("one id", {"candidates": "a"}, "candidates: expected a list of item ids, got 'a'"),
    ("bytes", {"candidates": b"a"}, "candidates: expected a list of item ids, got b'a'"),
    ("set", {"candidates": {"a"}}, "candidates: expected a list of item ids, got {'a'}"),
    ("scalar", {"candidates": np.array("a")}, "candidates: expected a list of item ids, got an array of 0 axes"),
    (
        "matrix",
        {"candidates": np.zeros((2, 2), np.int64)},
        "candidates: expected a list of item ids, got an array of 2 axes",
    ),
    ("null id", {"candidates": ["a", None]}, "item 1: item id is null"),
    ("mixed ids", {"candidates": ["a", 1]}, "item ids are neither strings nor integers"),
    ("float ids", {"candidates": [1.5]}, "item ids are double, neither strings nor integers"),
    ("nested ids", {"candidates": [["a"]]}, "item ids are list<item: string>, neither strings nor integers"),
    ("surrogate id", {"candidates": ["\ud800"]}, "item ids are neither strings nor integers"),
    ("top_k", {"top_k": 0}, "top_k: expected a positive integer, got 0"),
    ("top_k negative", {"top_k": -1}, "top_k: expected a positive integer, got -1"),
    ("top_k float", {"top_k": 1.0}, "top_k: expected a positive integer, got 1.0"),
    ("top_k bool", {"top_k": True}, "top_k: expected a positive integer, got True"),
    ("top_k text", {"top_k": "5"}, "top_k: expected a positive integer, got '5'"),
    ("items", {"items": [1]}, "items: expected an object of items by id, got [1]"),
    ("items row", {"items": {"a": 3}}, "items['a']: expected an object of columns, got 3"),
    (
        "item number",
        {"items": {"b": {"value": "x"}}},
        "feature 'value', column 'value', candidate 1: 'x' is not a number",
    ),
    (
        "candidate length",
        {"candidates": {"item_id": ["a", "b"], "boost": [1]}},
        "candidates.boost: expected 2 cells, one for each candidate, got 1",
    ),
    (
        "candidate number",
        {"candidates": {"item_id": ["?", "a", "b"], "boost": [1, 2, "x"]}},
        "feature 'boost', column 'boost', candidate 2: 'x' is not a number",
    ),
    ("number", {"user": {"bias": "12,5"}}, "feature 'bias', column 'bias', row 0: '12,5' is not a number"),
    ("map", {"user": {"bias": {"a": 1}}}, "feature 'bias', column 'bias': a map cannot be read as values"),
    ("context number", {"context": {"hour": "noon"}}, "feature 'hour', column 'hour', row 0: 'noon' is not a number"),
    ("object", {"user": {"name": object()}}, "column 'name': "),
    ("surrogate", {"user": {"name": "\ud800"}}, "column 'name': '\\ud800' cannot be UTF-8"),
    ("surrogate in a list", {"user": {"name": ["a", "\ud800"]}}, "column 'name': '\\ud800' cannot be UTF-8"),
    (
        "unequal steps",
        {"user": {"clicks__item": [1, 2], "clicks__age": [1]}},
        "row 0 has another number of steps than the other features of sequence 'clicks'. "
        "Send columns of equal length for a sequence",
    ),
    (
        "number in a sequence",
        {"user": {"clicks__item": [1, 2], "clicks__age": ["1", "x"]}},
        "feature 'clicks__age', column 'clicks__age', row 0, step 1: 'x' is not a number",
    ),
]


@pytest.mark.parametrize(("change", "text"), [call[1:] for call in WRONG_CALLS], ids=[call[0] for call in WRONG_CALLS])
def test_a_wrong_call_is_explained_and_the_next_one_answered(ranker: Ranker, change: dict[str, Any], text: str) -> None:
    call: dict[str, Any] = {"user": {"bias": 1}, "context": {}, "candidates": ["a", "b", "c"]} | change
    error = refuse(lambda: ranker.rank(**call))
    assert text in str(error)
    assert_works(ranker)


NUMBERS = [float("nan"), float("inf"), -float("inf"), "nan", "inf", 1e300, -(2**63), 2**63, 2**200, "1e999"]


@pytest.mark.parametrize("number", NUMBERS, ids=str)
def test_numbers_without_a_value_do_no_harm(ranker: Ranker, number: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: ranker.rank({"bias": number}, {}, ["a", "b"]),
        lambda: ranker.rank({"clicks__item": [1], "clicks__age": [number]}, {}, ["a", "b"]),
        lambda: ranker.rank({}, {}, {"item_id": ["a", "b"], "boost": [number, 0]}),
        lambda: ranker.rank({}, {}, ["a", "b"], items={"a": {"value": number}}),
        lambda: ranker.upsert_items([{"item_id": "z", "value": number}]),
    ]
    for call in calls:
        try:
            call()
        except DataError as error:
            assert error.where  # noqa: PT017
        assert_works(ranker)


def test_a_missing_number_is_what_nan_is(ranker: Ranker) -> None:
    assert ranker.rank({"bias": float("nan")}, {}, ["b"]).scores.tolist() == [1]


def test_an_infinite_number_of_an_item_is_the_callers_error(ranker: Ranker) -> None:
    error = refuse(
        lambda: ranker.upsert_items([{"item_id": "y", "value": 1}, {"item_id": "z", "value": 1e300}]), DataError
    )
    assert error.code == "not_finite"
    assert str(error) == (
        "row 1: makes the tensor 'value_sum' infinite or NaN. "
        "Its columns hold an infinite number, or one too large for float32"
    )
    inline = {"p": {"value": 1}, "q": {"value": 1e300}}
    assert str(refuse(lambda: ranker.rank({}, {}, ["a", "p", "q"], items=inline))).startswith("candidate 2: makes the")
    assert ranker.rank({}, {}, ["y", "a"]).unknown_items == ["y"]


CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)
CALLS = st.fixed_dictionaries(
    {"user": st.dictionaries(st.sampled_from(["bias", "name", "clicks__item", "clicks__age"]), CELLS, max_size=4)},
    optional={
        "context": st.dictionaries(st.just("hour"), CELLS) | st.none(),
        "candidates": CELLS | st.fixed_dictionaries({"item_id": st.lists(CELLS, max_size=3), "boost": CELLS}),
        "top_k": CELLS,
        "items": st.dictionaries(st.sampled_from("abx"), st.dictionaries(st.just("value"), CELLS), max_size=2) | CELLS,
    },
)


def test_any_call_is_answered_or_refused(ranker: Ranker) -> None:
    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(CALLS)
    def holds(call: dict[str, Any]) -> None:
        try:
            result = ranker.rank(**({"candidates": ["a", "x"]} | call))
        except RequestError as error:
            assert error.problem  # noqa: PT017
        else:
            assert len(result.item_ids) == len(result.scores)

    holds()
    assert_works(ranker)


def test_wrong_items_change_nothing(ranker: Ranker) -> None:
    wrong: list[tuple[Any, str]] = [
        ([{"value": 1}], "items: there is no column 'item_id'. Columns: value"),
        ([{"item_di": 1}], "items: there is no column 'item_id'. Did you mean 'item_di'?"),
        ([3], "items[0]: expected an object, got 3"),
        ([{"item_id": "z", "value": "x"}], "feature 'value', column 'value', row 0: 'x' is not a number"),
        ([{"item_id": "z", "value": 1}, {"item_id": "y", "value": "x"}], "items.value: cells of different types"),
        ([{"item_id": None, "value": 1}], "item id is null"),
        ([{"item_id": "", "value": 1}], "item id is empty"),
        ([{"item_id": 1.5}], "item ids are double, neither strings nor integers"),
        (7, "items: expected a file, an Arrow table or rows, got 7"),
        ("items.csv", "items.csv: files ending in '.csv' cannot be read. Give a .parquet or .ndjson file"),
        ("absent.parquet", "absent.parquet: there is no such file"),
    ]
    for items, text in wrong:
        error = refuse(lambda items=items: ranker.upsert_items(items), DataError)
        assert text in str(error)
        assert ranker.describe()["item_epoch"] == 1
        assert_works(ranker)


@pytest.mark.parametrize("ending", [".parquet", ".ndjson"])
def test_truncated_and_binary_files_of_items_are_named(ranker: Ranker, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"items{ending}"
    if ending == ".parquet":
        pa_parquet.write_table(pa.Table.from_pylist(ITEMS), path)
    else:
        path.write_text("\n".join(map(json.dumps, ITEMS)))
    whole = path.read_bytes()
    for data in (whole[:-9], b"\xff\xfe" + whole, b"{" * 20):
        path.write_bytes(data)
        error = refuse(lambda: ranker.upsert_items(path), DataError)
        assert str(error).startswith(f"{path}: cannot be read: ")
        assert str(error).endswith("Is it complete?")
    assert_works(ranker)


def test_a_bad_row_of_a_file_is_told_by_its_place_in_the_file(sum_model: Build, tmp_path: Path) -> None:
    bundle = sum_model(FEATURES, {"ctr": NAMES}, tables=TABLES)
    values = ["1"] * 20_000
    values[15_000] = "x"
    path = tmp_path / "items.parquet"
    pa_parquet.write_table(pa.table({"item_id": np.arange(20_000), "value": values}), path)
    error = refuse(lambda: Ranker.open(bundle, items=path), DataError)
    assert str(error) == f"{path}: feature 'value', column 'value', row 15000: 'x' is not a number"


def test_text_that_is_not_utf8_is_refused_in_files(ranker: Ranker, tmp_path: Path) -> None:
    path = tmp_path / "items.ndjson"
    path.write_bytes(b'{"item_id": "a\xff", "value": 1}\n')
    assert str(refuse(lambda: ranker.upsert_items(path), DataError)).startswith(f"{path}: cannot be read: ")
    assert_works(ranker)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\xff", '{"features": 3}', '{"features": [3]}', '{"feature": []}']
)
def test_a_feature_config_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fg.json"
    path.write_bytes(text.encode("latin-1"))
    assert str(refuse(lambda: FeatureSet.load(path), ConfigError)).startswith(f"{path}: ")


@pytest.mark.parametrize("data", [b"", b"{}", b"\x08", b"\xff" * 100])
def test_a_network_that_is_none_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "fg.json").write_text(json.dumps({"features": FEATURES[:4]}))
    path = tmp_path / "network.onnx"
    path.write_bytes(data)
    error = refuse(
        lambda: Bundle.build(features=tmp_path / "fg.json", tables={}, network=path, out=tmp_path / "m/1"), ConfigError
    )
    assert str(error) == (
        f"{path}: this is not an ONNX file, or it is truncated. Export the model again or copy it whole"
    )


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (np.zeros((9, 2)), "table 'name_emb': rows are float64[9, 2], expected float32[rows, dim]"),
        (np.zeros(9, np.float32), "table 'name_emb': rows are float32[9], expected float32[rows, dim]"),
        (np.full((9, 2), np.nan, np.float32), "table 'name_emb': row 0 is not finite. Was the training stable?"),
        (np.zeros((8, 2), np.float32), "feature 'name': yields ids below 9, but table 'name_emb' has 8 rows"),
        (np.zeros((9, 3), np.float32), "feature 'name': has embedding_dim 2, but table 'name_emb' has rows of 3"),
        (np.array([None]), "table 'name_emb': rows are object[1], expected float32[rows, dim]"),
    ],
)
def test_wrong_tables_are_refused_at_build(sum_model: Build, rows: Any, text: str) -> None:
    error = refuse(lambda: sum_model(FEATURES, {"ctr": NAMES}, tables=TABLES | {"name_emb": rows}), ConfigError)
    assert text in str(error)
