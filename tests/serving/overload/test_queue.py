from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import OverloadedError
from recserve.serving.overload.queue import QueueLimits, TurnQueue
from recserve.serving.overload.turn import Priority, Turn


@dataclass(eq=False)
class Call:
    turn: Turn
    number: int = 0
    since_s: float = field(default_factory=monotonic)


def call(priority: Priority = Priority.NORMAL, number: int = 0, size_bytes: int | None = None) -> Call:
    return Call(Turn(priority=priority, size_bytes=size_bytes), number)


def make(max_waiting: int = 4, max_wait_s: float = 10.0) -> tuple[TurnQueue[Call], list[tuple[Call, OverloadedError]]]:
    dropped: list[tuple[Call, OverloadedError]] = []
    return TurnQueue(QueueLimits(max_waiting, max_wait_s), lambda *pair: dropped.append(pair)), dropped


@settings(max_examples=50)
@given(st.lists(st.one_of(st.sampled_from(Priority), st.none()), max_size=40))
def test_the_most_urgent_is_taken_first_and_the_oldest_of_its_line(steps: list[Priority | None]) -> None:
    line, _ = make(1000)
    model: list[tuple[Priority, int]] = []
    for number, step in enumerate(steps):
        if step is not None:
            line.put(call(step, number))
            model.append((step, number))
        elif model:
            model.sort()
            taken = line.take()
            assert taken is not None
            assert (taken.turn.priority, taken.number) == model.pop(0)
    assert len(line) == len(model)


def test_a_full_queue_refuses_and_gives_low_priority_half() -> None:
    line, dropped = make(4)
    for _ in range(2):
        line.admit(Turn(priority=Priority.LOW), 0)
        line.put(call(Priority.LOW))
    with pytest.raises(OverloadedError, match="2 requests are waiting already") as caught:
        line.admit(Turn(priority=Priority.LOW), 0)
    assert caught.value.code == "queue_full"
    for _ in range(2):
        line.admit(Turn(), 0)
        line.put(call())
    line.admit(Turn(), 0)  # takes the place of a low one
    assert [(c.turn.priority, str(e)) for c, e in dropped] == [(Priority.LOW, "a more urgent request took its place")]
    line.put(call())
    line.admit(Turn(priority=Priority.HIGH), 0)
    line.put(call(Priority.HIGH))
    line.admit(Turn(priority=Priority.HIGH), 0)  # takes the place of a normal one
    line.put(call(Priority.HIGH))
    assert [c.turn.priority for c, _ in dropped] == [Priority.LOW, Priority.LOW, Priority.NORMAL]
    assert len(line) == 4


def test_a_call_that_would_wait_too_long_is_refused_at_once() -> None:
    line, _ = make(100, max_wait_s=1.0)
    for _ in range(10):
        line.put(call())
    line.admit(Turn(), 0.09)
    with pytest.raises(OverloadedError, match="it would wait 1500 ms, and has 1000 ms"):
        line.admit(Turn(), 0.15)
    line.admit(Turn(priority=Priority.HIGH), 0.15)  # goes before them
    with pytest.raises(OverloadedError, match="it would wait 500 ms, and has 12"):
        line.admit(Turn(0.2), 0.05)


def test_a_call_that_waited_too_long_is_late() -> None:
    line, _ = make(max_wait_s=1.0)
    assert line.is_late(call(), 0.1) is None
    assert line.is_late(Call(Turn(), since_s=monotonic() - 2), 0.1) is not None
    late = line.is_late(Call(Turn(0.01)), 1.0)
    assert late is not None
    assert "it would wait 0 ms, and has" in str(late)


def test_small_calls_may_be_taken_out_of_turn() -> None:
    line, _ = make()
    for number, size in enumerate((500, None, 20, 10)):
        line.put(call(number=number, size_bytes=size))
    small = line.take_small(100)
    assert small is not None
    assert small.number == 2
    line.end()
    taken = [line.take(), line.take(), line.take(), line.take()]
    assert [c and c.number for c in taken] == [0, 1, 3, None]
    assert line.take_small(100) is None


def test_a_call_is_hopeless_where_what_waits_before_it_outlasts_its_deadline() -> None:
    line, _ = make(1000, max_wait_s=1.0)
    assert line.hopeless(Turn(0.2), 0.05) is None
    for _ in range(10):
        line.put(call())
    late = line.hopeless(Turn(0.2), 0.05)
    assert late is not None
    assert "it would wait 500 ms, and has 12" in str(late)
    assert line.hopeless(Turn(0.2, priority=Priority.HIGH), 0.05) is None  # goes before them
    assert line.hopeless(Turn(), 0.5) is None  # it has time, and there may be room when its body is here
