from __future__ import annotations

import copy
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.plain_model import open_plain_model
from recserve.serving.dialects import Serving
from recserve.serving.messages import Limits
from recserve.serving.oip.app import build_oip
from recserve.serving.rank_threads import RankThreads
from recserve.serving.registry import Registry
from recserve.serving.repository import Repository
from recserve.serving.service import RankService

Ask = Callable[..., Any]
BOTH = {"inputs": [{"name": f"INPUT{i}", "datatype": "INT32", "shape": [1, 16], "data": [i] * 16} for i in (0, 1)]}
INFER = "/v2/models/simple/infer"


@pytest.fixture
def ask(make_serving: Any, call_app: Ask) -> Ask:
    app = build_oip(make_serving("simple", "identity_fp32"))
    return lambda *arguments, **options: call_app(app, *arguments, **options)


@pytest.fixture(scope="module")
def fuzzed(dialect_base: Path, call_app: Ask) -> Ask:
    """As `ask`, shared by the examples of a property."""
    registry = Registry()
    repository = Repository(registry, lambda directory, name=None: open_plain_model(directory, name=name))
    for name in ("simple", "identity_fp32", "identity_bytes"):
        repository.load_version(dialect_base / name / "1")
    serving = Serving(RankService(registry), registry, repository, RankThreads(0, 1), Limits(), lambda: True)
    app = build_oip(serving)
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


def test_a_model_that_was_unloaded_counts_from_nothing(ask: Ask) -> None:
    ask("POST", INFER, BOTH)
    ask("POST", "/v2/repository/models/simple/unload")
    ask("POST", "/v2/repository/models/simple/load")
    assert ask("GET", "/v2/models/simple/stats").json()["model_stats"][0]["execution_count"] == 0


def test_lists_within_one_another_are_refused_however_deep(ask: Ask) -> None:
    for depth in (99, 100, 1500, 200_000):
        data = b"[" * depth + b"7" + b"]" * depth
        body = b'{"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": %b}]}' % data
        reply = ask("POST", "/v2/models/identity_fp32/infer", body)
        assert reply.status == (200 if depth < 100 else 400)
        assert depth < 100 or "JSON nesting depth exceeds maximum allowed limit (100)" in reply.json()["error"]


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


HOSTILE = st.binary(max_size=80) | st.text('[]{}",:0123456789.eE-NaInfity \\', max_size=120).map(str.encode)


@given(
    HOSTILE,
    st.none() | st.integers(-5, 200).map(str) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
    st.sampled_from(["", "gzip", "deflate", "br"]),
    st.sampled_from(["simple", "identity_fp32", "identity_bytes"]),
)
def test_hostile_requests_are_refused_and_nothing_breaks(
    fuzzed: Ask, body: bytes, length: str | None, coding: str, model: str
) -> None:
    headers = {"Content-Encoding": coding} | ({} if length is None else {"Inference-Header-Content-Length": length})
    reply = fuzzed("POST", f"/v2/models/{model}/infer", body, headers=headers)
    assert reply.status in {200, 400, 501}
    assert reply.status == 200 or isinstance(reply.json()["error"], str)


@given(st.data())
def test_a_request_with_one_thing_changed_is_answered_or_refused(fuzzed: Ask, data: st.DataObject) -> None:
    document: Any = copy.deepcopy(BOTH)
    place: Any = document["inputs"][data.draw(st.integers(0, 1))]
    key = data.draw(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]))
    odd = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
    place[key] = data.draw(odd | st.lists(odd, max_size=3) | st.dictionaries(st.text(max_size=3), odd, max_size=2))
    reply = fuzzed("POST", INFER, document)
    assert reply.status in {200, 400}
    assert fuzzed("POST", INFER, BOTH).status == 200
