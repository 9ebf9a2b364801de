from __future__ import annotations

import gc
import json
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recserve.serving.messages import Limits

GOOD = b'{"candidates":["a"]}'
HEAD = b"POST /v1/models/rank:rank HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"


def start(serve: Any, make_ranker: Any, **limits: Any) -> Any:
    return serve({"b": make_ranker()}, limits=Limits(**limits))


def read_answer(connection: Any) -> bytes:
    """Bytes until the server closes."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        return answer  # it closed while bytes of ours were still on their way
    return answer


def test_an_endless_head_is_refused(serve: Any, make_ranker: Any) -> None:
    with start(serve, make_ranker, max_head_bytes=1000) as server, server.connect() as connection:
        lines = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(50_000))
        with pytest.raises(ConnectionError):  # it hangs up
            connection.sendall(HEAD % 10 + lines)
        with server.client() as client:
            assert client.post("/v1/models/rank:rank", content=GOOD).status_code == 200


def test_a_head_over_the_limit_hears_why(serve: Any, make_ranker: Any) -> None:
    with start(serve, make_ranker, max_head_bytes=100) as server, server.connect() as connection:
        connection.sendall(b"G")
        with server.client() as client:  # so that the first byte is a chunk of its own
            client.get("/healthz")
        connection.sendall(b"ET / HTTP/1.1\r\nx: " + b"y" * 100)
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"The request head has more than 100 bytes.")


@pytest.mark.parametrize("first", [0, 60])
def test_a_head_over_the_limit_is_refused_though_it_ends_in_its_last_chunk(
    serve: Any, make_ranker: Any, first: int
) -> None:
    head = HEAD % len(GOOD) + b"x: " + b"y" * 1000 + b"\r\n\r\n"
    with start(serve, make_ranker, max_head_bytes=1000) as server, server.connect() as connection:
        connection.sendall(head[:first])
        with server.client() as client:  # so that what was sent is a chunk of its own
            client.get("/healthz")
        connection.sendall(head[first:] + GOOD)
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"The request head has more than 1000 bytes.")


def test_a_body_beside_a_short_head_is_no_part_of_it(serve: Any, make_ranker: Any) -> None:
    body = GOOD + b" " * 2000
    with start(serve, make_ranker, max_head_bytes=200) as server, server.connect() as connection:
        connection.sendall(HEAD % len(body) + b"\r\n" + body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", b"POST /v1"])
def test_a_head_that_does_not_come_closes_the_connection(serve: Any, make_ranker: Any, sent: bytes) -> None:
    with start(serve, make_ranker, head_timeout_s=0.1) as server, server.connect() as connection:
        connection.sendall(sent)
        assert read_answer(connection) == b""


def test_a_second_head_that_does_not_come_closes_the_connection_too(serve: Any, make_ranker: Any) -> None:
    with start(serve, make_ranker, head_timeout_s=0.1) as server, server.connect() as connection:
        connection.sendall(HEAD % len(GOOD) + b"\r\n" + GOOD + b"POST /v1")
        assert read_answer(connection).count(b"HTTP/1.1 200 ") == 1


def test_an_idle_connection_may_wait_longer_than_a_head(serve: Any, make_ranker: Any) -> None:
    with start(serve, make_ranker, head_timeout_s=0.05) as server, server.connect() as connection:
        for _ in range(3):
            connection.sendall(HEAD % len(GOOD) + b"\r\n" + GOOD)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            connection.settimeout(0.15)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(10)


def test_a_long_body_before_a_partial_head_is_no_long_head(serve: Any, make_ranker: Any) -> None:
    body = b'{"candidates":["a"],"user":{"x":"%s"}}' % (b"y" * 5000)
    with start(serve, make_ranker, max_head_bytes=200) as server, server.connect() as connection:
        connection.sendall(HEAD % len(body) + b"\r\n" + body + HEAD[:20])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall((HEAD % len(GOOD))[20:] + b"\r\n" + GOOD)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def connections() -> int:
    gc.collect()
    return sum(isinstance(thing, HttpToolsProtocol) for thing in gc.get_objects())


def test_a_client_that_resets_its_connection_leaves_no_memory(serve: Any, make_ranker: Any) -> None:
    body = json.dumps({"candidates": list(range(1000))}).encode()
    with start(serve, make_ranker) as server:
        for _ in range(30):
            with server.connect() as connection:
                connection.sendall(HEAD % len(body) + b"\r\n" + body)
                assert connection.recv(10)  # closing with the rest unread is a reset
        with server.client() as client:
            assert client.get("/healthz").status_code == 200
        assert connections() < 10


def test_pipelined_requests_of_a_client_that_left_are_dropped(
    serve: Any, make_ranker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ranker = make_ranker()
    wait = b'{"candidates":["a"],"user":{"act":"wait"}}'
    request = HEAD % len(wait) + b"\r\n" + wait
    with caplog.at_level(logging.DEBUG), serve({"b": ranker}) as server:
        with server.connect() as connection:
            connection.sendall(request * 3)
            assert ranker.entered.wait(10)
        with server.client() as client:
            assert client.get("/healthz").status_code == 200  # by now the server knows that the other one left
            ranker.gate.set()
            assert client.post("/v1/models/rank:rank", content=GOOD).status_code == 200
    assert len(ranker.calls) == 2  # the running one and the last
    assert "Exception" not in caplog.text


def test_long_bodies_of_pipelined_requests_come_whole(serve: Any, make_ranker: Any) -> None:
    ids = [[f"item-{number}-{request}" for number in range(4000 * request)] for request in (1, 2, 3)]
    bodies = [json.dumps({"candidates": each, "top_k": 1}).encode() for each in ids]
    requests = b"".join(HEAD % len(body) + b"\r\n" + body for body in bodies[:-1])
    last = (HEAD + b"Connection: close\r\n\r\n") % len(bodies[-1]) + bodies[-1]
    ranker = make_ranker()
    with serve({"b": ranker}) as server, server.connect() as connection:
        connection.sendall(requests + last)
        assert read_answer(connection).count(b"HTTP/1.1 200 ") == 3
    assert [call["candidates"] for call in ranker.calls] == ids
