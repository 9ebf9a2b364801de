from __future__ import annotations

import contextvars
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.network.stopping import Stoppable, StoppedError, current_stoppable, enter_stoppable


def test_work_is_current_in_its_own_context_only() -> None:
    work = Stoppable()

    def inside() -> Stoppable | None:
        enter_stoppable(work)
        return current_stoppable()

    assert contextvars.copy_context().run(inside) is work
    assert current_stoppable() is None


def test_stopping_ends_the_call_that_the_work_is_in_and_lets_it_begin_no_other() -> None:
    work, ended = Stoppable(), list[str]()
    work.enter(lambda: ended.append("first"))
    work.leave()
    work.enter(lambda: ended.append("second"))
    work.stop()
    assert ended == ["second"]
    work.leave()
    with pytest.raises(StoppedError, match=r"the call was stopped. Nobody waits for its result") as caught:
        work.enter(lambda: ended.append("third"))
    assert caught.value.code == "stopped"
    work.stop()
    assert (work.is_stopped, ended) == (True, ["second"])


@given(st.integers(0, 2000))
def test_a_call_never_misses_the_stop(delay: int) -> None:
    """Whichever comes first, either the call is not begun or its end is called."""
    work, ended = Stoppable(), threading.Event()
    stopper = threading.Thread(target=work.stop)
    stopper.start()
    for _ in range(delay):
        pass
    try:
        work.enter(ended.set)
    except StoppedError:
        ended.set()
    assert ended.wait(10)
    stopper.join(10)
