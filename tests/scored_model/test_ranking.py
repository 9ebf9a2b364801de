"""Candidates scored in stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import DataError, RequestError
from recserve.importers.model import ImportedModel
from recserve.scored_model.model import ScoredModel
from recserve.scored_model.ranking import ScoredRanker, open_scored_model
from recserve.scored_model.stored import read_stored

ITEMS = [
    {"item_id": "i1", "price": 1.0, "brand": "a"},
    {"item_id": "i2", "price": 3.0, "brand": "b"},
    {"item_id": "i3", "price": -1.0, "brand": "b"},
    {"item_id": "i4", "price": None, "brand": None},
]
USER = {"age": 20.0}
CONTEXT = {"hour": 12.0}


@pytest.fixture
def ranker(ranker_directory: Path) -> ScoredRanker:
    opened = open_scored_model(ranker_directory, items=ITEMS)
    assert isinstance(opened, ScoredRanker)
    return opened


def flat(model: ImportedModel, rows: list[dict[str, Any]]) -> list[float]:
    columns = {name: [row.get(name) for row in rows] for name in model.inputs}
    return list(model.score(columns, reference=True).outputs["score"])


def test_one_sided_parts_move_to_their_rate(ranker: ScoredRanker) -> None:
    item, request = ranker.stages.item, ranker.stages.request
    assert item is not None
    assert request is not None
    assert "lookup" in item.listing()
    assert "linear" in item.listing()
    assert "replace_missing" in request.listing()
    assert set(ranker.stages.candidate.inputs) & {"age", "hour", "price", "brand"} == set()


def test_staged_scores_are_those_of_the_whole(ranker: ScoredRanker, model: ImportedModel) -> None:
    ids = ["i2", "i1", "i4"]
    places = [0.0, 5.0, None]
    result = ranker.rank(USER, CONTEXT, {"item_id": ids, "place": places})
    items = {row["item_id"]: row for row in ITEMS}
    rows = [USER | CONTEXT | items[one] | {"place": place} for one, place in zip(ids, places, strict=True)]
    wanted = np.float32(flat(model, rows))
    assert result.item_ids == ["i2", "i1", "i4"]
    np.testing.assert_allclose(result.scores, wanted, rtol=1e-6)
    np.testing.assert_allclose(result.outputs["both"][:, 0], wanted, rtol=1e-6)
    assert result.version == ("cards", 1, 0, 1)
    assert result.missing_columns == []


def test_rows_that_fail_come_last_and_unknown_items_are_named(ranker: ScoredRanker) -> None:
    result = ranker.rank({}, CONTEXT, {"item_id": ["i3", "i9", "i1"], "place": [0.0, 0.0, 0.0]}, top_k=5)
    assert result.item_ids == ["i1", "i3"]
    assert np.isnan(result.scores[1])
    assert result.unknown_items == ["i9"]
    assert result.missing_columns == ["age"]
    assert ranker.rank(USER, None, ["i9"]).item_ids == []


def test_items_that_a_request_brings_go_before_those_of_the_store(ranker: ScoredRanker) -> None:
    brought = {"i1": {"price": 9.0, "brand": "b"}, "i9": {"price": 2.0, "brand": "new"}}
    listed = {"item_id": ["i1", "i2", "i9"], "place": [0.0] * 3}
    result = ranker.rank(USER, CONTEXT, listed, items=brought)
    ranker.upsert_items([{"item_id": one, **columns} for one, columns in brought.items()])
    stored = ranker.rank(USER, CONTEXT, listed)
    assert result.item_ids == stored.item_ids == ["i1", "i2", "i9"]
    np.testing.assert_array_equal(result.scores, stored.scores)


def test_deleted_items_are_unknown(ranker: ScoredRanker) -> None:
    assert ranker.delete_items(["i1", "i7"]) == 1
    assert ranker.rank(USER, CONTEXT, ["i1", "i2"]).unknown_items == ["i1"]
    assert ranker.upsert_items(pa.table({"item_id": pa.array([], pa.string())})) == 0


def test_wrong_calls_are_refused(ranker: ScoredRanker) -> None:
    with pytest.raises(RequestError, match="user: expected an object of columns, got 3"):
        ranker.rank(3, None, ["i1"])  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="top_k: expected a positive integer, got 0"):
        ranker.rank({}, None, ["i1"], top_k=0)
    with pytest.raises(DataError, match="column 'age'"):
        ranker.rank({"age": [1]}, None, ["i1"])
    for rows in ([[0.5]], np.array([[0.5]])):
        with pytest.raises(DataError, match="column 'place': a cell is list, not str, float"):
            ranker.rank({}, None, {"item_id": ["i1"], "place": rows})
    with pytest.raises(RequestError, match="there are no candidates"):
        ranker.rank({}, None, [])


def test_a_ranker_describes_itself_and_takes_tensors_too(ranker: ScoredRanker) -> None:
    described = ranker.describe()
    assert described["columns"]["item"] == ["price", "brand"]
    assert described["goals"] == ["score", "both"]
    assert described["items"] == 4
    answer = ranker.run("serving_default", {"age": np.array([20.0]), "price": np.array([1.0])})
    assert answer["error"].tolist() == [b""]


def test_items_may_have_numbers_for_ids(ranker_directory: Path) -> None:
    ranker = open_scored_model(ranker_directory, items=[{"item_id": 7, "price": 1.0, "brand": "a"}])
    assert isinstance(ranker, ScoredRanker)
    assert ranker.rank(USER, CONTEXT, [7, 8]).item_ids == [7]


def test_a_model_without_sides_ranks_nothing(directory: Path) -> None:
    assert not isinstance(open_scored_model(directory), ScoredRanker)
    assert isinstance(open_scored_model(directory), ScoredModel)
    assert not isinstance(open_scored_model(directory, items=ITEMS), ScoredRanker)


CELLS = st.one_of(st.none(), st.floats(-5, 50, width=32))


@given(
    users=st.fixed_dictionaries({}, optional={"age": CELLS}),
    items=st.lists(st.tuples(CELLS, st.sampled_from([None, "a", "b", "c", ""]), CELLS), min_size=1, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_any_request_is_scored_as_by_the_reference(
    shared: tuple[ScoredRanker, ImportedModel],
    users: dict[str, Any],
    items: list[tuple[float | None, str | None, float | None]],
) -> None:
    ranker, model = shared
    rows = [{"item_id": str(n), "price": price, "brand": brand} for n, (price, brand, _) in enumerate(items)]
    ranker.upsert_items(
        pa.table(
            {
                "item_id": [row["item_id"] for row in rows],
                "price": pa.array([row["price"] for row in rows], pa.float64()),
                "brand": pa.array([row["brand"] for row in rows], pa.string()),
            }
        )
    )
    places = [place for _, _, place in items]
    result = ranker.rank(users, CONTEXT, {"item_id": [row["item_id"] for row in rows], "place": places})
    wanted = flat(model, [users | CONTEXT | row | {"place": place} for row, place in zip(rows, places, strict=True)])
    got = np.empty(len(rows), np.float32)
    got[result.positions] = result.scores
    np.testing.assert_allclose(got, np.float32(wanted), rtol=1e-5)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, shared_model: ImportedModel) -> tuple[ScoredRanker, ImportedModel]:
    from recserve.scored_model.stored import publish

    sides = {"age": "user", "hour": "context", "price": "item", "brand": "item", "place": "candidate"}
    directory = publish(shared_model, tmp_path_factory.mktemp("shared") / "m" / "1", sides=sides, score="score")
    return ScoredRanker(read_stored(directory)), shared_model
