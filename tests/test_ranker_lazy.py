"""A ranker whose payloads are made lazily answers as one that made them all first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.debug import explain_candidate
from recserve.errors import ConfigError, DataError
from recserve.ranker import Ranker, RankResult
from recserve.store.backlog import Backlog

Build = Callable[..., Path]


def raw(name: str, source: str, **options: Any) -> dict[str, Any]:
    return {"feature_name": name, "feature_type": "raw_feature", "expression": source} | options


FEATURES = [
    raw("value", "item:value"),
    {"feature_name": "clicks", "feature_type": "lookup_feature", "map": "user:clicks", "key": "item:category"},
    {"sequence_name": "seen", "sequence_length": 4, "features": [raw("value", "item:value")]},
]
IDS = list("abcdefgh")
ITEMS = [
    {"item_id": name, "value": float(n), "category": "even" if n % 2 == 0 else "odd"} for n, name in enumerate(IDS)
]


@pytest.fixture
def bundle(sum_model: Build) -> Path:
    return sum_model(FEATURES, {"ctr": ["value", "clicks"], "history": ["seen__value"]}, score="ctr")


@pytest.fixture
def lazy(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Ranker]:
    """Opens a ranker whose backlog is only worked off when a test says so."""
    monkeypatch.setattr(Backlog, "start", lambda *_: None)
    return lambda: Ranker.open(bundle, items=ITEMS, materialise="lazy")


def told(result: RankResult) -> Any:
    return (
        result.item_ids, result.positions.tolist(), result.scores.tolist(), result.version, result.unknown_items,
        {name: output.tolist() for name, output in result.outputs.items()},
    )  # fmt: skip


some_ids = st.lists(st.sampled_from([*IDS, "new", "x"]), min_size=1, max_size=4, unique=True)
acts = st.one_of(
    st.tuples(st.just("rank"), some_ids, some_ids),
    st.tuples(st.just("upsert"), some_ids, st.integers(0, 99)),
    st.tuples(st.just("delete"), some_ids),
    st.tuples(st.just("fill"), st.integers(1, 3)),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(acts, max_size=10))
def test_lazy_ranks_as_eager_under_any_order_of_requests_and_changes(
    bundle: Path, lazy: Callable[[], Ranker], order: list[tuple[Any, ...]]
) -> None:
    late, early = lazy(), Ranker.open(bundle, items=ITEMS, materialise="eager")
    assert early.backlog is None
    assert late.backlog is not None
    for act, *rest in [*order, ("rank", IDS, IDS[:4])]:
        if act == "rank":
            user = {"clicks": {"even": 10.0, "odd": 20.0}, "seen": rest[1]}
            assert told(late.rank(user, {}, rest[0])) == told(early.rank(user, {}, rest[0]))
        elif act == "upsert":
            rows = [{"item_id": name, "value": float(rest[1]), "category": "odd"} for name in rest[0]]
            assert late.upsert_items(rows) == early.upsert_items(rows)
        elif act == "delete":
            assert late.delete_items(rest[0]) == early.delete_items(rest[0])
        else:
            late.backlog.fill_next(rest[0])
        assert late.describe()["items"] == early.describe()["items"]
        assert late.describe()["item_epoch"] == early.describe()["item_epoch"]


def test_a_lazy_ranker_tells_what_is_left_and_works_it_off(bundle: Path) -> None:
    lines: list[str] = []
    ranker = Ranker.open(bundle, items=ITEMS, materialise="lazy", progress=lines.append)
    assert ranker.backlog is not None
    assert ranker.backlog.wait(60)
    known = ranker.describe()
    assert (known["items"], known["items_to_make"], known["items_refused"], known["item_epoch"]) == (8, 0, 0, 1)
    assert lines[0].endswith("8 left to be made later")
    assert lines[-1].startswith("items: all 8 of the backlog made in ")
    ranker.close()


def test_only_what_a_request_needs_is_made(lazy: Callable[[], Ranker]) -> None:
    ranker = lazy()
    before = ranker.describe()["items_to_make"]
    ranker.rank({"seen": ["g"]}, {}, ["h", "no such item"])
    assert before - ranker.describe()["items_to_make"] == 2


def test_an_item_in_the_backlog_can_be_explained(bundle: Path, lazy: Callable[[], Ranker]) -> None:
    early = Ranker.open(bundle, items=ITEMS)
    user = {"clicks": {"odd": 20.0}, "seen": ["g"]}
    assert explain_candidate(lazy(), user, {}, "h").score == explain_candidate(early, user, {}, "h").score == 27.0


def test_what_takes_longer_than_the_build_allows_is_made_lazily(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 1e9, 400.0))
    monkeypatch.setattr("recserve.ranker.time.perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr("recserve.store.sources.BATCH_ROWS", 2)
    monkeypatch.setattr(Backlog, "start", lambda *_: None)
    ranker = Ranker.open(bundle, items=ITEMS)
    assert ranker.backlog is not None
    assert ranker.backlog.total == 6
    assert sorted(ranker.rank({}, {}, IDS).item_ids) == IDS


def test_wrong_ids_are_refused_with_their_place_while_items_are_left(lazy: Callable[[], Ranker]) -> None:
    ranker = lazy()
    with pytest.raises(DataError):
        ranker.rank({}, {}, [object()])  # type: ignore[list-item]


def test_an_unknown_way_to_make_payloads_is_refused(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="'later' is no way to make payloads"):
        Ranker.open(bundle, items=ITEMS, materialise="later")
