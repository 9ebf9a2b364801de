from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from recserve.serving.oip.app import build_oip

Ask = Callable[..., Any]
BOTH = {"inputs": [{"name": f"INPUT{i}", "datatype": "INT32", "shape": [1, 16], "data": [i] * 16} for i in (0, 1)]}
INFER = "/v2/models/simple/infer"


@pytest.fixture
def ask(make_serving: Any, call_app: Ask) -> Ask:
    app = build_oip(make_serving("simple", "identity_fp32"))
    return lambda *arguments, **options: call_app(app, *arguments, **options)


def test_health_is_told(ask: Ask, make_serving: Any, call_app: Ask) -> None:
    assert ask("GET", "/v2/health/live").json() == {"live": True}
    assert ask("GET", "/v2/health/ready").status == 200
    assert ask("GET", "/v2/models/simple/versions/1/ready").json() == {"name": "simple", "ready": True}
    empty = build_oip(make_serving())
    assert call_app(empty, "GET", "/v2/health/ready").status == 503
    assert call_app(empty, "GET", "/v2/health/live").status == 200


@pytest.mark.parametrize("path", ["/v2/models/simple/versions/9/ready", "/v2/models/x/ready"])
def test_a_model_that_is_not_ready_gets_400(ask: Ask, path: str) -> None:
    reply = ask("GET", path)
    assert (reply.status, reply.json()) == (400, {"error": "Model version not ready"})


def test_metadata_are_told(ask: Ask) -> None:
    assert ask("GET", "/v2").json()["name"] == "recserve"
    assert ask("GET", "/v2/models/simple").json()["versions"] == ["1"]
    assert ask("GET", "/v2/models/simple/config").json()["name"] == "simple"
    reply = ask("GET", "/v2/models/nope")
    assert (reply.status, reply.json()) == (404, {"error": "Request for unknown model: 'nope' is not found"})


@pytest.mark.parametrize(
    ("encode", "coding"), [(lambda b: b, "identity"), (gzip.compress, "gzip"), (zlib.compress, "deflate")]
)
def test_bodies_may_be_compressed_both_ways(ask: Ask, encode: Any, coding: str) -> None:
    import json

    headers = {"Content-Encoding": coding, "Accept-Encoding": coding}
    reply = ask("POST", INFER, encode(json.dumps(BOTH).encode()), headers=headers)
    decode = {"identity": lambda b: b, "gzip": gzip.decompress, "deflate": zlib.decompress}[coding]
    assert reply.status == 200
    assert reply.headers.get("content-encoding", "identity") == coding
    assert json.loads(decode(reply.body))["outputs"][0]["data"] == [1] * 16


def test_an_unknown_coding_gets_501(ask: Ask) -> None:
    reply = ask("POST", INFER, b"", headers={"Content-Encoding": "br"})
    assert reply.status == 501
    assert "Unsupported compression type" in reply.json()["error"]
    assert reply.headers["accept-encoding"] == "gzip, deflate"


def test_binary_answers_tell_where_the_json_ends(ask: Ask) -> None:
    reply = ask("POST", INFER, {**BOTH, "parameters": {"binary_data_output": True}})
    assert reply.headers["content-type"] == "application/octet-stream"
    assert len(reply.body) - int(reply.headers["inference-header-content-length"]) == 128


@pytest.mark.parametrize(
    ("method", "path", "status", "problem"),
    [
        ("DELETE", "/v2/models/simple", 405, "Method Not Allowed"),
        ("GET", INFER, 405, "Method Not Allowed"),
        ("POST", "/v2/health/live", 405, "Method Not Allowed"),
        ("GET", "/v2/nope", 404, "Not Found"),
        ("POST", INFER, 400, "The document is empty"),
        ("POST", "/v2/models/simple/versions/x/infer", 400, "failed to get model version"),
        ("POST", "/v2/models/nope/infer", 404, "Request for unknown model: 'nope' is not found"),
        ("POST", "/v2/repository/models/nope/load", 404, "failed to load 'nope'"),
        ("POST", "/v2/systemsharedmemory/region/r/register", 501, "shared memory is not supported"),
        ("GET", "/v2/models/nope/stats", 404, "Request for unknown model: 'nope' is not found"),
    ],
)
def test_errors_have_their_status(ask: Ask, method: str, path: str, status: int, problem: str) -> None:
    reply = ask(method, path)
    assert reply.status == status
    assert problem in reply.json()["error"]
    if status == 405:
        assert reply.headers["allow"]


def test_a_body_beyond_the_limit_gets_400(make_serving: Any, call_app: Ask) -> None:
    app = build_oip(make_serving("simple", max_body_bytes=100))
    reply = call_app(app, "POST", INFER, b"x" * 101)
    assert (reply.status, "the limit is 100" in reply.json()["error"]) == (400, True)
    bomb = gzip.compress(bytes(1000))
    reply = call_app(app, "POST", INFER, bomb, headers={"Content-Encoding": "gzip"})
    assert (reply.status, "inflates to more than 100 bytes" in reply.json()["error"]) == (400, True)


def test_a_failure_of_ours_tells_nothing_of_our_insides(make_serving: Any, call_app: Ask, monkeypatch: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("recserve.serving.oip.app.answer_infer", fail)
    reply = call_app(build_oip(make_serving("simple")), "POST", INFER, b"{}")
    assert reply.status == 500
    assert "secret" not in reply.json()["error"]


def test_statistics_follow_the_requests(ask: Ask) -> None:
    assert ask("POST", INFER, BOTH).status == 200
    shown = ask("GET", "/v2/models/simple/versions/1/stats").json()["model_stats"]
    assert [(row["name"], row["inference_count"]) for row in shown] == [("simple", 1)]
    everything = ask("GET", "/v2/models/stats").json()["model_stats"]
    assert [row["name"] for row in everything] == ["identity_fp32", "simple"]


def test_models_are_unloaded_and_loaded(ask: Ask) -> None:
    assert ask("POST", "/v2/repository/models/simple/unload").status == 200
    assert ask("POST", INFER, BOTH).status == 404
    assert ask("POST", "/v2/repository/index", b'{"ready":true}').json() == [
        {"name": "identity_fp32", "version": "1", "state": "READY", "reason": ""}
    ]
    assert ask("POST", "/v2/repository/models/simple/load", b"{}").status == 200
    assert ask("POST", INFER, BOTH).status == 200


def test_settings_are_told_and_not_changed(ask: Ask) -> None:
    assert ask("GET", "/v2/trace/setting").json()["trace_level"] == ["OFF"]
    assert ask("POST", "/v2/trace/setting", {"trace_level": None}).status == 200
    assert ask("GET", "/v2/logging").json()["log_error"] is True
    for path, kind in (("/v2/logging", "log"), ("/v2/models/simple/trace/setting", "trace")):
        reply = ask("POST", path, {"x": 1})
        assert reply.status == 501
        assert f"{kind} settings cannot be changed through the network" in reply.json()["error"]
    assert ask("POST", "/v2/logging", []).status == 400
    assert ask("GET", "/v2/systemsharedmemory/status").json() == []


def test_an_answer_to_head_is_a_refusal_without_a_body(ask: Ask) -> None:
    reply = ask("HEAD", "/v2/health/live")
    assert (reply.status, reply.body) == (405, b"")
