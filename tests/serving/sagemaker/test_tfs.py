"""The contract of SageMaker's TensorFlow Serving container, asked as the platform asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from recserve.serving.sagemaker.tfs import build_sagemaker_tfs

Ask = Callable[..., Any]
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.fixture
def ask(make_serving: Any, call_app: Ask) -> Ask:
    app = build_sagemaker_tfs(make_serving("half_plus_three", "simple", model="half_plus_three"))
    return lambda *arguments, **options: call_app(app, *arguments, **options)


def invoke(ask: Ask, body: bytes, kind: str = "application/json", **headers: str) -> Any:
    return ask("POST", "/invocations", body, headers={"Content-Type": kind, **headers})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"instances": [[1.0, 2.0], [5.0, 0.0]]}'),
        ("application/json; charset=utf-8", b"[[1.0, 2.0], [5.0, 0.0]]"),
        ("application/jsonlines", b"[1.0, 2.0]\n[5.0, 0.0]"),
        ("application/jsons", b'{"x": [1.0, 2.0]}\n{"x": [5.0, 0.0]}'),
        ("text/csv", b"1.0,2.0\n5.0,0.0"),
    ],
)
def test_every_type_of_body_gets_the_same_answer(ask: Ask, kind: str, body: bytes) -> None:
    reply = invoke(ask, body, kind)
    assert (reply.status, reply.json()) == (200, {"predictions": [[3.5, 4.0], [5.5, 3.0]]})
    assert b"\n" not in reply.body


def test_custom_attributes_choose_the_model_and_come_back(ask: Ask) -> None:
    value = "tfs-model-name=half_plus_three,tfs-model-version=123,own=7"
    reply = invoke(ask, b'{"instances": [1.0]}', **{ATTRIBUTES: value})
    assert reply.json() == {"predictions": [3.5]}
    assert reply.headers[ATTRIBUTES.lower()] == value
    reply = invoke(ask, b'{"instances": [1.0]}', **{ATTRIBUTES: "tfs-model-name=half_plus_three,tfs-model-version=9"})
    assert reply.status == 404
    reply = invoke(ask, b"{}", **{ATTRIBUTES: "tfs-method=explain"})
    assert (reply.status, "tfs-method 'explain' is unknown" in reply.json()["error"]) == (400, True)


def test_the_first_accepted_type_is_the_answers(ask: Ask) -> None:
    reply = invoke(ask, b"1.0", "text/csv", Accept="application/jsonlines, application/json")
    assert reply.headers["content-type"] == "application/jsonlines"


def test_the_platform_says_what_is_accepted_where_the_request_does_not(make_serving: Any, call_app: Ask) -> None:
    serving = make_serving(
        "half_plus_three", environment={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/jsonlines"}
    )
    reply = call_app(build_sagemaker_tfs(serving), "POST", "/invocations", b"1.0", headers={"Content-Type": "text/csv"})
    assert reply.headers["content-type"] == "application/jsonlines"


@pytest.mark.parametrize("kind", ["application/x-image", ""])
def test_another_type_of_body_gets_415(ask: Ask, kind: str) -> None:
    reply = invoke(ask, b"x", kind)
    assert (reply.status, reply.json()) == (415, {"error": f"Unsupported Media Type: {kind or 'Unknown'}"})


def test_a_body_that_is_no_json_gets_400(ask: Ask) -> None:
    reply = invoke(ask, b"whatever")
    assert reply.status == 400
    assert "JSON Parse error" in reply.json()["error"]


def test_ping_waits_for_the_model(ask: Ask, make_serving: Any, call_app: Ask) -> None:
    reply = ask("GET", "/ping")
    assert (reply.status, reply.body) == (200, b"")
    assert call_app(build_sagemaker_tfs(make_serving()), "GET", "/ping").status == 502
    other = build_sagemaker_tfs(make_serving("simple", model="half_plus_three"))
    assert call_app(other, "GET", "/ping").status == 502
    several = build_sagemaker_tfs(make_serving("simple", "half_plus_three"))
    assert call_app(several, "GET", "/ping").status == 200


def test_other_routes(ask: Ask) -> None:
    assert ask("GET", "/nope").json() == {"error": "Not Found"}
    assert ask("GET", "/invocations").status == 405
    assert ask("GET", "/execution-parameters").json()["BatchStrategy"] == "MULTI_RECORD"


def test_bodies_are_limited(make_serving: Any, call_app: Ask) -> None:
    app = build_sagemaker_tfs(make_serving("half_plus_three", max_body_bytes=10))
    headers = {"Content-Type": "application/json"}
    assert call_app(app, "POST", "/invocations", b"x" * 11, headers=headers).status == 413
    reply = call_app(app, "POST", "/invocations", b"x", headers={**headers, "Content-Encoding": "br"})
    assert reply.status == 415


def test_a_failure_of_ours_tells_nothing_of_our_insides(ask: Ask, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("recserve.serving.sagemaker.tfs.answer_tensorflow", fail)
    reply = invoke(ask, b"{}")
    assert (reply.status, "secret" in json.dumps(reply.json())) == (500, False)
