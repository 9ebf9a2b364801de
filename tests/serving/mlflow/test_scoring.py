from __future__ import annotations

import json
from time import perf_counter_ns
from typing import Any

import pytest

from recserve.errors import RequestError
from recserve.serving.dialects import Serving
from recserve.serving.mlflow.scoring import score


@pytest.fixture
def serving(make_serving: Any) -> Serving:
    return make_serving("pyfunc_sum_ab", "identity_bytes", model="pyfunc_sum_ab")


def predict(serving: Serving, body: bytes, kind: str = "application/json") -> Any:
    return json.loads(score(serving, kind, body, perf_counter_ns()))["predictions"]


def test_every_form_gets_the_same_answer(serving: Serving) -> None:
    assert predict(serving, b"a,b\n1,2\n3,4\n", "text/csv") == [3, 7]
    assert predict(serving, b'{"inputs": {"a": [1, 3], "b": [2, 4]}}') == [3, 7]
    assert predict(serving, b'{"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}') == [3, 7]
    assert predict(serving, b'{"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1], [4, 3]]}}') == [3, 7]
    assert predict(serving, b'{"inputs": {"a": 1, "b": 2}}') == 3
    shown = serving.statistics.of("pyfunc_sum_ab", 1).as_json("pyfunc_sum_ab", 1)
    assert (shown["inference_count"], shown["execution_count"]) == (9, 5)


def test_integers_go_to_the_signature_of_integers_where_the_model_has_one(serving: Serving) -> None:
    def said(body: bytes, kind: str = "application/json") -> bytes:
        return score(serving, kind, body, perf_counter_ns())

    assert said(b"a,b\n1,2\n3,4\n", "text/csv") == b'{"predictions":[3,7]}'
    assert said(b'{"inputs": {"a": [9007199254740993], "b": [2]}}') == b'{"predictions":[9007199254740995]}'
    for body in (b'{"inputs": {"a": [1.0], "b": [2]}}', b'{"instances": [{"a": 1, "b": 2}, {"a": 1.5, "b": 2}]}'):
        assert b".0" in said(body)
    assert said(b'{"dataframe_split": {"columns": ["a", "b"], "data": []}}') == b'{"predictions":[]}'
    assert said(b'{"dataframe_split": {"columns": ["a", "b"], "data": [[true, 1]]}}') == b'{"predictions":[2.0]}'


def test_text_columns_of_csv_are_text(make_serving: Any) -> None:
    serving = make_serving("identity_bytes")
    assert predict(serving, b"INPUT0\n01\n02\n", "text/csv") == ["01", "02"]


def test_what_the_model_refuses_is_the_callers_error(serving: Serving) -> None:
    with pytest.raises(RequestError, match="Encountered an unexpected error while evaluating the model"):
        predict(serving, b'{"dataframe_records": [{"a": "x", "b": 2.0}]}')
    with pytest.raises(RequestError):
        predict(serving, b'{"inputs": {"a": [1, 2, 3], "b": [1, 2]}}')
    stats = serving.statistics.of("pyfunc_sum_ab", 1).as_json("pyfunc_sum_ab", 1)["inference_stats"]
    assert stats["fail"]["count"] == 2


def test_a_port_with_several_models_needs_one(make_serving: Any) -> None:
    with pytest.raises(RequestError, match="it is not known which model answers"):
        predict(make_serving("pyfunc_sum_ab", "simple"), b"{}")
