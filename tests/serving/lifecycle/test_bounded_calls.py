from __future__ import annotations

import threading

import pytest

from recserve.serving.lifecycle.bounded_calls import BoundedCalls


def test_a_call_gives_or_raises_what_its_work_does() -> None:
    calls = BoundedCalls("a storage")
    assert calls.call(lambda: 7, 10) == 7
    with pytest.raises(ZeroDivisionError):
        calls.call(lambda: 1 // 0, 10)


def test_a_place_that_hangs_costs_one_thread_and_no_time() -> None:
    calls, gate, begun = BoundedCalls("a storage"), threading.Event(), list[int]()
    before = threading.active_count()

    def hang() -> None:
        begun.append(1)
        gate.wait(30)

    with pytest.raises(TimeoutError, match=r"a storage did not answer within 0\.05 s"):
        calls.call(hang, 0.05)
    for _ in range(5):
        with pytest.raises(TimeoutError, match="a storage still hangs"):
            calls.call(hang, 60)
    assert (len(begun), threading.active_count()) == (1, before + 1)
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "recserve-remote":
            thread.join(10)
    assert calls.call(lambda: 7, 10) == 7
