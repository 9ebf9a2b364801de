"""The time that a call has."""

from __future__ import annotations

import asyncio
import re
from math import inf

import pytest

from recserve.errors import RequestError
from recserve.serving.overload.turn import (
    CallCancelledError,
    DeadlineExceededError,
    Priority,
    Turn,
    current_turn,
    enter_turn,
    read_turn,
)


def test_a_call_goes_on_while_somebody_waits() -> None:
    Turn().check()
    Turn(60).check()


def test_a_call_ends_at_its_deadline() -> None:
    with pytest.raises(DeadlineExceededError, match="Deadline Exceeded"):
        Turn(0).check()


def test_a_cancelled_call_ends() -> None:
    turn = Turn(60)
    turn.cancel()
    with pytest.raises(CallCancelledError, match="the call was cancelled"):
        turn.check()


def test_headers_tell_the_time_and_the_urgency() -> None:
    turn = read_turn(
        [(b"content-length", b"12"), (b"x-request-timeout-ms", b"60000"), (b"x-request-priority", b"High")], "/a"
    )
    assert 59 < turn.remaining_s() <= 60
    assert (turn.priority, turn.size_bytes, turn.kind) == (Priority.HIGH, 12, "/a")
    turn.check()
    plain = read_turn([(b"x-request-timeout-ms", b"999999999999")])
    assert (plain.remaining_s(), plain.priority, plain.size_bytes) == (inf, Priority.NORMAL, None)
    assert read_turn([(b"x-envoy-expected-rq-timeout-ms", b"50")]).remaining_s() < 1


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ((b"x-request-timeout-ms", b"0"), "header x-request-timeout-ms: cannot read '0'. Give a whole number"),
        ((b"x-request-timeout-ms", b"1e3"), "cannot read '1e3'"),
        ((b"x-request-timeout-ms", b"9" * 50), "cannot read '9999"),
        ((b"x-request-priority", b"hihg"), "header x-request-priority: cannot read 'hihg'. Did you mean 'high'?"),
        ((b"x-request-priority", b"\xff"), "Give high, normal or low."),
    ],
)
def test_wishes_that_cannot_be_read_are_refused(header: tuple[bytes, bytes], message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        read_turn([header]).check()
    assert caught.value.code == "invalid_header"


def test_the_current_turn_is_that_of_the_task() -> None:
    async def work(turn: Turn) -> bool:
        enter_turn(turn)
        await asyncio.sleep(0)
        return current_turn() is turn

    async def main() -> list[bool]:
        return await asyncio.gather(*(asyncio.create_task(work(Turn())) for _ in range(3)))

    assert asyncio.run(main()) == [True] * 3
    assert current_turn() is None
