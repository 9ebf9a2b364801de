"""The bytes of a request, within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from recserve.errors import RequestError
from recserve.serving import observation
from recserve.serving.messages import Limits
from recserve.serving.refusals import BodyTimeoutError, BodyTooLargeError

Body = bytes | bytearray | memoryview
"""The bytes of a request as a connection hands them on; whoever gets them may keep them."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PLACE: Final = "body"


async def read_body(scope: Scope, receive: Receive, limits: Limits, *, takes_codings: bool = False) -> bytes | None:
    """The whole request body, as it came, or None when the client went away before its end.

    Args:
        scope: of the connection.
        receive: of the connection.
        limits: of the size and the time.
        takes_codings: whether the caller inflates a compressed body.

    Raises:
        RequestError: a content encoding, where the caller takes none.
        BodyTooLargeError: longer than `limits.max_body_bytes`, declared or sent.
        BodyTimeoutError: not complete after `limits.body_timeout_s`.
    """
    _check_headers(scope["headers"], limits, takes_codings)
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                body: bytes = message.get("body", b"")
                _check_size(len(body), limits)
                observation.note_received()
                return body
            whole = await _read_rest(message, receive, limits)
            observation.note_received()
            return whole
    except TimeoutError:
        raise body_timeout(limits) from None


def body_timeout(limits: Limits) -> BodyTimeoutError:
    """The refusal of a body that does not come."""
    return BodyTimeoutError(
        f"the body was not complete after {limits.body_timeout_s:g} s",
        where=_PLACE,
        hint="Send it faster, or raise --body-timeout.",
    )


async def _read_rest(message: Message, receive: Receive, limits: Limits) -> bytes | None:
    parts: list[bytes] = []
    size_bytes = 0
    while message["type"] == "http.request":
        part: bytes = message.get("body", b"")
        size_bytes += len(part)
        _check_size(size_bytes, limits)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    return None


def _check_headers(headers: list[tuple[bytes, bytes]], limits: Limits, takes_codings: bool) -> None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            _check_size(int(value), limits)
        elif name == b"content-encoding" and not takes_codings and value.lower() != b"identity":
            raise RequestError(
                f"content encoding {value.decode('latin-1')!r} is not supported",
                code="unsupported_encoding",
                where="header content-encoding",
                hint="Send plain JSON.",
            )


def _check_size(size_bytes: int, limits: Limits) -> None:
    if size_bytes > limits.max_body_bytes:
        raise BodyTooLargeError(
            f"the body has {size_bytes} bytes or more, the limit is {limits.max_body_bytes}",
            where=_PLACE,
            hint="Split the request, or raise --max-body-bytes.",
        )
