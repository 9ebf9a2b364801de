from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from recserve.errors import OverloadedError
from recserve.network.stopping import StoppedError, current_stoppable
from recserve.serving.overload.turn import (
    CallCancelledError,
    DeadlineExceededError,
    Priority,
    Turn,
    current_turn,
    enter_turn,
)
from recserve.serving.rank_threads import RankThreads


@pytest.mark.parametrize("count", [0, 1, 3])
def test_work_returns_and_raises_where_it_is_awaited(count: int) -> None:
    threads = RankThreads(count, max_waiting=8)

    async def main() -> None:
        assert await asyncio.gather(*(threads.run(lambda i=i: i * i) for i in range(5))) == [0, 1, 4, 9, 16]
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        assert await threads.run(lambda: "alive") == "alive"

    asyncio.run(main())
    assert threads.close(5)


def test_one_job_more_than_may_wait_is_refused() -> None:
    threads = RankThreads(1, max_waiting=2)
    entered, gate = threading.Event(), threading.Event()

    def block() -> str:
        entered.set()
        assert gate.wait(10)
        return "done"

    async def main() -> None:
        running = [asyncio.ensure_future(threads.run(block))]
        await asyncio.to_thread(entered.wait)
        running += [asyncio.ensure_future(threads.run(block)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await threads.run(block)
        assert str(caught.value) == ("2 requests are waiting already. Try again later, or serve with more processes.")
        assert caught.value.code == "queue_full"
        gate.set()
        assert await asyncio.gather(*running) == ["done"] * 3

    asyncio.run(main())
    assert threads.close(5)


def test_cancelled_work_is_not_begun() -> None:
    threads = RankThreads(1, max_waiting=8)
    entered, gate = threading.Event(), threading.Event()
    begun: list[str] = []

    def block() -> None:
        entered.set()
        assert gate.wait(10)

    async def main() -> None:
        first = asyncio.ensure_future(threads.run(block))
        await asyncio.to_thread(entered.wait)
        second = asyncio.ensure_future(threads.run(lambda: begun.append("second")))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()  # runs already; its result has nowhere to go
        await asyncio.gather(first, second, return_exceptions=True)
        gate.set()
        await threads.run(lambda: begun.append("third"))

    asyncio.run(main())
    assert begun == ["third"]
    assert threads.close(5)


def test_close_tells_when_work_does_not_end() -> None:
    threads = RankThreads(1, max_waiting=8)
    entered, gate = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        assert gate.wait(10)

    async def main() -> None:
        job = asyncio.ensure_future(threads.run(block))
        await asyncio.to_thread(entered.wait)
        job.cancel()

    asyncio.run(main())
    assert not threads.close(0.01)
    gate.set()  # the loop has ended: the thread drops its result and ends
    assert threads.close(5)


def blocked(threads: RankThreads, gate: threading.Event) -> tuple[asyncio.Future[None], threading.Event]:
    """Work that holds a thread until the gate opens."""
    entered = threading.Event()

    def block() -> None:
        entered.set()
        assert gate.wait(10)

    return asyncio.ensure_future(threads.run(block)), entered


def under(turn: Turn, threads: RankThreads, work: Callable[[], Any]) -> asyncio.Task[Any]:
    """Work of a request with that turn."""

    async def main() -> Any:
        enter_turn(turn)
        return await threads.run(work)

    return asyncio.create_task(main())


def test_a_deadline_ends_the_wait_and_the_work_is_not_begun() -> None:
    threads, gate, begun = RankThreads(1, max_waiting=8), threading.Event(), list[str]()

    async def main() -> None:
        first, entered = blocked(threads, gate)
        await asyncio.to_thread(entered.wait)
        with pytest.raises(DeadlineExceededError):
            await under(Turn(0.05), threads, lambda: begun.append("late"))
        gone = Turn()
        second = under(gone, threads, lambda: begun.append("gone"))
        await asyncio.sleep(0)
        gone.cancel()
        gate.set()
        await first
        with pytest.raises(CallCancelledError):
            await second
        with pytest.raises(CallCancelledError):
            await under(gone, threads, lambda: begun.append("never queued"))
        await under(Turn(60), threads, lambda: begun.append(str(current_turn() is not None)))

    asyncio.run(main())
    assert begun == ["True"]
    assert threads.close(5)


def test_urgent_work_goes_first() -> None:
    threads, gate, begun = RankThreads(1, max_waiting=8), threading.Event(), list[str]()

    async def main() -> None:
        first, entered = blocked(threads, gate)
        await asyncio.to_thread(entered.wait)
        tasks = [
            under(Turn(priority=priority), threads, lambda p=priority: begun.append(p.name))
            for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
        ]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, *tasks)

    asyncio.run(main())
    assert begun == ["HIGH", "NORMAL", "LOW"]
    assert threads.close(5)


def test_long_work_lets_small_work_in_between_its_parts() -> None:
    threads, gate, begun = RankThreads(1, max_waiting=8), threading.Event(), list[str]()
    entered = threading.Event()

    def long() -> None:
        entered.set()
        assert gate.wait(10)
        begun.append("part 1")
        threads.let_others_go_first()
        mine = current_turn()
        begun.append(f"part 2 of {mine and mine.kind}")

    async def main() -> None:
        tasks = [under(Turn(kind="long", size_bytes=1000), threads, long)]
        await asyncio.to_thread(entered.wait)
        tasks += [under(Turn(size_bytes=n), threads, lambda n=n: begun.append(f"{n} bytes")) for n in (900, 10)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert begun == ["part 1", "10 bytes", "part 2 of long", "900 bytes"]
    assert threads.close(5)


def test_long_work_ends_when_nobody_waits_for_it() -> None:
    threads, turn = RankThreads(1, max_waiting=8), Turn()

    def long() -> None:
        turn.cancel()
        threads.let_others_go_first()

    async def main() -> None:
        with pytest.raises(CallCancelledError):
            await under(turn, threads, long)

    threads.let_others_go_first()  # outside a request
    asyncio.run(main())
    assert threads.close(5)


def test_quick_work_runs_where_it_arrives() -> None:
    threads, names = RankThreads(1, max_waiting=8), list[str]()

    async def main() -> None:
        for _ in range(2000):
            turn = Turn(kind="/quick", size_bytes=3)
            await under(turn, threads, lambda: names.append(threading.current_thread().name))

    asyncio.run(main())
    assert names[0] == "recserve-rank-0"
    assert threading.current_thread().name in names
    assert threads.close(5)


def test_waiting_low_work_makes_room_for_other() -> None:
    threads, gate = RankThreads(1, max_waiting=2), threading.Event()

    async def main() -> None:
        first, entered = blocked(threads, gate)
        await asyncio.to_thread(entered.wait)
        low = under(Turn(priority=Priority.LOW), threads, lambda: "low")
        await asyncio.sleep(0)
        normal = [under(Turn(), threads, lambda: "normal") for _ in range(2)]
        with pytest.raises(OverloadedError, match="a more urgent request took its place"):
            await low
        assert threads.waiting() == 2
        gate.set()
        await first
        assert await asyncio.gather(*normal) == ["normal"] * 2

    asyncio.run(main())
    assert threads.close(5)


def test_quick_work_does_not_wait_behind_long_work() -> None:
    threads, gate = RankThreads(1, max_waiting=8), threading.Event()

    async def main() -> None:
        for _ in range(2000):
            await under(Turn(kind="/quick", size_bytes=3), threads, lambda: None)
        first, entered = blocked(threads, gate)
        await asyncio.to_thread(entered.wait)
        waiting = under(Turn(), threads, lambda: "waited")
        await asyncio.sleep(0)
        name = await under(Turn(kind="/quick", size_bytes=3), threads, lambda: threading.current_thread().name)
        assert name == threading.current_thread().name
        gate.set()
        await first
        assert await waiting == "waited"

    asyncio.run(main())
    assert threads.close(5)


def engine_call(begun: threading.Event, ended: threading.Event) -> None:
    """What an engine does: it works until it is stopped."""
    work, is_stopped = current_stoppable(), threading.Event()
    assert work is not None
    work.enter(is_stopped.set)
    begun.set()
    assert is_stopped.wait(10)
    work.leave()
    ended.set()
    raise StoppedError("the call was stopped")


def test_an_engine_call_ends_at_the_deadline_and_with_its_caller() -> None:
    threads = RankThreads(1, max_waiting=8)

    async def main() -> None:
        begun, ended = threading.Event(), threading.Event()
        with pytest.raises(DeadlineExceededError):
            await under(Turn(0.05), threads, lambda: engine_call(begun, ended))
        assert await asyncio.to_thread(ended.wait, 10)
        begun, ended = threading.Event(), threading.Event()
        left = under(Turn(), threads, lambda: engine_call(begun, ended))
        assert await asyncio.to_thread(begun.wait, 10)
        left.cancel()
        assert await asyncio.to_thread(ended.wait, 10)
        turn, begun = Turn(), threading.Event()
        gone = under(turn, threads, lambda: engine_call(begun, ended))
        assert await asyncio.to_thread(begun.wait, 10)
        turn.cancel()
        with pytest.raises(CallCancelledError):
            await gone
        assert await threads.run(lambda: current_stoppable() is not None)

    asyncio.run(main())
    assert threads.close(5)


def test_posts_tell_what_the_threads_work_on() -> None:
    threads, gate = RankThreads(1, max_waiting=8), threading.Event()

    async def main() -> None:
        first, entered = blocked(threads, gate)
        await asyncio.to_thread(entered.wait)
        assert [post.stuck_s(1e-9) > 0 for post in threads.posts] == [True]
        assert [post.stuck_s(60) for post in threads.posts] == [0]
        gate.set()
        await first

    asyncio.run(main())
    assert threads.close(5)
    assert [post.stuck_s(1e-9) for post in threads.posts] == [0]


class _Body:
    """Something large that a call reads."""


@pytest.mark.parametrize("count", [0, 1])
def test_what_a_failed_call_has_read_is_given_back_at_once_and_not_by_the_collector(count: int) -> None:
    threads = RankThreads(count, max_waiting=8)
    read: list[weakref.ref[_Body]] = []

    def fail() -> None:
        body = _Body()
        read.append(weakref.ref(body))
        raise ValueError(f"{body} is wrong")

    async def call() -> None:
        with contextlib.suppress(ValueError):
            await threads.run(fail)

    async def start() -> None:
        over = asyncio.Event()
        threads.start(fail, Turn(), lambda _result, _error: over.set(), asyncio.get_running_loop())
        await over.wait()

    gc.disable()
    try:
        for attempt in (call, start):
            asyncio.run(attempt())
        assert threads.close(5)
        assert [body() for body in read] == [None, None]
    finally:
        gc.enable()
