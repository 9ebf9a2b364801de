"""Staged equals flat: every model of the zoo, over every kind of feature, from the ranker down to single values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.ranker import Ranker

MODELS = ("lr", "fm", "wide_deep", "deepfm", "din", "two_tower", "mmoe")
COLORS = st.sampled_from(["red", "green", "blue", "mauve"])
NUMBERS = st.integers(0, 3) | st.floats(-2, 2, width=32)
LEVELS = st.dictionaries(COLORS, st.integers(0, 3).map(float), min_size=1, max_size=4)
USER = {
    "user_id": st.integers(0, 99) | st.text(max_size=5),
    "gender": st.sampled_from(["f", "m", "f\x1dm", ""]),
    "category_clicks": LEVELS,
    "category_levels": LEVELS.map(lambda pairs: "\x1d".join(f"{key}:{value}" for key, value in pairs.items())),
    "budget": NUMBERS,
}
CONTEXT = {"hour": st.integers(0, 23) | st.none()}


@st.composite
def clicks(draw: st.DrawFn) -> dict[str, Any]:
    """A sequence as lists or as text, in all its columns or in none."""
    steps = draw(st.lists(st.tuples(st.integers(0, 59), COLORS, st.integers(0, 3)), max_size=8))
    if not steps:
        return {}
    columns = {f"clicks__{name}": [step[n] for step in steps] for n, name in enumerate(("item_id", "category", "age"))}
    if draw(st.booleans()):
        return {name: ";".join(map(str, cells)) for name, cells in columns.items()}
    return columns


USERS = st.tuples(st.fixed_dictionaries({}, optional=USER), clicks()).map(lambda parts: parts[0] | parts[1])
CONTEXTS = st.fixed_dictionaries({}, optional=CONTEXT)
CANDIDATES = st.lists(st.integers(0, 70), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def rankers(market: Any) -> dict[str, Ranker]:
    return {}


@pytest.fixture
def ranker(rankers: dict[str, Ranker], model: str, market: Any) -> Ranker:
    if model not in rankers:
        rankers[model] = Ranker.open(market.bundle(model), items=market.items)
    return rankers[model]


@pytest.mark.parametrize("model", MODELS)
def test_a_ranking_is_that_of_the_flat_pipeline(market: Any, ranker: Ranker, model: str) -> None:
    flat = market.flat(market.bundle(model))

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(user=USERS, context=CONTEXTS, ids=CANDIDATES, recall=st.lists(NUMBERS | st.none(), min_size=30, max_size=30))
    def holds(user: dict[str, Any], context: dict[str, Any], ids: list[int], recall: list[Any]) -> None:
        result = ranker.rank(user, context, {"item_id": ids, "recall": recall[: len(ids)]})
        known = [n for n, item in enumerate(ids) if item < len(market.items)]
        assert result.unknown_items == [item for item in ids if item >= len(market.items)]
        if not known:
            return
        rows = {"item_id": [ids[n] for n in known], "recall": [recall[n] for n in known]}
        expected = flat.run(market.tile(user, context, rows))
        assert (np.diff(result.scores) <= 0).all()
        assert sorted(result.positions.tolist()) == known
        order = np.searchsorted(known, result.positions)
        for name, want in expected.items():
            np.testing.assert_allclose(result.outputs[name], want[order], rtol=1e-5, atol=1e-5)

    holds()


def full_user(seed: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    colors = ["red", "green", "blue", "mauve"]
    return {
        "user_id": seed,
        "gender": "f",
        "category_clicks": {color: float(rng.random()) for color in colors},
        "category_levels": "\x1d".join(f"{color}:{n}" for n, color in enumerate(colors)),
        "budget": 1.5,
        "clicks__item_id": rng.integers(0, 60, 4).tolist(),
        "clicks__category": [colors[n] for n in rng.integers(0, 4, 4)],
        "clicks__age": rng.random(4).tolist(),
    }


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [1, 500])
def test_one_candidate_and_five_hundred_are_ranked_as_flat(market: Any, ranker: Ranker, model: str, size: int) -> None:
    ids = (np.arange(size) * 7 % 64).tolist()
    candidates = {"item_id": ids, "recall": np.linspace(0, 1, size)}
    result = ranker.rank(full_user(), {"hour": 7}, candidates)
    expected = market.flat(market.bundle(model)).run(market.tile(full_user(), {"hour": 7}, candidates))
    for name, want in expected.items():
        np.testing.assert_allclose(result.outputs[name], want[result.positions], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_scores_do_not_depend_on_who_else_is_asked_about(ranker: Ranker, model: str) -> None:
    """Up to the last bits: engines add in another order for other sizes of a batch."""
    rng = np.random.default_rng(1)
    alone = {item: ranker.rank(full_user(), {}, [item]).scores[0] for item in range(64)}
    for size in (2, 3, 17, 64, 200):
        ids = rng.integers(0, 64, size).tolist()
        result = ranker.rank(full_user(), {}, ids)
        np.testing.assert_allclose(result.scores, [alone[item] for item in result.item_ids], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_scores_do_not_depend_on_the_order_of_the_candidates(ranker: Ranker, model: str) -> None:
    """Up to the last bits: the rows at the end of a batch go through other instructions."""
    rng = np.random.default_rng(1)
    for size in (5, 13, 64):
        ids = rng.permutation(64)[:size]
        first = ranker.rank(full_user(), {}, ids)
        again = ranker.rank(full_user(), {}, rng.permutation(ids))
        scores = dict(zip(again.item_ids, again.scores.tolist(), strict=True))
        np.testing.assert_allclose([scores[item] for item in first.item_ids], first.scores, rtol=1e-6, atol=1e-6)
