"""The time that a call has."""

from __future__ import annotations

import pytest

from recserve.serving.grpc.turn import CallCancelledError, DeadlineExceededError, Turn


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
