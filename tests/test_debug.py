from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.columns import Ragged
from recserve.debug import explain_candidate
from recserve.errors import DataError, RequestError
from recserve.ranker import Ranker


def raw(name: str, source: str) -> dict[str, Any]:
    return {"feature_name": name, "feature_type": "raw_feature", "expression": source}


FEATURES = [
    raw("bias", "user:bias"),
    raw("hour", "context:hour"),
    raw("value", "item:value"),
    raw("boost", "candidate:boost"),
    {"feature_name": "clicks", "feature_type": "lookup_feature", "map": "user:clicks", "key": "item:category"},
]
ITEMS = [{"item_id": "a", "value": 1.0, "category": "x"}, {"item_id": "b", "value": 2.0, "category": "y"}]
USER = {"bias": 10.0, "clicks": {"x": 5.0, "y": 7.0}}
CONTEXT = {"hour": 100.0}


@pytest.fixture
def ranker(sum_model: Callable[..., Path]) -> Ranker:
    names = [feature["feature_name"] for feature in FEATURES]
    return Ranker.open(sum_model(FEATURES, {"ctr": names}), items=ITEMS)


def test_a_candidate_is_traced_from_the_payload(ranker: Ranker) -> None:
    trace = explain_candidate(ranker, USER, CONTEXT, "b", candidate={"boost": 0.5})
    values = {feature.name: feature.values[-1].elements for feature in trace.features}
    assert values == {"bias": [10.0], "hour": [100.0], "boost": [0.5], "clicks": [7.0]}
    assert trace.stored == ("value",)
    assert (trace.score, trace.outputs) == (119.5, {"ctr": 119.5})
    assert trace.is_stale is None
    clicks = next(feature for feature in trace.features if feature.name == "clicks")
    assert clicks.rate == "candidate"
    assert {value.rate for value in clicks.values} == {"request", "item", "candidate"}
    text = "\n".join(trace.lines())
    assert text.startswith("item 'b' scored 119.5 by sums 1\n  ctr = 119.5\n")
    assert "bias = [10]  (request)\n  user:bias = 10" in text
    assert "in the payload only: value" in text


def test_columns_of_the_item_show_its_features_and_whether_the_store_is_behind(ranker: Ranker) -> None:
    same = explain_candidate(ranker, USER, CONTEXT, "a", item=ITEMS[0])
    assert (same.is_stale, same.stored, same.score) == (False, (), 116.0)
    value = next(feature for feature in same.features if feature.name == "value")
    assert value.lines()[:2] == ["value = [1]  (item)", "  item:value = 1"]
    for item in ({"value": 3.0, "category": "x"}, {"value": 1.0, "category": "y"}):
        newer = explain_candidate(ranker, USER, CONTEXT, "a", item=item)
        assert newer.is_stale
    assert "payload, older than the given item columns" in newer.lines()
    unknown = explain_candidate(ranker, USER, CONTEXT, "z", item=ITEMS[0])
    assert (unknown.is_stale, unknown.score) == (None, 116.0)


def test_what_cannot_be_traced_is_told(ranker: Ranker) -> None:
    with pytest.raises(RequestError, match=r"there is no item 'z'\. Give its columns, or an id of the store"):
        explain_candidate(ranker, USER, CONTEXT, "z")
    with pytest.raises(DataError, match="feature 'bias', column 'bias', row 0: 'q' is not a number"):
        explain_candidate(ranker, {"bias": "q"}, CONTEXT, "a")


def as_elements(value: Any) -> Any:
    """The one row of an offline output, as a trace has it."""
    if not isinstance(value, Ragged):
        return value[0].tolist()
    if value.seq_lengths is None:
        return value.values.tolist()
    bounds = np.arange(1, len(value.values)) if value.key_lengths is None else np.cumsum(value.key_lengths)[:-1]
    return [part.ravel().tolist() for part in np.split(value.values, bounds)]


@pytest.mark.parametrize("model", ["din", "mmoe"])
def test_traced_features_and_scores_are_those_of_training_and_serving(market: Any, model: str) -> None:
    ranker = Ranker.open(market.bundle(model), items=market.items)
    user = {"user_id": "u1", "gender": "f", "budget": 3.0, "category_clicks": {"red": 2.0, "blue": 1.0}}
    user |= {"category_levels": "red:a\x1dblue:b", "clicks__item_id": "3;4", "clicks__category": "red;blue"}
    user |= {"clicks__age": "1;2"}
    context, item = {"hour": 7}, market.items[5]
    trace = explain_candidate(ranker, user, context, item["item_id"], candidate={"recall": 0.5}, item=item)
    candidates = {"item_id": [item["item_id"]], "recall": [0.5]}
    offline = ranker.bundle.features.compile().run(market.tile(user, context, candidates))
    for feature in trace.features:
        assert feature.values[-1].elements == as_elements(offline[feature.name]), feature.name
    served = ranker.rank(user, context, candidates)
    assert trace.score == pytest.approx(float(served.scores[0]), rel=1e-6)
    assert trace.is_stale is False
