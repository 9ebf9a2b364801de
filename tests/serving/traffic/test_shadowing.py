from __future__ import annotations

import threading

import pytest

from recserve.errors import RequestError
from recserve.serving.traffic.shadowing import MAX_WAITING, ShadowThread


def test_too_many_jobs_are_dropped_and_counted() -> None:
    thread, gate, ran = ShadowThread(), threading.Event(), []
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        assert gate.wait(10)

    assert thread.submit(wait)
    assert begun.wait(10)
    assert all(thread.submit(lambda: ran.append(1)) for _ in range(MAX_WAITING))
    assert not thread.submit(lambda: ran.append(1))
    gate.set()
    thread.drain(10)
    assert (len(ran), thread.dropped) == (MAX_WAITING, 1)


def test_what_a_shadow_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    thread = ShadowThread()

    def refuse() -> None:
        raise RequestError("no")

    def fail() -> None:
        raise ZeroDivisionError

    thread.submit(refuse)
    thread.submit(fail)
    thread.drain(10)
    assert caplog.text.count("A shadow could not be asked") == 1
