from __future__ import annotations

import asyncio
import threading

import pytest

from recserve.errors import OverloadedError
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
