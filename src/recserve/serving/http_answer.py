"""What the applications of most dialects share: a request read whole, an answer sent whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from recserve.serving.body import Receive, Scope, Send, read_body
from recserve.serving.messages import Limits

JSON: Final = "application/json"


@dataclass(frozen=True)
class HttpRequest:
    """A request with its body.

    Attributes:
        method: in capitals.
        path: percent-decoded.
        headers: by name in small letters; the last of a name counts.
        body: as it came, so compressed where a header says so.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class HttpAnswer:
    """An answer.

    Attributes:
        status: of HTTP.
        body: bytes.
        content_type: empty for none.
        headers: others, by name in small letters.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(document: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> HttpAnswer:
    """An answer with a JSON document; text that is not Unicode is escaped."""
    try:
        body = orjson.dumps(document)
    except orjson.JSONEncodeError:
        body = orjson.dumps(_printable(document))
    return HttpAnswer(status, body, headers=headers)


def _printable(value: Any) -> Any:
    """The value with lone surrogates, which a request's text may hold, written as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(inner) for key, inner in value.items()}
    return [_printable(inner) for inner in value] if isinstance(value, list) else value


async def read_request(scope: Scope, receive: Receive, limits: Limits) -> HttpRequest | None:
    """The request with its whole body, or None when the client went away before its end.

    Raises:
        BodyTooLargeError: the body is longer than `limits.max_body_bytes`, declared or sent.
        BodyTimeoutError: it is not complete after `limits.body_timeout_s`.
    """
    # Whoever reads the body inflates it, on another thread.
    plain = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"content-encoding"]}
    body = await read_body(plain, receive, limits)
    return None if body is None else HttpRequest(scope["method"], scope["path"], read_headers(scope), body)


def read_headers(scope: Scope) -> dict[str, str]:
    """The headers by name in small letters."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def send_answer(send: Send, answer: HttpAnswer, *, has_body: bool = True) -> None:
    """Send an answer; without its body where the request was a HEAD."""
    headers = [("content-length", str(len(answer.body))), *answer.headers]
    if answer.content_type:
        headers.append(("content-type", answer.content_type))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body if has_body else b""})
