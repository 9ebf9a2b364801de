"""Explained answers of a real ranker, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


def test_rows_of_numbers_are_told_alike_as_arrays_and_as_lists(
    sum_model: Callable[..., Path], serving_of: Any, call_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"feature_name": "wide", "feature_type": "raw_feature", "expression": "candidate:wide", "value_dim": 40}
    ranker = Ranker.open(sum_model([*FEATURES[:2], wide], {"ctr": ["bias", "value", "wide"]}), items=ITEMS)
    app = HttpApp(serving_of(ranker))
    candidates = {"item_id": ["a", "b"], "wide": np.linspace(0, 1, 80).reshape(2, 40).tolist()}
    fields = {"user": {"bias": 10.0, "pad": "x" * 4096}, "candidates": candidates, "explain": True}
    seen = []
    rank = ranker.rank
    monkeypatch.setattr(ranker, "rank", lambda *args, **options: seen.append(args[2]) or rank(*args, **options))
    answers = [call_app(app, "POST", f"/v1/models/{ranker.name}:rank", fields).json()]
    monkeypatch.setattr("recserve.serving.messages.read_rows", lambda _: None)
    answers.append(call_app(app, "POST", f"/v1/models/{ranker.name}:rank", fields).json())
    assert [type(asked["wide"]) for asked in seen] == [np.ndarray, list]
    for name in ("item_ids", "scores", "outputs", "explanations"):
        assert answers[0][name] == answers[1][name]


def test_only_the_best_few_are_explained(ranked: Any) -> None:
    answer = ranked(candidates=["a", "b"] * 20, explain=True, user={"bias": 1.0}).json()
    assert len(answer["item_ids"]) == 40
    assert len(answer["explanations"]) == 10


def test_a_model_that_cannot_explain_says_so(serving_of: Any, make_ranker: Any, call_app: Any) -> None:
    app = HttpApp(serving_of(make_ranker()))
    reply = call_app(app, "POST", "/v1/models/rank:rank", {"candidates": ["a"], "explain": True})
    assert (reply.status, reply.json()["error"]["code"]) == (400, "not_explained")
    assert reply.json()["error"]["message"] == "model 'rank' does not explain its scores"
