"""The rank route under what well-behaved clients never send. One server stands all of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.messages import Limits

RANK = "/v1/models/rank:rank"
GOOD = b'{"candidates":["a","b"]}'


def lives(server: Any) -> bool:
    with server.client() as client:
        answer = client.post(RANK, content=GOOD)
    return answer.status_code == 200 and answer.json()["item_ids"] == ["a", "b"]


def head(length: int | None, extra: str = "", target: str = RANK) -> bytes:
    lines = f"POST {target} HTTP/1.1\r\nHost: x\r\n{extra}"
    return (lines + (f"Content-Length: {length}\r\n\r\n" if length is not None else "\r\n")).encode()


def read_all(connection: socket.socket) -> bytes:
    """What the server sends until it closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass  # it closed while bytes of ours were still on their way
    return b"".join(parts)


def post(server: Any, body: bytes) -> int:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10) as client:
        response = client.post(RANK, content=body)
        assert response.json()
        return response.status_code


@pytest.fixture(scope="module")
def tough(serve: Any, make_ranker: Any) -> Iterator[Any]:
    limits = Limits(max_body_bytes=2000, body_timeout_s=0.3)
    with serve({"models/b": make_ranker()}, limits=limits) as server:
        yield server


def test_a_client_that_leaves_within_its_body_leaves_nothing(tough: Any) -> None:
    for sent in (b"", b'{"cand'):
        with tough.connect() as connection:
            connection.sendall(head(100) + sent)
    assert lives(tough)


def test_a_client_that_leaves_before_the_answer_is_no_trouble(tough: Any) -> None:
    for _ in range(5):
        with tough.connect() as connection:
            connection.sendall(head(len(GOOD)) + GOOD)
    assert lives(tough)


def test_a_slow_body_is_refused(tough: Any) -> None:
    with tough.connect() as connection:
        connection.sendall(head(100) + b"{")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in answer
    assert lives(tough)


def test_a_declared_length_over_the_limit_is_refused_unread(tough: Any) -> None:
    with tough.connect() as connection:
        connection.sendall(head(2001))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the limit is 2000" in answer
    assert lives(tough)


def test_an_endless_chunked_body_is_refused(tough: Any) -> None:
    with tough.connect() as connection:
        connection.sendall(head(None, "Transfer-Encoding: chunked\r\n") + b"400\r\n" + b" " * 0x400 + b"\r\n")
        connection.sendall(b"400\r\n" + b" " * 0x400 + b"\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert lives(tough)


def test_a_chunked_body_is_a_body(tough: Any) -> None:
    with tough.client() as client:
        answer = client.post(RANK, content=iter([GOOD[:5], GOOD[5:]]))
    assert answer.status_code == 200


def test_an_upload_over_the_limit_hears_why(tough: Any) -> None:
    with tough.client() as client:
        answer = client.post(RANK, content=b" " * 300_000)
    assert answer.status_code == 413
    assert lives(tough)


def test_an_encoded_body_is_refused(tough: Any) -> None:
    with tough.client() as client:
        answer = client.post(RANK, content=GOOD, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_encoding")


def test_any_content_type_is_json(tough: Any) -> None:
    with tough.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "nonsense"):
            assert client.post(RANK, content=GOOD, headers={"Content-Type": kind}).status_code == 200


def test_pipelined_requests_are_answered_in_order(tough: Any) -> None:
    bodies = [json.dumps({"candidates": [i], "request_id": f"q{i}"}).encode() for i in range(1, 5)]
    last = head(len(bodies[-1]), "Connection: close\r\n") + bodies[-1]
    with tough.connect() as connection:
        connection.sendall(b"".join(head(len(body)) + body for body in bodies[:-1]) + last)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 200 ") == 4
    places = [answer.index(f'"q{i}"'.encode()) for i in range(1, 5)]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # a TLS hello
        b"GET\r\n\r\n",
        b"\x00" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head(-1),
        head(None, "Content-Length: x\r\n"),
        head(None, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + b"zz\r\n",
        head(None, "Transfer-Encoding: chunked\r\n") + b"xyz\r\n",
        head(len(GOOD)) + GOOD + b"and more\r\n\r\n",
    ],
)
def test_garbage_is_refused_and_closed(tough: Any, garbage: bytes) -> None:
    with tough.connect() as connection:
        connection.sendall(garbage)
        answer = read_all(connection)
    assert b"HTTP/1.1 500" not in answer
    assert b"400 Bad Request" in answer or b'"code"' in answer or answer == b""
    assert lives(tough)


@settings(max_examples=40)
@given(body=st.binary(max_size=200))
def test_no_bytes_make_it_fail(tough: Any, body: bytes) -> None:
    assert post(tough, body) == 400


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {"candidates": st.one_of(st.none(), st.lists(st.one_of(st.integers(), st.text(), st.booleans())))},
        optional={
            "user": st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.lists(st.floats()))),
            "top_k": st.one_of(st.integers(), st.floats()),
            "format": st.sampled_from(["rows", "columns", "Rows", 1]),
            "items": st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers())),
        },
    )
)
def test_no_document_makes_it_fail(tough: Any, document: dict[str, Any]) -> None:
    assert post(tough, json.dumps(document).encode()) in {200, 400, 413}
