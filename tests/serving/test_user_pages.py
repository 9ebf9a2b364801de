"""Kept users over HTTP, and requests that name one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recserve.serving.dialects import Port
from recserve.serving.oversight import Operations

RANK = "/v1/models/rank:rank"


@pytest.fixture(params=["recserve", "tfs"])
def keeper(request: Any, serve: Any, ranker: Any, tmp_path: Path) -> Iterator[Any]:
    operations = Operations(users_directory=str(tmp_path))
    options = {"operations": operations, "ports": [Port(request.param, 0)]}
    with serve({"models/rank/7": ranker}, **options) as server:
        server.port = int(server.process.addresses[request.param].rpartition(":")[2])
        with server.client() as client:
            yield client


def test_a_request_takes_the_columns_of_the_user_that_it_names(keeper: Any, ranker: Any) -> None:
    assert keeper.put("/v1/users/u%201", json={"age": 3, "city": "x"}).json() == {"upserted": 1}
    assert keeper.get("/v1/users/u%201").json() == {"age": 3, "city": "x"}
    answer = keeper.post(RANK, json={"user_id": "u 1", "user": {"age": 4}, "candidates": ["a"]}).json()
    assert answer["user_found"] is True
    assert ranker.calls[-1]["user"] == {"user_id": "u 1", "age": 4, "city": "x"}
    answer = keeper.post(RANK, json={"user_id": "none", "candidates": ["a"]}).json()
    assert answer["user_found"] is False
    assert ranker.calls[-1]["user"] == {"user_id": "none"}
    assert "user_found" not in keeper.post(RANK, json={"candidates": ["a"]}).json()
    assert keeper.delete("/v1/users/u%201").json() == {"deleted": 1}
    assert keeper.get("/v1/users/u%201").status_code == 404


def test_many_users_are_put_at_once_or_none(keeper: Any) -> None:
    assert keeper.post("/v1/users:upsert", json={"users": {"a": {"n": 1}, "b": {}}}).json() == {"upserted": 2}
    wrong = keeper.post("/v1/users:upsert", json={"users": {"c": {"n": 1}, "d": 3}})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["where"] == "$.users['d']"
    assert keeper.get("/v1/users/c").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/users:upsert", b"[]", 400),
        ("POST", "/v1/users:upsert", b'{"users": {}, "x": 1}', 400),
        ("PUT", "/v1/users/a", b"3", 400),
        ("PUT", "/v1/users/a", b"{", 400),
        ("POST", "/v1/users/a", b"{}", 405),
        ("GET", "/v1/users:upsert", b"", 405),
        ("GET", "/v1/users/", b"", 404),
        ("GET", "/v1/usersx", b"", 404),
        ("POST", RANK, b'{"candidates": ["a"], "user_id": 1.5}', 400),
    ],
)
def test_wrong_requests_are_refused(keeper: Any, method: str, path: str, content: bytes, status: int) -> None:
    assert keeper.request(method, path, content=content).status_code == status


def test_a_server_that_keeps_no_users_says_so(server: Any) -> None:
    with server.client() as client:
        for reply in (
            client.put("/v1/users/a", json={}),
            client.post(RANK, json={"candidates": ["a"], "user_id": "a"}),
        ):
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "no_users")
