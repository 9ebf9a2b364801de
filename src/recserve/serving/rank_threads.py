"""Threads for ranking, so that the event loop goes on answering health checks and reading sockets.

Work that its kind's history shows to be quicker than handing it over runs where it arrives. The rest waits for a thread
in the order of its priority, and is refused where it could not be answered in time.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic, perf_counter, thread_time
from typing import Any, Final, TypeVar

from recserve.errors import OverloadedError, RequestError
from recserve.network.stopping import StoppedError, enter_stoppable
from recserve.serving import observation
from recserve.serving.overload.pace import Pace
from recserve.serving.overload.queue import QueueLimits, TurnQueue
from recserve.serving.overload.stuck import Post
from recserve.serving.overload.turn import DeadlineExceededError, Turn, current_turn

T = TypeVar("T")

_SMALLER: Final = 4
"""A call that goes in between has a body smaller by this factor."""


Done = Callable[[Any, Exception | None], None]
"""Told on the event loop what work returned, or raised."""


class _Job:
    """Work that was handed over."""

    __slots__ = ("context", "done", "is_over", "loop", "since_s", "timer", "turn", "work")

    def __init__(self, work: Callable[[], Any], turn: Turn, done: Done, loop: asyncio.AbstractEventLoop) -> None:
        self.work, self.turn, self.done, self.loop = work, turn, done, loop
        self.context = contextvars.copy_context()
        self.since_s = monotonic()
        self.is_over = False
        self.timer: asyncio.TimerHandle | None = None

    def settle(self, result: object, error: Exception | None) -> None:
        """Tell the outcome, once; on the event loop."""
        if self.is_over:
            return
        self.is_over = True
        if self.timer is not None:
            self.timer.cancel()
        self.done(result, error)

    def expire(self) -> None:
        """The deadline has passed, and nobody waits any longer."""
        self.turn.stop()
        self.settle(None, DeadlineExceededError("Deadline Exceeded", hint="Give more time, or ask for less."))


class _Here(threading.local):
    """Of each thread: what it works on, and whether that is work that goes in between."""

    def __init__(self) -> None:
        self.is_on = False
        self.post = Post(threading.current_thread())


class RankThreads:
    """A fixed number of threads behind one bounded queue.

    They are daemon threads, unlike those of `concurrent.futures`: a ranking that never ends must not keep the
    process from exiting after its drain time.

    Args:
        threads: how many; 0 runs the work inline, on the event loop.
        max_waiting: jobs that may wait for a thread; one more is refused, or makes a less urgent one be refused.
        max_wait_s: seconds that a job may wait.

    Attributes:
        posts: what each thread works on.
    """

    def __init__(self, threads: int, max_waiting: int, max_wait_s: float = inf) -> None:
        self._queue: TurnQueue[_Job] = TurnQueue(QueueLimits(max_waiting, max_wait_s), _refuse)
        self._pace = Pace()
        self._count = threads
        self._nested = _Here()
        self._threads = [
            threading.Thread(target=self._work, args=(i,), name=f"recserve-rank-{i}", daemon=True)
            for i in range(threads)
        ]
        self.posts: tuple[Post, ...] = tuple(map(Post, self._threads))
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on a thread and return what it returns, or raise what it raises.

        Raises:
            OverloadedError: too many jobs wait already, or it would wait too long.
            DeadlineExceededError, CallCancelledError: the caller's time is over, before or during the work.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        turn = current_turn() or Turn()
        job = self.start(work, turn, partial(_resolve, future), loop)
        try:
            return await future
        except asyncio.CancelledError:
            turn.cancel()
            raise
        finally:
            if job is not None:
                job.is_over = True  # also where the caller was cancelled
                job.done = _tell_nobody
            del future  # an error in it holds this frame, see `_finish`

    def start(self, work: Callable[[], Any], turn: Turn, done: Done, loop: asyncio.AbstractEventLoop) -> _Job | None:
        """Begin work: here and now where its kind is quick, else on a thread.

        Args:
            work: to be done, in the context of the caller.
            turn: of the request.
            done: called once with what came of it, on the event loop, maybe before this returns.
            loop: that runs here.

        Returns:
            What was handed over; None where it is done.
        """
        result, error = None, None
        try:
            turn.check()
            if not self._threads:
                result = work()
            elif self._pace.is_quick(turn):  # also before those that wait: it would be gone before they noticed
                result = self._run_here(work, turn)
            else:
                self._queue.admit(turn, self._pace.mean_s / self._count)
                job = _Job(work, turn, done, loop)
                if (remaining_s := turn.remaining_s()) != inf:
                    job.timer = loop.call_later(remaining_s, job.expire)
                self._queue.put(job)
                return job
        except Exception as caught:  # `done` is told
            error = caught
        try:
            done(result, error)
        finally:
            del error, done  # see `_finish`
        return None

    def hopeless(self, turn: Turn) -> OverloadedError | None:
        """Why a call whose body is still to come cannot be answered by its deadline; None where it may be."""
        return self._queue.hopeless(turn, self._pace.mean_s / self._count) if self._threads else None

    def let_others_go_first(self) -> None:
        """Called by long work between its parts, on its rank thread: smaller waiting work runs now, for a while.

        Raises:
            DeadlineExceededError, CallCancelledError: nobody waits for the long work any longer.
        """
        turn = current_turn()
        if turn is None or self._nested.is_on:
            return
        turn.check()
        max_bytes = (turn.size_bytes or 0) // _SMALLER
        until_s = monotonic() + max(self._pace.mean_s, 1e-3)
        self._nested.is_on = True
        try:
            while len(self._queue) and monotonic() < until_s and (job := self._queue.take_small(max_bytes)):
                self._finish(job)
        finally:
            self._nested.is_on = False
            self._nested.post.resume(self._nested.post.begin())  # it goes on

    def waiting(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._queue)

    def close(self, timeout_s: float) -> bool:
        """End the threads after their current jobs; False when one is still at work after `timeout_s`."""
        deadline_s = monotonic() + timeout_s
        for _ in self._threads:
            self._queue.end()
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run_here(self, work: Callable[[], T], turn: Turn) -> T:
        pace = self._pace
        is_sample = pace.wants_sample(turn)  # the processor's clock is a call of the system
        cpu_s = thread_time() if is_sample else 0.0
        begin_s = perf_counter()
        observation.begin_work()
        try:
            return work()
        finally:
            observation.end_work()
            pace.learn(turn, perf_counter() - begin_s, thread_time() - cpu_s if is_sample else None)

    def _run_stoppably(self, job: _Job) -> Any:
        """Run a job, whose engine calls end when its turn is stopped, in its own context."""
        enter_stoppable(job.turn)
        return self._run_here(job.work, job.turn)

    def _work(self, number: int) -> None:
        self._nested.post = self.posts[number]
        while (job := self._queue.take()) is not None:
            if not self._finish(job):
                return

    def _finish(self, job: _Job) -> bool:
        """Run a job and hand its result over; False when the loop that waits for it has ended."""
        if job.is_over:
            return True
        result, error = None, None
        post = self._nested.post
        before = post.begin(job.turn)
        try:
            job.turn.check()
            if (late := self._queue.is_late(job, self._pace.expected_s(job.turn))) is not None:
                raise late
            result = job.context.run(self._run_stoppably, job)
        except StoppedError as caught:
            error = _reason(job.turn, caught)
        except Exception as caught:  # it is raised where the work is awaited
            error = caught
        finally:
            post.resume(before)
        try:
            return _hand_over(job, result, error)
        finally:
            # An error holds the frames that it went through. Were it held by one of them, all that the call read would
            # stay until the collector comes by.
            error = None


def _resolve(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _tell_nobody(_result: object, _error: Exception | None) -> None:
    """Nobody waits any longer."""


def _hand_over(job: _Job, result: object, error: Exception | None) -> bool:
    try:
        job.loop.call_soon_threadsafe(job.settle, result, error)
    except RuntimeError:  # the loop has ended, and with it whoever waited
        return False
    return True


def _reason(turn: Turn, error: StoppedError) -> Exception:
    """Why the work for a turn was stopped."""
    try:
        turn.check()
    except RequestError as reason:
        return reason
    return error


def _refuse(job: _Job, error: OverloadedError) -> None:
    _hand_over(job, None, error)
