"""What a port answers without ASGI: requests whose route, length and form are plain from their head.

A dialect whose application has `find_route(path)` gives such routes. A request that one of them answers costs its
connection no task, no event and no message; all others go to the application.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from recserve.serving.body import Body

Headers = Sequence[tuple[bytes, bytes]]

CLOSE: Final = (b"connection", b"close")
JOINED_BYTES: Final = 16 << 10
"""A body up to this size is copied behind its head, so that both are one piece to send."""


class Request(NamedTuple):
    """A request with its whole body.

    Attributes:
        headers: value by name in small letters; no name came twice.
        body: as it came.
        received_ns: `perf_counter_ns` when it was whole.
    """

    headers: Mapping[bytes, bytes]
    body: Body
    received_ns: int


class Reply(NamedTuple):
    """An answer; its headers lack the length of the body, which follows from it."""

    status: int
    body: bytes
    headers: Headers


class DirectRoute(Protocol):
    """Answers the POST requests of one path. Rank threads may call `answer` at once."""

    def answer(self, request: Request) -> Reply:
        """The answer, on a rank thread or, where calls of its kind are quick, on the event loop."""

    def refuse(self, error: Exception) -> Reply:
        """An error in the words of the dialect, whatever the error is."""

    def count(self, error: Exception | None, time_s: float) -> None:
        """Count an answered request, which took so long; on the event loop."""

    def aligned_at(self, headers: Mapping[bytes, bytes]) -> int:
        """The place in the body that is to lie at an address which numbers can be read from in place; 0 for its start.

        Where it is not 0, a long body is a `memoryview`.
        """


class FindsRoutes(Protocol):
    """An application that has direct routes."""

    def find_route(self, path: str) -> DirectRoute | None:
        """What answers POST requests to a path without percent signs and query; None where the application does."""


def encode_head(reply: Reply, request_id: str, more: bytes = b"", *, closes: bool) -> bytes:
    """The head of an answer.

    Args:
        reply: whose head it is.
        request_id: of the request.
        more: further header lines, each with its end.
        closes: whether the connection takes no further request; headers of the reply that say so go unchanged.
    """
    status, body, headers = reply
    shown = request_id.encode("latin-1", "replace")
    lines = _encode_lines(status, tuple(headers), closes)
    return b"%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n" % (lines, len(body), shown, more)


@lru_cache(maxsize=256)
def _encode_lines(status: int, headers: tuple[tuple[bytes, bytes], ...], closes: bool) -> bytes:
    """The status line and the lines that answers have in common."""
    if closes and CLOSE not in headers:
        headers = (*headers, CLOSE)
    return STATUS_LINE[status] + b"".join([b"%b: %b\r\n" % pair for pair in headers])
