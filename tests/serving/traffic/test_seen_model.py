from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.errors import DataError
from recserve.serving.traffic.seen_model import SeenModel


def test_a_stand_in_is_the_model_but_for_its_calls_being_seen(make_ranker: Any) -> None:
    ranker, seen = make_ranker(), []
    model = SeenModel(ranker, seen.append)
    assert (model.name, model.version, hasattr(model, "signatures")) == ("rank", 7, False)
    result = model.rank({"scores": [0.5, np.nan]}, None, ["a", "b"], top_k=2)
    (call,) = seen
    assert call.answer is result
    assert call.scores().tolist() == [0.5]
    assert call.time_us > 0
    other = call.repeat(make_ranker(version=8))
    assert (call.compare(other).compared, other.answer.version.version) == (1, 8)


def test_failures_count_unless_they_are_the_callers(make_ranker: Any) -> None:
    seen: list[Any] = []
    model = SeenModel(make_ranker(), seen.append)
    with pytest.raises(DataError):
        model.rank({"act": "refuse"}, None, ["a"])
    assert seen == []
    with pytest.raises(ZeroDivisionError):
        model.rank({"act": "break"}, None, ["a"])
    assert seen == [None]


def test_tensors_of_texts_have_no_scores(stage: Any) -> None:
    seen: list[Any] = []
    model = SeenModel(stage.models[1], seen.append)
    model.run("serving_default", {"x": np.array([1.0, np.inf], np.float32)})
    assert seen[0].scores().tolist() == [1.0]
