"""The rank route over real sockets. A test that breaks the server in some way ends by ranking once more."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest

from recserve.serving.http import HttpApp, Target, parse_call_path

RANK = "/v1/models/rank:rank"
GOOD = b'{"candidates":["a","b"]}'


def lives(server: Any) -> bool:
    with server.client() as client:
        answer = client.post(RANK, content=GOOD)
    return answer.status_code == 200 and answer.json()["item_ids"] == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/models/rank:rank", Target("rank", None)),
        ("/v1/models/a.b-c_1/versions/12:rank", Target("a.b-c_1", 12)),
        ("/v1/models/rank", None),
        ("/v1/models/rank/versions/x:rank", None),
        ("/v1/models/a/b:rank", None),
        ("/v1/models/:rank", None),
        ("/healthz", None),
    ],
)
def test_a_path_names_a_model_and_perhaps_a_version(path: str, target: Target | None) -> None:
    assert parse_call_path(path) == target


def test_candidates_are_ranked_by_name_and_by_version(server: Any, ranker: Any) -> None:
    body = {"user": {"age": 1}, "candidates": ["a", "b", "?c"], "top_k": 1, "request_id": "q"}
    with server.client() as client:
        for path in (RANK, "/v1/models/rank/versions/7:rank"):
            response = client.post(path, json=body)
            assert response.status_code == 200
            assert response.headers["content-type"] == "application/json"
            assert response.json() == {
                "model": {"name": "rank", "version": 7, "table_epoch": 3, "item_epoch": 5},
                "request_id": "q",
                "item_ids": ["a"],
                "scores": [2.0],
                "outputs": {"ctr": [0.2]},
                "unknown_items": ["?c"],
                "missing_columns": [],
            }
    assert ranker.calls[0]["top_k"] == 1


def test_stage_times_include_the_servers_own(server: Any) -> None:
    with server.client() as client:
        times = client.post(RANK, json={"candidates": ["a"], "timings": True}).json()["timings_us"]
    assert set(times) == {"queue", "parse", "features", "rank"}
    assert all(time >= 0 for time in times.values())


def test_the_request_id_comes_from_the_body_then_the_header_then_the_server(server: Any) -> None:
    with server.client() as client:
        header = {"X-Request-ID": "from header"}
        in_body = {"candidates": ["a"], "request_id": "from body"}
        assert client.post(RANK, json=in_body, headers=header).json()["request_id"] == "from body"
        assert client.post(RANK, content=GOOD, headers=header).json()["request_id"] == "from header"
        assert len(client.post(RANK, content=GOOD).json()["request_id"]) == 20
        long = client.post(RANK, content=GOOD, headers={"X-Request-ID": "x" * 257})
        assert (long.status_code, long.json()["error"]["where"]) == (400, "header x-request-id")


@pytest.mark.parametrize(
    ("route", "body", "status", "code"),
    [
        (f"POST {RANK}", b"", 400, "invalid_json"),
        (f"POST {RANK}", b'{"candidates":["a","b"', 400, "invalid_json"),
        (f"POST {RANK}", b'{"candidates":[],"x":1}', 400, "unknown_field"),
        (f"POST {RANK}", b'{"candidates":[]}', 400, "empty_candidates"),
        (f"POST {RANK}", json.dumps({"candidates": list(range(100_000))}).encode(), 400, "too_many_candidates"),
        (f"POST {RANK}", b'{"candidates":["a"],"user":{"act":"refuse"}}', 400, "invalid_data"),
        (f"POST {RANK}", b'{"candidates":["a"],"user":{"act":"break"}}', 500, "internal"),
        ("POST /v1/models/rnk:rank", GOOD, 404, "model_not_found"),
        ("POST /v1/models/rank/versions/8:rank", GOOD, 404, "model_not_found"),
        (f"POST /v1/models/rank/versions/{'9' * 40}:rank", GOOD, 404, "route_not_found"),
        ("POST /v1/models/rank:rnk", GOOD, 404, "route_not_found"),
        (f"GET {RANK}", b"", 405, "method_not_allowed"),
        (f"PUT {RANK}", GOOD, 405, "method_not_allowed"),
    ],
)  # fmt: skip
def test_a_wrong_request_has_its_status_and_code(server: Any, route: str, body: bytes, status: int, code: str) -> None:
    with server.client() as client:
        response = client.request(*route.split(), content=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert set(error) == {"code", "message", "where", "hint"}
    assert "secret" not in response.text
    assert lives(server)


def test_a_crash_of_the_ranker_is_logged_with_its_traceback(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    with server.client() as client:
        client.post(RANK, content=b'{"candidates":["a"],"user":{"act":"break"}}')
    assert f"A request to {RANK} failed" in caplog.text
    assert "ZeroDivisionError: secret" in caplog.text


def test_health_is_answered_while_a_request_is_ranked(server: Any, ranker: Any) -> None:
    wait = {"user": {"act": "wait"}, "candidates": [1]}
    slow = threading.Thread(target=httpx.post, args=(f"http://127.0.0.1:{server.port}{RANK}",), kwargs={"json": wait})
    slow.start()
    assert ranker.entered.wait(10)
    with server.client() as client:
        assert client.get("/healthz").status_code == 200
    ranker.gate.set()
    slow.join(10)
    assert not slow.is_alive()


def test_more_requests_than_may_wait_are_refused_with_a_time_to_come_back(serve: Any, make_ranker: Any) -> None:
    ranker = make_ranker()
    with serve({"b": ranker}, max_waiting=1) as server:
        wait = {"user": {"act": "wait"}, "candidates": [1]}
        results: list[int] = []

        def post() -> None:
            with server.client() as client:
                results.append(client.post(RANK, json=wait).status_code)

        posts = [threading.Thread(target=post) for _ in range(8)]
        posts[0].start()
        assert ranker.entered.wait(10)
        for thread in posts[1:]:
            thread.start()
        with server.client() as client:  # refused requests end while the gate is still shut
            while len(results) < 6:
                assert client.get("/healthz").status_code == 200
        ranker.gate.set()
        for thread in posts:
            thread.join(10)
    assert sorted(results) == [200] * 2 + [503] * 6


def test_a_server_without_rank_threads_ranks_on_the_event_loop(serve: Any, make_ranker: Any) -> None:
    with serve({"b": make_ranker()}, rank_threads=0) as server:
        assert lives(server)


def test_answered_requests_reach_the_record_sink(serve: Any, make_ranker: Any, make_sink: Any) -> None:
    sink = make_sink()
    with serve({"b": make_ranker()}, records=sink) as server, server.client() as client:
        client.post(RANK, content=GOOD, headers={"x-request-id": "q1"})
        client.post(RANK, content=b"{")
    assert [record.request_id for record in sink.records] == ["q1"]
    assert sink.is_closed


def test_several_models_answer_one_request(serving_of: Any, make_ranker: Any, call_app: Any) -> None:
    rankers = [make_ranker("rank", 7), make_ranker("ctr", 1), make_ranker("ctr", 2)]
    serving = serving_of(*rankers)
    serving.registry.set_label("ctr", "old", 1)
    models = ["rank", {"name": "ctr"}, {"name": "ctr", "version": 1}, {"name": "ctr", "label": "old"}]
    body = {"candidates": ["a", "b"], "top_k": 1, "request_id": "q", "models": models}
    reply = call_app(HttpApp(serving), "POST", "/v1/models:rank", body)
    answers = reply.json()["answers"]
    found = [(answer["model"]["name"], answer["model"]["version"]) for answer in answers]
    assert found == [("rank", 7), ("ctr", 2), ("ctr", 1), ("ctr", 1)]
    assert {answer["request_id"] for answer in answers} == {"q"}


@pytest.mark.parametrize(
    ("models", "message", "where"),
    [
        (None, "expected a list of 1 to 16 models, got null", "$.models"),
        ([], "expected a list of 1 to 16 models, got 0", "$.models"),
        (["rank"] * 17, "expected a list of 1 to 16 models, got 17", "$.models"),
        ([3], "expected a name or an object with 'name', got an integer", "$.models[0]"),
        ([{"name": "rank", "v": 1}], "expected a name or an object with 'name', got an object", "$.models[0]"),
        ([{"name": "rank", "version": "1"}], "'version' is an integer and 'label' a text", "$.models[0]"),
        ([{"name": "rank", "version": 1, "label": "x"}], "both 'version' and 'label' are given", "$.models[0]"),
    ],
)
def test_models_that_are_no_choice_are_told(server: Any, models: Any, message: str, where: str) -> None:
    with server.client() as client:
        error = client.post("/v1/models:rank", json={"candidates": ["a"], "models": models}).json()["error"]
    assert (error["message"], error["where"]) == (message, where)


def test_of_several_models_all_answer_or_none(serving_of: Any, ranker: Any, call_app: Any) -> None:
    body = {"candidates": ["a"], "models": ["rank", "none"]}
    reply = call_app(HttpApp(serving_of(ranker)), "POST", "/v1/models:rank", body)
    assert (reply.status, reply.json()["error"]["where"]) == (404, "$.models[1]")
