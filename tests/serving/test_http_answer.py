from __future__ import annotations

import asyncio
from typing import Any

from recserve.serving.http_answer import HttpAnswer, json_answer, read_request, send_answer
from recserve.serving.messages import Limits


def test_text_that_is_not_unicode_is_escaped() -> None:
    assert json_answer({"error": ["\ud800"]}).body == b'{"error":["\\\\ud800"]}'
    assert json_answer({"error": "é"}, 404).status == 404


def test_a_request_keeps_its_compressed_body() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"squeezed"}

    headers = [(b"content-encoding", b"gzip"), (b"x", b"1"), (b"x", b"2")]
    scope = {"type": "http", "method": "POST", "path": "/a", "headers": headers}
    request = asyncio.run(read_request(scope, receive, Limits()))
    assert request is not None
    assert (request.method, request.path, request.body) == ("POST", "/a", b"squeezed")
    assert request.headers == {"content-encoding": "gzip", "x": "2"}


def test_a_client_that_left_gets_nothing() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/a", "headers": []}
    assert asyncio.run(read_request(scope, receive, Limits())) is None


def test_an_answer_to_head_has_no_body() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(send_answer(send, HttpAnswer(200, b"abc", "text/plain", (("x-y", "z"),)), has_body=False))
    assert sent[0]["headers"] == [(b"content-length", b"3"), (b"x-y", b"z"), (b"content-type", b"text/plain")]
    assert sent[1]["body"] == b""
