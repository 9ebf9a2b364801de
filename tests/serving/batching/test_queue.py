from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from recserve.errors import OverloadedError
from recserve.network.stopping import StoppedError, current_stoppable, enter_stoppable
from recserve.serving.batching.parameters import BatchingParameters
from recserve.serving.batching.queue import BatchQueue
from recserve.serving.overload.turn import CallCancelledError, DeadlineExceededError, Turn, enter_turn


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """What the calls give or raise, all at once."""
    results: list[Any] = [None] * len(calls)

    def one(number: int) -> None:
        try:
            results[number] = calls[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_calls_of_one_key_run_as_one_and_get_their_own_results() -> None:
    sizes: list[int] = []
    batches = BatchQueue(BatchingParameters(4, 30.0, 10, 1))

    def run(tasks: list[int]) -> list[Any]:
        sizes.append(len(tasks))
        return [ValueError("three") if task == 3 else task * 10 for task in tasks]

    results = together([lambda n=n: batches.submit("key", n, 1, run) for n in range(4)])
    assert results[:3] == [0, 10, 20]
    assert isinstance(results[3], ValueError)
    assert sizes == [4]  # full, long before its timeout
    batches.close()


def test_a_batch_does_not_wait_longer_than_its_timeout() -> None:
    batches = BatchQueue(BatchingParameters(100, 0.01, 10, 1))
    assert batches.submit("key", 1, 1, lambda tasks: tasks) == 1
    with pytest.raises(ZeroDivisionError):
        batches.submit("key", 1, 1, lambda _: [1 // 0])
    batches.close()
    with pytest.raises(OverloadedError):
        batches.submit("key", 1, 1, lambda tasks: tasks)


def test_one_batch_more_than_may_wait_is_refused_in_the_words_of_tensorflow_serving() -> None:
    gate, entered = threading.Event(), threading.Event()
    batches = BatchQueue(BatchingParameters(1, 0.0, 1, 1))

    def block(tasks: list[int]) -> list[int]:
        entered.set()
        assert gate.wait(10)
        return tasks

    running = threading.Thread(target=lambda: batches.submit("a", 0, 1, block))
    running.start()
    assert entered.wait(10)
    waiting = threading.Thread(target=lambda: batches.submit("b", 0, 1, block))
    waiting.start()
    while not batches._batches:
        pass
    with pytest.raises(OverloadedError, match="currently 1 batches enqueued and max_enqueued_batches is 1") as caught:
        batches.submit("c", 0, 1, block)
    assert caught.value.code == "batch_queue_full"
    gate.set()
    running.join(10)
    waiting.join(10)
    batches.close()


def test_a_call_whose_time_is_over_is_in_no_batch() -> None:
    gate, entered = threading.Event(), threading.Event()
    ran: list[list[int]] = []
    batches = BatchQueue(BatchingParameters(2, 30.0, 10, 1))

    def run(tasks: list[int]) -> list[int]:
        ran.append(tasks)
        if tasks == [0]:
            entered.set()
            assert gate.wait(10)
        return tasks

    def call(task: int, turn: Turn, rows: int = 1) -> int:
        enter_turn(turn)
        answer: int = batches.submit("key" if task else "first", task, rows, run)
        return answer

    over = Turn(60)
    blocker = threading.Thread(target=lambda: call(0, Turn(), 2))
    blocker.start()
    assert entered.wait(10)
    results: list[Any] = []
    waiting = threading.Thread(
        target=lambda: results.extend(together([lambda: call(1, over), lambda: call(2, Turn())]))
    )
    waiting.start()
    while not any(batch.rows == 2 for batch in batches._batches):
        gate.wait(0.001)
    over._expires_s = 0.0
    gate.set()
    waiting.join(10)
    blocker.join(10)
    assert isinstance(results[0], DeadlineExceededError)
    assert (results[1], ran) == (2, [[0], [2]])
    batches.close()


def test_a_batch_ends_when_nobody_waits_for_any_of_its_calls() -> None:
    begun, is_stopped = threading.Event(), threading.Event()
    batches = BatchQueue(BatchingParameters(2, 30.0, 10, 1))
    turns = [Turn(), Turn()]

    def run(tasks: list[int]) -> list[int]:
        work = current_stoppable()
        assert work is not None
        work.enter(is_stopped.set)
        begun.set()
        assert is_stopped.wait(10)
        raise StoppedError("the call was stopped")

    def call(turn: Turn) -> int:
        enter_turn(turn)
        enter_stoppable(turn)
        answer: int = batches.submit("key", 0, 1, run)
        return answer

    results: list[Any] = []
    waiting = threading.Thread(target=lambda: results.extend(together([lambda t=t: call(t) for t in turns])))
    waiting.start()
    assert begun.wait(10)
    turns[0].cancel()
    assert not is_stopped.wait(0.05)  # the other one still waits
    turns[1].stop()  # a timer may be early: its turn has not ended yet
    waiting.join(10)
    assert [type(result) for result in results] == [CallCancelledError, StoppedError]
    assert is_stopped.is_set()
    batches.close()


def test_a_call_that_leaves_before_its_batch_runs_does_not_end_it() -> None:
    batches = BatchQueue(BatchingParameters(2, 30.0, 10, 1))
    gone, ran = Turn(), list[list[int]]()

    def run(tasks: list[int]) -> list[int]:
        work = current_stoppable()
        assert work is not None
        assert not work.is_stopped
        ran.append(tasks)
        return tasks

    def call(task: int, turn: Turn) -> int:
        enter_turn(turn)
        enter_stoppable(turn)
        answer: int = batches.submit("key", task, 1, run)
        return answer

    results: list[Any] = []
    first = threading.Thread(target=lambda: results.extend(together([lambda: call(1, gone)])))
    first.start()
    while not batches._batches:
        pass
    gone.cancel()
    first.join(10)
    assert isinstance(results[0], CallCancelledError)
    assert together([lambda: call(2, Turn())]) == [2]
    assert ran == [[2]]
    batches.close()


class _Body:
    """Something large that a call brings."""


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_call_brought_is_given_back_at_once_and_not_by_the_collector(fails: bool) -> None:
    batches = BatchQueue(BatchingParameters(1, 0.0, 10, 1))

    def run(tasks: list[_Body]) -> list[Any]:
        if fails:
            raise ValueError(f"{tasks} are wrong")
        return [0] * len(tasks)

    def submit() -> weakref.ref[_Body]:
        body = _Body()
        with contextlib.suppress(ValueError):
            batches.submit("key", body, 1, run)
        return weakref.ref(body)

    gc.disable()
    try:
        kept = [submit() for _ in range(3)]
        batches.close()
        assert [body() for body in kept] == [None] * 3
    finally:
        gc.enable()
