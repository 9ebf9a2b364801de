"""A call over HTTP: its body read, answered on a rank thread, counted, sent."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Final

from recserve.errors import RecserveError
from recserve.serving.body import Receive, Scope, Send, read_body
from recserve.serving.compression import inflate, read_coding
from recserve.serving.dialects import Serving
from recserve.serving.direct import Reply, Request
from recserve.serving.tfs.answers import answer
from recserve.serving.tfs.errors import WireError, error_answer, to_wire
from recserve.serving.tfs.routes import Call

MAX_INFLATED_BYTES: Final = 100 << 20
"""Bytes that a compressed body may inflate to."""

OK: Final = 200
Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, bytes, Headers]
JSON: Final[Headers] = [(b"content-type", b"application/json")]

_CROSS_ORIGIN: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
_APIS: Final = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}


class CallRoute:
    """A `DirectRoute` of one call.

    Args:
        serving: what every dialect shares.
        call: what the path asks for.
    """

    def __init__(self, serving: Serving, call: Call) -> None:
        self._serving, self._call = serving, call
        self._headers = [*JSON, *(_CROSS_ORIGIN if serving.allows_cross_origin else [])]

    def answer(self, request: Request) -> Reply:
        """The answer to the call, see `answers.answer`."""
        body = request.body
        text = body if isinstance(body, bytes) else bytes(body)
        return Reply(OK, answer(self._serving, self._call, text), self._headers)

    def refuse(self, error: Exception) -> Reply:
        """`{"error": "..."}`."""
        status, body, headers = error_answer(error)
        return Reply(status, body, [*self._headers, *headers])

    def count(self, error: Exception | None, time_s: float) -> None:
        """Count it under TensorFlow Serving's names."""
        _count(self._serving, self._call, "OK" if error is None else _canonical(error), time_s)

    def aligned_at(self, headers: Mapping[bytes, bytes]) -> int:  # noqa: ARG002 - of every route
        """The body is text."""
        return 0


def find_call_route(serving: Serving, call: Call | None) -> CallRoute | None:
    """The direct route of a call; None for none, and for one that needs no model."""
    return None if call is None or call.verb not in _APIS else CallRoute(serving, call)


def answer_call(serving: Serving, call: Call, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to a call, on this thread; errors are answers too."""
    try:
        return OK, answer(serving, call, body)
    except Exception as error:
        status, text, _ = error_answer(error)
        return status, text


async def answer_route(serving: Serving, call: Call, scope: Scope, receive: Receive) -> Answer | None:
    """The answer to a call that came over HTTP; None when the client went away."""
    begin_s = perf_counter()
    status = "OK"
    try:
        if call.verb in ("status", "metadata"):
            return OK, answer(serving, call, b""), []
        body = await read_body(scope, receive, serving.limits, takes_codings=True)
        if body is None:
            return None
        content = body
        coding = next((value for name, value in scope["headers"] if name == b"content-encoding"), b"")
        return OK, await serving.threads.run(lambda: _inflated(serving, call, content, coding)), []
    except Exception as error:
        status = _canonical(error)  # and not the error: it holds this frame, and with it the body
        return error_answer(error)
    finally:
        if call.verb in _APIS:
            _count(serving, call, status, perf_counter() - begin_s)


async def send_reply(serving: Serving, reply: Answer, send: Send, kind: Headers = JSON) -> None:
    """Send status, body and headers."""
    status, body, headers = reply
    more = _CROSS_ORIGIN if serving.allows_cross_origin else []
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *headers, *more, length]})
    await send({"type": "http.response.body", "body": body})


def preflight(scope: Scope) -> Answer:
    """The answer to OPTIONS."""
    origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
    if origin.startswith((b"http://", b"https://")):
        return OK, b"", []
    return error_answer(WireError("The header Origin is missing, or no http(s) address"))


def _inflated(serving: Serving, call: Call, body: bytes, coding: bytes) -> bytes:
    if coding:
        body = inflate(body, read_coding(coding.decode("latin-1")), MAX_INFLATED_BYTES)
    return answer(serving, call, body)


def _count(serving: Serving, call: Call, status: str, time_s: float) -> None:
    model = call.model if serving.registry.is_served(call.model) else ""
    serving.metrics.observe(model, status, _APIS[call.verb], "REST", time_s * 1e6)


def _canonical(failure: Exception) -> str:
    if isinstance(failure, RecserveError | WireError):
        return to_wire(failure).code
    return "INTERNAL"
