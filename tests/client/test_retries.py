"""When and how often a call is sent again, also against a scripted server."""

from __future__ import annotations

import asyncio
import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from recserve.client import AsyncClient, CallFailedError, Client, Retries
from recserve.errors import ConfigError


def error(**facts: Any) -> CallFailedError:
    return CallFailedError("x", status="UNAVAILABLE", **{"is_retryable": True, **facts})


def test_waits_grow_up_to_the_longest() -> None:
    retries = Retries(attempts=10, first_wait_s=0.1, longest_wait_s=0.5)
    for attempt, most in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (9, 0.5)):
        wait_s = retries.wait_s(attempt, error(), 100)
        assert wait_s is not None
        assert most / 2 <= wait_s <= most


def test_the_server_may_ask_for_a_longer_wait() -> None:
    assert Retries().wait_s(1, error(retry_after_s=3.0), 100) == 3.0


def test_it_ends_with_the_attempts_the_deadline_and_errors_that_stay() -> None:
    retries = Retries(attempts=2)
    assert retries.wait_s(2, error(), 100) is None
    assert retries.wait_s(1, error(retry_after_s=3.0), 2) is None
    assert retries.wait_s(1, error(is_retryable=False), 100) is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"attempts": 0}, "attempts is 0"),
        ({"first_wait_s": -1}, "first_wait_s is -1"),
        ({"first_wait_s": 3, "longest_wait_s": 2}, "first_wait_s is 3 and longest_wait_s 2"),
    ],
)
def test_wrong_numbers_are_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Retries(**fields)


GOOD = b'{"outputs": [1.0]}'


@dataclass
class Script:
    """Answers one step a request: (status, headers, body), or None to close the connection."""

    url: str = ""
    steps: list[tuple[int, dict[str, str], bytes] | None] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            made.requests.append(self.path)
            step = made.steps.pop(0)
            if step is None:
                self.close_connection = True
                return
            status, headers, body = step
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join(10)


def predict(url: str, is_async: bool, **options: Any) -> Any:
    options.setdefault("retries", Retries(3, 0.001, 0.01))
    if not is_async:
        with Client(url, **options) as client:
            return client.predict("m", {"x": [1]}), client.predict("m", {"x": [1]})

    async def run() -> Any:
        async with AsyncClient(url, **options) as client:
            return await client.predict("m", {"x": [1]}), await client.predict("m", {"x": [1]})

    return asyncio.run(run())


FULL = (503, {"Retry-After": "0"}, b'{"error": {"code": "queue_full", "message": "256 requests are waiting already"}}')
OK = (200, {}, GOOD)


@pytest.mark.parametrize("is_async", [False, True])
def test_overload_is_tried_again(script: Script, is_async: bool) -> None:
    script.steps = [FULL, (429, {}, b""), OK, OK]
    first, second = predict(script.url, is_async)
    assert first["outputs"].tolist() == second["outputs"].tolist() == [1.0]
    assert len(script.requests) == 4


@pytest.mark.parametrize("is_async", [False, True])
def test_a_closed_connection_is_opened_again(script: Script, is_async: bool) -> None:
    script.steps = [OK, None, OK]
    predict(script.url, is_async, retries=Retries(1))
    assert len(script.requests) == 3


@pytest.mark.parametrize("is_async", [False, True])
def test_overload_that_stays_is_told(script: Script, is_async: bool) -> None:
    script.steps = [FULL] * 3
    with pytest.raises(CallFailedError, match="256 requests are waiting already") as caught:
        predict(script.url, is_async)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == ("UNAVAILABLE", "queue_full", 0)
    assert len(script.requests) == 3


@pytest.mark.parametrize("is_async", [False, True])
def test_a_wait_beyond_the_deadline_is_not_waited(script: Script, is_async: bool) -> None:
    script.steps = [(503, {"Retry-After": "60"}, b"busy")]
    begin_s = time.monotonic()
    with pytest.raises(CallFailedError, match="busy"):
        predict(script.url, is_async, timeout_s=5)
    assert time.monotonic() - begin_s < 30


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("step", "status", "problem"),
    [
        ((400, {}, b'{"error": "Missing named input"}'), "INVALID_ARGUMENT", "Missing named input"),
        ((418, {}, b"<html>"), "INVALID_ARGUMENT", "<html>"),
        ((500, {}, b""), "INTERNAL", "HTTP 500"),
        ((302, {"Location": "http://elsewhere"}, b""), "INTERNAL", "redirects are not followed"),
        ((200, {}, b"<html>"), "INTERNAL", "the answer is no JSON"),
        ((200, {}, b'{"predictions": []}'), "INTERNAL", "the answer is not understood: KeyError"),
        ((200, {}, b"[]"), "INTERNAL", "the answer is not understood: TypeError"),
    ],
)
def test_other_errors_are_told_at_once(script: Script, is_async: bool, step: Any, status: str, problem: str) -> None:
    script.steps = [step]
    with pytest.raises(CallFailedError) as caught:
        predict(script.url, is_async)
    assert caught.value.status == status
    assert problem in str(caught.value)
    assert len(script.requests) == 1
