from __future__ import annotations

import http.client
import socket
import threading
from typing import Any

import pytest

from recserve.serving import http_server
from recserve.serving.http_server import LINGER_S

PATH = "/v1/models/rank:rank"
BODY = b'{"candidates":["a"]}'
ASKS = {"direct": ("POST", PATH, BODY), "ASGI": ("GET", "/healthz", None)}


def connect(server: Any) -> http.client.HTTPConnection:
    """A client that neither looks whether its connection is closed nor tries again."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.connect()
    return connection


def ask(connection: http.client.HTTPConnection, kind: str) -> http.client.HTTPResponse:
    method, path, body = ASKS[kind]
    connection.request(method, path, body)
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read()
    return answer


def begin_to_end(server: Any, *, retire: bool) -> None:
    """Begin the drain; returns when nobody listens any longer."""
    (server.process.retire if retire else server.process.stop)()
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=10).close()
        except OSError:
            return


@pytest.mark.parametrize("kind", sorted(ASKS))
@pytest.mark.parametrize("is_used", [True, False])
def test_an_idle_connection_brings_one_more_request_when_the_server_ends(
    serve: Any, make_ranker: Any, kind: str, is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "LINGER_S", 10.0)
    with serve({"a": make_ranker()}) as server:
        connection = connect(server)
        if is_used:
            assert ask(connection, kind).getheader("connection") is None
        server.process.stop()
        while (answer := ask(connection, kind)).getheader("connection") is None:
            pass  # the drain has not begun
        assert answer.getheader("connection") == "close"
        connection.close()
    assert server.failure == []


def test_a_connection_that_stays_idle_ends_soon(serve: Any, make_ranker: Any) -> None:
    assert LINGER_S <= 1
    with serve({"a": make_ranker()}, drain_s=60) as server, server.connect() as idle:
        ask(connection := connect(server), "direct")
        server.stop()
        assert idle.recv(1) == b""
        connection.close()
    assert server.failure == []


def test_a_process_with_a_successor_waits_for_idle_connections(serve: Any, make_ranker: Any) -> None:
    with serve({"a": make_ranker()}, drain_s=60) as server:
        connections = [connect(server) for _ in range(3)]
        for connection in connections:
            ask(connection, "direct")
        begin_to_end(server, retire=True)
        threading.Event().wait(LINGER_S + 0.5)
        for connection in connections:
            assert ask(connection, "direct").getheader("connection") == "close"
        server.stop()
    assert server.failure == []


def test_a_request_that_is_answered_closes_its_connection_when_the_server_ends(serve: Any, make_ranker: Any) -> None:
    ranker = make_ranker()
    with serve({"a": ranker}) as server:
        connection = connect(server)
        connection.request("POST", PATH, b'{"user": {"act": "wait"}, "candidates": ["a"]}')
        assert ranker.entered.wait(10)
        begin_to_end(server, retire=False)
        ranker.gate.set()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        connection.close()


def test_pipelined_requests_are_all_answered_when_the_server_ends(serve: Any, make_ranker: Any) -> None:
    ranker = make_ranker()
    first = b'{"user": {"act": "wait"}, "candidates": ["a"]}'
    with serve({"a": ranker}) as server, server.connect() as connection:
        heads = [
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            for body in (first, BODY, BODY)
        ]
        connection.sendall(b"".join(heads))
        assert ranker.entered.wait(10)
        begin_to_end(server, retire=False)
        ranker.gate.set()
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    whole = b"".join(parts)
    assert whole.count(b"HTTP/1.1 200") == 3
    assert whole.count(b"connection: close") == 1
