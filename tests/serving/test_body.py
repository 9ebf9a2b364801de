from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from recserve.errors import RequestError
from recserve.serving.body import read_body
from recserve.serving.messages import Limits
from recserve.serving.refusals import BodyTimeoutError, BodyTooLargeError

LIMITS = Limits(max_body_bytes=10, body_timeout_s=0.05)
TOO_LARGE = "Split the request, or raise --max-body-bytes."


def read(messages: Iterable[dict[str, Any]], headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes | None:
    """The body that the messages carry; after the last one the client stays silent."""
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in left:
            return message
        await asyncio.sleep(60)
        raise AssertionError

    return asyncio.run(read_body({"headers": list(headers)}, receive, LIMITS))


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_may_come_whole_or_in_parts() -> None:
    assert read([part(b"abc", more=False)]) == b"abc"
    assert read([part(b"ab"), part(b""), part(b"c", more=False)]) == b"abc"
    assert read([{"type": "http.request"}]) == b""


def test_a_client_that_goes_away_leaves_nothing() -> None:
    gone = {"type": "http.disconnect"}
    assert read([gone]) is None
    assert read([part(b"ab"), gone]) is None


def test_a_body_of_the_very_limit_is_read() -> None:
    assert read([part(b"x" * 10, more=False)], [(b"content-length", b"10")]) == b"x" * 10


@pytest.mark.parametrize(
    ("messages", "headers"),
    [
        ([], [(b"content-length", b"11")]),
        ([part(b"x" * 11, more=False)], []),
        ([part(b"x" * 6), part(b"x" * 5)], []),
    ],
)
def test_a_longer_body_is_refused_when_declared_or_met(messages: Any, headers: Any) -> None:
    with pytest.raises(BodyTooLargeError) as caught:
        read(messages, headers)
    assert str(caught.value) == f"body: the body has 11 bytes or more, the limit is 10. {TOO_LARGE}"


def test_a_body_that_never_ends_is_refused() -> None:
    with pytest.raises(BodyTimeoutError) as caught:
        read([part(b"ab")])
    assert str(caught.value) == (
        "body: the body was not complete after 0.05 s. Send it faster, or raise --body-timeout."
    )


def test_an_encoded_body_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        read([], [(b"content-encoding", b"gzip")])
    assert str(caught.value) == ("header content-encoding: content encoding 'gzip' is not supported. Send plain JSON.")
    assert read([part(b"a", more=False)], [(b"content-encoding", b"identity")]) == b"a"
