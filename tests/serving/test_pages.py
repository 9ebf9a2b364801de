from __future__ import annotations

import threading
from typing import Any

import pytest

from recserve.serving.contract import RankerLike


def test_health_version_and_models_are_told(server: Any) -> None:
    with server.client() as client:
        assert client.get("/healthz").json() == {"status": "live"}
        assert client.get("/version").json()["recserve"]
        state = {"name": "rank", "version": 7, "state": "ready"}
        assert client.get("/v1/models").json() == {"models": [state], "loading": []}
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "models": [state], "loading": []})


@pytest.mark.parametrize("path", ["/v1/models/rank", "/v1/models/rank/versions/7"])
def test_metadata_of_a_model_says_what_it_takes(server: Any, path: str) -> None:
    with server.client() as client:
        assert client.get(path).json() == {
            "name": "rank",
            "version": 7,
            "versions": [{"version": 7, "state": "ready"}],
            "ready": True,
            "model_version_status": [
                {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            ],
            "describe": {"inputs": {"user": ["age"]}, "goals": ["ctr"], "items": 3},
        }


@pytest.mark.parametrize(
    ("route", "status", "code", "message"),
    [
        ("GET /v1/models/rnk", 404, "model_not_found", "no model 'rnk'"),
        ("GET /v1/models/rank/versions/8", 404, "model_not_found", "model 'rank' has no version 8"),
        ("GET /v1/models/rank/versions/x", 404, "route_not_found", "no such route"),
        ("GET /", 404, "route_not_found", "no such route"),
        ("POST /readyz", 405, "method_not_allowed", "POST is not for this route"),
        ("DELETE /v1/models/rank", 405, "method_not_allowed", "DELETE is not for this route"),
    ],
)
def test_wrong_routes_are_answered_in_json(server: Any, route: str, status: int, code: str, message: str) -> None:
    with server.client() as client:
        response = client.request(*route.split())
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error["message"]) == (code, message)
    assert ("allow" in response.headers) == (status == 405)


def test_a_ranker_that_cannot_describe_itself_is_our_bug(server: Any, ranker: Any) -> None:
    ranker.describe = lambda: 1 // 0
    with server.client() as client:
        response = client.get("/v1/models/rank")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"


def test_a_loading_server_is_live_but_not_ready(serve: Any, make_ranker: Any) -> None:
    """The second bundle opens only when told, and the port is open before."""
    first, second = make_ranker(), make_ranker(name="other")
    gate, entered, seen = threading.Event(), threading.Event(), []

    def open_ranker(bundle: str) -> RankerLike:
        if bundle == "b":
            entered.set()
            assert gate.wait(10)
        return {"a": first, "b": second}[bundle]

    with serve({"a": first, "b": second}, open_ranker=open_ranker, wait_ready=False) as server:
        assert entered.wait(10)
        with server.client() as client:
            assert client.get("/healthz").status_code == 200
            ready = client.get("/readyz")
            seen.append((ready.status_code, ready.json()["status"], ready.json()["loading"]))
            early = client.post("/v1/models/other:rank", json={"candidates": ["a"]})
            assert (early.status_code, early.json()["error"]["code"]) == (503, "model_loading")
            assert early.headers["retry-after"] == "1"
            assert client.post("/v1/models/rank:rank", json={"candidates": ["a"]}).status_code == 200
            gate.set()
            assert server.ready.wait(10)
            assert client.get("/readyz").status_code == 200
            assert client.post("/v1/models/other:rank", json={"candidates": ["a"]}).status_code == 200
    assert seen == [(503, "not ready", ["b"])]
