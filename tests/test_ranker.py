"""The request path on models whose answers can be told by hand: scores are sums of columns."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from recserve.bundle import Bundle
from recserve.errors import BundleError, DataError
from recserve.ranker import Ranker, RankResult

Build = Callable[..., Path]


def raw(name: str, source: str, **options: Any) -> dict[str, Any]:
    return {"feature_name": name, "feature_type": "raw_feature", "expression": source} | options


FEATURES = [
    raw("bias", "user:bias"),
    raw("hour", "context:hour"),
    raw("value", "item:value"),
    raw("boost", "candidate:boost"),
    {"feature_name": "clicks", "feature_type": "lookup_feature", "map": "user:clicks", "key": "item:category"},
]
ALL = ["bias", "hour", "value", "boost", "clicks"]
ITEMS = [
    {"item_id": name, "value": float(n), "category": "even" if n % 2 == 0 else "odd"} for n, name in enumerate("abcdef")
]


@pytest.fixture
def bundle(sum_model: Build) -> Path:
    return sum_model(FEATURES, {"ctr": ALL, "double": [*ALL, *ALL]}, score="ctr")


@pytest.fixture
def ranker(bundle: Path) -> Ranker:
    return Ranker.open(bundle, items=ITEMS)


def scores(result: RankResult) -> dict[Any, float]:
    return dict(zip(result.item_ids, result.scores.tolist(), strict=True))


def test_the_best_come_first_with_all_outputs(ranker: Ranker) -> None:
    user = {"bias": 1, "clicks": {"even": 10.0}}
    result = ranker.rank(user, {"hour": 100}, {"item_id": ["a", "b", "c"], "boost": [5, 0.5, 0]})
    assert result.item_ids == ["a", "c", "b"]
    assert result.scores.tolist() == [116, 113, 102.5]
    assert result.positions.tolist() == [0, 2, 1]
    assert {name: output.tolist() for name, output in result.outputs.items()} == {
        "ctr": [116, 113, 102.5],
        "double": [232, 226, 205],
    }
    assert result.version == ("sums", 1, 0, 1)
    assert result.unknown_items == []
    assert result.missing_columns == []
    assert set(result.timings_us) >= {"decode", "request", "gather", "candidate_features", "candidate_network", "top_k"}
    assert all(spent >= 0 for spent in result.timings_us.values())


def test_a_ranker_tells_what_it_reads(ranker: Ranker) -> None:
    known = ranker.describe()
    assert json.loads(json.dumps(known)) == known
    assert (known["name"], known["version"], known["score"], known["outputs"]) == ("sums", 1, "ctr", ["ctr", "double"])
    assert known["columns"] == {
        "user": ["bias", "clicks"],
        "context": ["hour"],
        "item": ["value", "category"],
        "candidate": ["boost"],
    }
    assert (known["items"], known["item_id"], known["item_epoch"]) == (6, "string", 1)
    assert known["plan_digest"] == ranker.bundle.features.digest
    assert sum(known["bytes_per_item"].values()) > 0


def test_missing_columns_count_as_missing_values_and_are_told(ranker: Ranker) -> None:
    result = ranker.rank({"bias": 3}, None, ["b"])
    assert scores(result) == {"b": 3 + 1}
    assert result.missing_columns == ["clicks", "hour"]
    assert ranker.rank({"bias": None, "clicks": None}, {"hour": None}, ["b"]).missing_columns == []


def test_columns_that_no_feature_reads_are_ignored(ranker: Ranker) -> None:
    candidates = {"item_id": ["b"], "other": [object()]}
    assert scores(ranker.rank({"other": object()}, {"bias": 9}, candidates)) == {"b": 1}


def test_unknown_items_are_told_and_not_scored(ranker: Ranker) -> None:
    result = ranker.rank({}, {}, {"item_id": ["x", "b", "y", "a", "x"], "boost": [9, 1, 9, 2, 9]})
    assert scores(result) == {"b": 2, "a": 2}
    assert result.positions.tolist() == [1, 3]
    assert result.unknown_items == ["x", "y", "x"]


def test_only_unknown_items_make_an_empty_answer(ranker: Ranker) -> None:
    result = ranker.rank({}, {}, ["x", "y"], top_k=3)
    assert result.item_ids == []
    assert result.scores.tolist() == []
    assert {name: output.tolist() for name, output in result.outputs.items()} == {"ctr": [], "double": []}
    assert result.unknown_items == ["x", "y"]


def test_top_k_keeps_the_best(ranker: Ranker) -> None:
    for top_k in (1, 2, 6, 100, np.int64(2)):
        result = ranker.rank({}, {}, list("abcdef"), top_k=top_k)
        assert result.item_ids == list("fedcba")[:top_k]
        assert result.outputs["double"].tolist() == [10, 8, 6, 4, 2, 0][:top_k]


def test_equal_scores_keep_the_order_of_the_request(ranker: Ranker) -> None:
    ids = list("bdacfe") * 20
    result = ranker.rank({}, {}, {"item_id": ids, "boost": [-float("abcdef".index(one)) for one in ids]})
    assert result.item_ids == ids


def test_scores_that_are_no_numbers_come_last(sum_model: Build) -> None:
    path = sum_model(FEATURES, {"ctr": ["value"]}, score="log(ctr)")
    items = [{"item_id": name, "value": value} for name, value in (("a", -1.0), ("b", 1.0), ("c", 0.0), ("d", 2.0))]
    result = Ranker.open(path, items=items).rank({}, {}, list("abcd"))
    assert result.item_ids == ["d", "b", "c", "a"]
    np.testing.assert_allclose(result.scores, [np.log(2), 0, -np.inf, np.nan], rtol=1e-6)


def test_duplicate_candidates_are_each_answered(ranker: Ranker) -> None:
    result = ranker.rank({}, {}, {"item_id": ["b", "c", "b"], "boost": [0, 0, 5]})
    assert result.item_ids == ["b", "c", "b"]
    assert result.scores.tolist() == [6, 2, 1]


def test_changes_of_items_are_seen_by_the_next_request(ranker: Ranker) -> None:
    assert ranker.upsert_items([{"item_id": "b", "value": 50}, {"item_id": "new", "value": 60}]) == 2
    result = ranker.rank({}, {}, ["a", "b", "new"])
    assert scores(result) == {"new": 60, "b": 50, "a": 0}
    assert result.version.item_epoch == 2
    assert ranker.delete_items(["b", "absent"]) == 1
    result = ranker.rank({}, {}, ["a", "b", "new"])
    assert result.unknown_items == ["b"]
    assert result.version.item_epoch == 3
    assert ranker.delete_items(["absent"]) == 0
    assert ranker.describe()["item_epoch"] == 3


def test_of_an_id_that_occurs_twice_the_last_counts(ranker: Ranker) -> None:
    ranker.upsert_items([{"item_id": "b", "value": 50}, {"item_id": "b", "value": 70}])
    assert scores(ranker.rank({}, {}, ["b"])) == {"b": 70}


def test_many_items_appear_all_at_once_or_not_at_all(ranker: Ranker) -> None:
    rows = 20_000
    ids = [f"many{n}" for n in range(rows)]
    assert ranker.upsert_items(pa.table({"item_id": ids, "value": [1.0] * rows})) == rows
    assert ranker.describe()["item_epoch"] == 2
    table = pa.table({"item_id": ids, "value": ["2"] * (rows - 1) + ["two"]})
    with pytest.raises(DataError, match=f"feature 'value', column 'value', row {rows - 1}: 'two' is not a number"):
        ranker.upsert_items(table)
    assert scores(ranker.rank({}, {}, ids[:1])) == {"many0": 1}
    assert ranker.describe()["item_epoch"] == 2


def test_no_items_change_nothing(ranker: Ranker) -> None:
    assert ranker.upsert_items([]) == 0
    assert ranker.upsert_items(pa.table({"item_id": pa.array([], pa.string())})) == 0
    assert ranker.describe()["item_epoch"] == 1


def test_items_come_from_files_tables_and_rows(bundle: Path, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ITEMS)
    pa_parquet.write_table(table, tmp_path / "items.parquet")
    (tmp_path / "items.ndjson").write_text("\n".join(map(json.dumps, ITEMS)))
    lines: list[str] = []
    for source in (ITEMS, table, table.to_batches()[0], tmp_path / "items.parquet", str(tmp_path / "items.ndjson")):
        ranker = Ranker.open(bundle, items=source, progress=lines.append)
        assert scores(ranker.rank({}, {}, list("abcdef"))) == {name: n for n, name in enumerate("abcdef")}
    assert [line for line in lines if " made in " not in line] == ["items: 6 of 6"] * 4 + ["items: 6"]


def test_a_ranker_without_items_takes_them_later(bundle: Path) -> None:
    for items in (None, []):
        ranker = Ranker.open(bundle, items=items)
        assert ranker.rank({}, {}, ["a"]).unknown_items == ["a"]
        ranker.upsert_items(ITEMS)
        assert scores(ranker.rank({}, {}, ["b"])) == {"b": 1}


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.uint16()])
def test_integer_ids_are_answered_as_they_were_asked(bundle: Path, kind: pa.DataType) -> None:
    ranker = Ranker.open(bundle, items=pa.table({"item_id": pa.array([3, 4], kind), "value": [3.0, 4.0]}))
    assert ranker.describe()["item_id"] == "int64"
    assert scores(ranker.rank({}, {}, [4, 3, 5])) == {4: 4, 3: 3}
    assert scores(ranker.rank({}, {}, ["4", "3", "x", "04"])) == {"4": 4, "3": 3}
    assert scores(ranker.rank({}, {}, np.array([4, 3], np.int32))) == {4: 4, 3: 3}


def test_string_ids_match_integers_by_their_text(bundle: Path) -> None:
    ranker = Ranker.open(bundle, items=[{"item_id": "7", "value": 7}, {"item_id": "07", "value": 8}])
    assert scores(ranker.rank({}, {}, [7])) == {7: 7}
    assert scores(ranker.rank({}, {}, ["07"])) == {"07": 8}


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        np.array,
        pa.array,
        lambda ids: np.array(ids, object),
        lambda ids: pa.array(ids, pa.large_string()),
        lambda ids: pa.chunked_array([ids[:2], ids[2:]]),
        lambda ids: pa.array(ids).dictionary_encode(),
    ],
)
def test_candidates_come_in_any_columnar_form(ranker: Ranker, form: Callable[[list[str]], Any]) -> None:
    result = ranker.rank({}, {}, {"item_id": form(["b", "x", "d", "c"]), "boost": np.array([0, 0, 0, 8])})
    assert result.item_ids == ["c", "d", "b"]
    assert result.unknown_items == ["x"]


def test_inline_items_go_before_those_of_the_store(ranker: Ranker) -> None:
    user = {"clicks": {"odd": 100.0}}
    inline = {"b": {"value": 7, "category": "odd"}, "new": {"value": 3}, "unasked": {"value": 1}}
    candidates = {"item_id": ["a", "new", "b", "x", "c", "b"], "boost": [0, 0.25, 0.5, 0, 1, 2]}
    result = ranker.rank(user, {}, candidates, items=inline)
    assert result.item_ids == ["b", "b", "new", "c", "a"]
    assert result.scores.tolist() == [109, 107.5, 3.25, 3, 0]
    assert result.positions.tolist() == [5, 2, 1, 4, 0]
    assert result.unknown_items == ["x"]
    assert scores(ranker.rank({}, {}, ["b"])) == {"b": 1}


def test_inline_items_alone_are_ranked(ranker: Ranker) -> None:
    result = ranker.rank({}, {}, ["p", "q"], items={"p": {"value": 1}, "q": {"value": 2}})
    assert scores(result) == {"q": 2, "p": 1}
    assert ranker.rank({}, {}, ["a"], items={}).item_ids == ["a"]


def test_a_hundred_thousand_candidates_are_ranked(ranker: Ranker) -> None:
    rng = np.random.default_rng(0)
    boost = rng.random(100_000)
    result = ranker.rank({}, {}, {"item_id": list("abcde") * 20_000, "boost": boost}, top_k=7)
    values = np.tile(np.arange(5.0), 20_000) + boost
    expected = np.argsort(-values.astype(np.float32), kind="stable")[:7]
    assert result.positions.tolist() == expected.tolist()


def test_no_answer_mixes_versions_of_an_item(sum_model: Build) -> None:
    """Each version of an item has one value in a column that crosses as a tensor, and one in what is looked up."""
    key = {"feature_name": "seen", "feature_type": "lookup_feature", "map": "user:versions", "key": "item:key"}
    path = sum_model([raw("value", "item:value"), key], {"tensor": ["value"], "key": ["seen"]}, score="tensor")
    names = [f"item{n}" for n in range(200)]

    def version(number: int) -> pa.Table:
        return pa.table({"item_id": names, "value": [float(number)] * 200, "key": [f"k{number}"] * 200})

    ranker = Ranker.open(path, items=version(0))
    user = {"versions": {f"k{n}": float(n) for n in range(40)}}
    done, faults, seen = threading.Event(), [], set()

    def read() -> None:
        while not done.is_set():
            result = ranker.rank(user, {}, names)
            found = {*result.outputs["tensor"].tolist(), *result.outputs["key"].tolist()}
            epoch = result.version.item_epoch
            seen.add(epoch)
            if found != {float(epoch - 1)} or result.unknown_items:
                faults.append((epoch, found, result.unknown_items[:3]))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for number in range(1, 40):
        ranker.upsert_items(version(number))
    done.set()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(seen) > 1
    assert ranker.rank(user, {}, names).outputs["key"].tolist() == [39.0] * 200


def test_threads_that_rank_at_once_do_not_disturb_each_other(ranker: Ranker) -> None:
    faults: list[Any] = []

    def read(number: int) -> None:
        rng = np.random.default_rng(number)
        for _ in range(50):
            ids = rng.choice(list("abcdef"), rng.integers(1, 300)).tolist()
            inline = {"a": {"value": 1000}} if rng.random() < 0.3 else None
            result = ranker.rank({"bias": number}, {}, ids, items=inline)
            values = {name: n + number for n, name in enumerate("abcdef")} | ({"a": 1000 + number} if inline else {})
            if result.scores.tolist() != sorted((values[one] for one in ids), reverse=True):
                faults.append(result)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_closed_ranker_gives_back_its_scratch(ranker: Ranker) -> None:
    ranker.rank({}, {}, ["a"])
    assert ranker._idle
    ranker.close()
    assert not ranker._idle


def test_a_path_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"there is no manifest\.json"):
        Ranker.open(tmp_path)


def test_numbers_of_items_that_are_none_count_as_training_has_them(sum_model: Build) -> None:
    gap = {"feature_name": "gap", "feature_type": "expr_feature", "expression": "value - budget"} | {
        "variables": ["item:value", "user:budget"]
    }
    path = sum_model([gap, raw("value", "item:value")], {"ctr": ["gap", "value"]})
    items = [{"item_id": "a", "value": float("nan")}, {"item_id": "b", "value": 3.0}]
    result = Ranker.open(path, items=items).rank({"budget": 2}, {}, ["a", "b"])
    columns = {"value": [item["value"] for item in items], "budget": [2, 2]}
    expected = Bundle.open(path).features.compile().run(columns)
    assert scores(result) == {"a": expected["gap"][0, 0] + expected["value"][0, 0], "b": 4}


def test_inline_items_may_leave_out_the_id_that_is_their_key(sum_model: Build) -> None:
    ids = {"feature_name": "id", "feature_type": "id_feature", "expression": "item:item_id", "num_buckets": 9}
    rows = np.arange(9, dtype=np.float32)[:, None]
    path = sum_model([ids | {"embedding_dim": 1, "default_value": "0"}], {"ctr": ["id"]}, tables={"id_emb": rows})
    ranker = Ranker.open(path, items=[{"item_id": 5}])
    assert scores(ranker.rank({}, {}, [5, 7], items={"7": {}})) == {7: 7, 5: 5}


def test_models_of_candidate_columns_alone_are_ranked(sum_model: Build) -> None:
    path = sum_model([raw("boost", "candidate:boost")], {"ctr": ["boost"]})
    ranker = Ranker.open(path, items=[{"item_id": "a"}])
    result = ranker.rank({}, {}, {"item_id": ["a", "x", "a"], "boost": [1, 5, 2]})
    assert result.scores.tolist() == [2, 1]
    assert result.unknown_items == ["x"]


def test_payloads_may_hold_nothing_but_values_that_are_looked_up(sum_model: Build) -> None:
    path = sum_model(FEATURES, {"ctr": ["clicks"]})
    result = Ranker.open(path, items=ITEMS).rank({"clicks": {"odd": 3.0}}, {}, ["a", "b"], items={"c": {}})
    assert scores(result) == {"b": 3, "a": 0}


def test_a_long_list_is_ranked_in_parts_with_the_same_answer(ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ids = rng.choice([*"abcdef", "none"], size=1003).tolist()
    candidates = {"item_id": ids, "boost": rng.normal(size=1003).astype(np.float32)}
    whole = ranker.rank({"bias": 1}, {}, candidates)
    monkeypatch.setattr("recserve.ranker.PART_ROWS", 100)
    pauses: list[int] = []

    def pause() -> None:
        pauses.append(len(pauses))
        ranker.rank({"bias": 7}, {}, ["f", "a"])  # another request on the same thread

    ranker.pause = pause
    parts = ranker.rank({"bias": 1}, {}, candidates)
    assert len(pauses) == 8
    assert parts.item_ids == whole.item_ids
    np.testing.assert_array_equal(parts.scores, whole.scores)
    np.testing.assert_array_equal(parts.positions, whole.positions)
    assert parts.unknown_items == whole.unknown_items

    def stop() -> None:
        raise TimeoutError("over")

    ranker.pause = stop
    with pytest.raises(TimeoutError, match="over"):
        ranker.rank({"bias": 1}, {}, candidates)
