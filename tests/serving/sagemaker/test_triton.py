from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recserve.errors import RequestError
from recserve.serving.sagemaker.triton import BINARY_TYPE, build_sagemaker_triton, read_binary_type

Ask = Callable[..., Any]
ROW = np.arange(16, dtype="<i4").reshape(1, 16)
JSON = {"Content-Type": "application/json"}
BOTH = {
    "inputs": [
        {"name": f"INPUT{i}", "datatype": "INT32", "shape": [1, 16], "data": ROW.ravel().tolist()} for i in (0, 1)
    ]
}


@pytest.fixture
def ask(make_serving: Any, call_app: Ask) -> Ask:
    app = build_sagemaker_triton(make_serving("simple", "identity_fp32", model="simple"))
    return lambda *arguments, **options: call_app(app, *arguments, **options)


def binary_body() -> tuple[bytes, int]:
    inputs = [
        {"name": f"INPUT{i}", "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": 64}}
        for i in (0, 1)
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return head + ROW.tobytes() * 2, len(head)


def test_json_is_answered_with_json(ask: Ask) -> None:
    reply = ask("POST", "/invocations", BOTH, headers=JSON)
    assert reply.json()["outputs"][0]["data"] == (2 * ROW).ravel().tolist()
    assert reply.headers["content-type"] == "application/json"


def test_binary_data_go_both_ways(ask: Ask) -> None:
    body, length = binary_body()
    reply = ask("POST", "/invocations", body, headers={"Content-Type": f"{BINARY_TYPE}{length}"})
    assert reply.status == 200
    head = int(reply.headers["content-type"].removeprefix(BINARY_TYPE))
    assert json.loads(reply.body[:head])["outputs"][0]["parameters"] == {"binary_data_size": 64}
    assert np.frombuffer(reply.body[head : head + 64], "<i4").tolist() == (2 * ROW).ravel().tolist()


def test_a_model_may_be_named(ask: Ask) -> None:
    headers = {"Content-Type": BINARY_TYPE + "0", "X-Amzn-SageMaker-Custom-Attributes": "tfs-model-name=identity_fp32"}
    reply = ask("POST", "/invocations", np.array([1.5], "<f4").tobytes(), headers=headers)
    assert reply.status == 200
    assert reply.headers["x-amzn-sagemaker-custom-attributes"] == "tfs-model-name=identity_fp32"


@pytest.mark.parametrize("size", ["-123", "99999999999", "x", "100000", ""])
def test_a_length_that_makes_no_sense_gets_400(ask: Ask, size: str) -> None:
    reply = ask("POST", "/invocations", binary_body()[0], headers={"Content-Type": BINARY_TYPE + size})
    assert reply.status == 400
    assert "inference header size" in reply.json()["error"]


def test_a_type_within_another_one_is_refused() -> None:
    assert read_binary_type("application/json") is None
    assert read_binary_type("application/vnd.sagemaker-triton.binary+json; json-header-size=7") == "7"
    with pytest.raises(RequestError, match="expect MIME type for binary data starts with"):
        read_binary_type("additional-string/" + BINARY_TYPE + "7")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ping", 200),
        ("POST", "/ping", 405),
        ("GET", "/invocations", 405),
        ("GET", "/execution-parameters", 200),
        ("GET", "/nope", 400),
        ("POST", "/invocations", 400),
    ],
)
def test_routes(ask: Ask, method: str, path: str, status: int) -> None:
    assert ask(method, path).status == status


def test_a_model_that_is_gone_gets_400(make_serving: Any, call_app: Ask) -> None:
    app = build_sagemaker_triton(make_serving(model="nope"))
    assert call_app(app, "GET", "/ping").status == 400
    reply = call_app(app, "POST", "/invocations", BOTH, headers=JSON)
    assert (reply.status, reply.json()) == (400, {"error": "Request for unknown model: 'nope' is not found"})


def test_a_failure_of_ours_gets_500(ask: Ask, monkeypatch: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("recserve.serving.sagemaker.triton.answer_infer", fail)
    reply = ask("POST", "/invocations", BOTH, headers=JSON)
    assert (reply.status, "secret" in reply.json()["error"]) == (500, False)
