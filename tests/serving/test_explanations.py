"""Explained answers of a real ranker, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recserve.ranker import Ranker
from recserve.serving.http import HttpApp

FEATURES = [
    {"feature_name": "bias", "feature_type": "raw_feature", "expression": "user:bias"},
    {"feature_name": "value", "feature_type": "raw_feature", "expression": "item:value"},
    {"feature_name": "boost", "feature_type": "raw_feature", "expression": "candidate:boost"},
]
ITEMS = [{"item_id": "a", "value": 1.0}, {"item_id": "b", "value": 2.0}]


@pytest.fixture
def ranked(sum_model: Callable[..., Path], serving_of: Any, call_app: Any) -> Any:
    ranker = Ranker.open(sum_model(FEATURES, {"ctr": ["bias", "value", "boost"]}), items=ITEMS)
    app = HttpApp(serving_of(ranker))

    def post(**fields: Any) -> Any:
        return call_app(app, "POST", f"/v1/models/{ranker.name}:rank", fields)

    return post


def test_the_best_candidates_are_told_feature_by_feature(ranked: Any) -> None:
    candidates = {"item_id": ["a", "b", "c"], "boost": [0.5, 0.25, 0.75]}
    items = {"c": {"value": 4.0}}
    fields = {"user": {"bias": 10.0}, "candidates": candidates, "items": items, "explain": True}
    answer = ranked(**fields).json()
    assert answer["item_ids"] == ["c", "b", "a"]
    told = {row["item_id"]: "\n".join(row["lines"]) for row in answer["explanations"]}
    assert list(told) == ["c", "b", "a"]
    assert told["c"].startswith("item 'c' scored 14.75")
    assert "value = [4]  (item)" in told["c"]
    assert told["b"].startswith("item 'b' scored 12.25")
    assert "boost = [0.25]" in told["b"]
    assert {"queue", "parse", "rank", "request"} <= answer["timings_us"].keys()


def test_only_the_best_few_are_explained(ranked: Any) -> None:
    answer = ranked(candidates=["a", "b"] * 20, explain=True, user={"bias": 1.0}).json()
    assert len(answer["item_ids"]) == 40
    assert len(answer["explanations"]) == 10


def test_a_model_that_cannot_explain_says_so(serving_of: Any, make_ranker: Any, call_app: Any) -> None:
    app = HttpApp(serving_of(make_ranker()))
    reply = call_app(app, "POST", "/v1/models/rank:rank", {"candidates": ["a"], "explain": True})
    assert (reply.status, reply.json()["error"]["code"]) == (400, "not_explained")
    assert reply.json()["error"]["message"] == "model 'rank' does not explain its scores"
