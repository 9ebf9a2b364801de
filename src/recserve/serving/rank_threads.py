"""Threads for ranking, so that the event loop goes on answering health checks and reading sockets."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from recserve.errors import OverloadedError
from recserve.serving import observation

T = TypeVar("T")


@dataclass(frozen=True)
class _Job:
    work: Callable[[], Any]
    context: contextvars.Context
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class RankThreads:
    """A fixed number of threads behind one bounded queue.

    They are daemon threads, unlike those of `concurrent.futures`: a ranking that never ends must not keep the
    process from exiting after its drain time.

    Args:
        threads: how many; 0 runs the work inline, on the event loop.
        max_waiting: jobs that may wait for a thread; one more is refused.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"recserve-rank-{i}", daemon=True) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on a thread and return what it returns, or raise what it raises.

        Raises:
            OverloadedError: `max_waiting` jobs are waiting already.
        """
        if not self._threads:
            return _observed(work)
        if self._queue.qsize() >= self._max_waiting:
            raise OverloadedError(
                f"{self._max_waiting} requests are waiting already",
                code="queue_full",
                hint="Try again later, or serve with more processes.",
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Job(work, contextvars.copy_context(), future, loop))
        return await future

    def close(self, timeout_s: float) -> bool:
        """End the threads after their current jobs; False when one is still at work after `timeout_s`."""
        deadline_s = monotonic() + timeout_s
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if job.future.cancelled():
                continue
            result, error = None, None
            try:
                result = job.context.run(_observed, job.work)
            except Exception as caught:  # it is raised where the work is awaited
                error = caught
            try:
                job.loop.call_soon_threadsafe(_settle, job.future, result, error)
            except RuntimeError:  # the loop has ended, and with it whoever waited
                return


def _observed(work: Callable[[], T]) -> T:
    """Do the work, and note when on the observation of the request."""
    observation.begin_work()
    try:
        return work()
    finally:
        observation.end_work()


def _settle(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
