"""Calls that wait for a batch, and the threads that run batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from recserve.errors import OverloadedError, RequestError
from recserve.network.stopping import Stoppable, current_stoppable, enter_stoppable, stopped
from recserve.serving.batching.parameters import BatchingParameters
from recserve.serving.metrics_batches import BatchMetrics
from recserve.serving.overload.stuck import Post
from recserve.serving.overload.turn import Turn, current_turn

Task = Any
"""What a call brings: only who runs the batch looks into it."""


@dataclass(eq=False)
class _Call:
    task: Task
    rows: int
    batch: _Batch
    turn: Turn | None = field(default_factory=current_turn)
    is_over: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    def is_wanted(self) -> bool:
        """Whether its caller still waits; it is over if not."""
        try:
            if self.turn is not None:
                self.turn.check()
        except RequestError as error:
            self.error = error
            self.is_over.set()
        return self.error is None

    def leave(self) -> None:
        """Its caller is gone: wait no longer, and end the batch that nobody else waits for."""
        if self.is_wanted():
            self.error = stopped()
        self.is_over.set()
        if self.batch.is_taken and all(call.is_over.is_set() for call in self.batch.calls):
            self.batch.work.stop()


@dataclass(eq=False)
class _Batch:
    key: Hashable
    run: Callable[[list[Task]], list[Any]]
    opened_s: float
    calls: list[_Call] = field(default_factory=list)
    rows: int = 0
    work: Stoppable = field(default_factory=Stoppable)
    is_taken: bool = False


class BatchQueue:
    """Batches of calls that may run together, and threads that run them. One queue serves all models.

    Args:
        parameters: how calls are batched.

    Attributes:
        metrics: what was batched so far.
        posts: what each thread works on.
    """

    def __init__(self, parameters: BatchingParameters) -> None:
        self.parameters = parameters
        self.metrics = BatchMetrics()
        self._batches: deque[_Batch] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"recserve-batch-{number}", daemon=True)
            for number in range(parameters.num_batch_threads)
        ]
        self.posts: tuple[Post, ...] = tuple(map(Post, self._threads))
        for thread in self._threads:
            thread.start()

    def submit(self, key: Hashable, task: Task, rows: int, run: Callable[[list[Task]], list[Any]]) -> Any:
        """Run a task in a batch with others of its key, and wait for what came of it.

        Args:
            key: only calls of one key share a batch.
            task: of this call.
            rows: that it has, at most those of a batch.
            run: tasks of a batch → a result or an exception for each; the one of the first call runs for all.

        Raises:
            OverloadedError: too many batches wait, or the queue is closed.
            DeadlineExceededError, CallCancelledError: the caller's time was over before the batch had run.
        """
        with self._changed:
            batch = next((b for b in reversed(self._batches) if b.key == key), None)
            if batch is None or batch.rows + rows > self.parameters.rows:
                if self._is_closed or len(self._batches) >= self.parameters.max_enqueued_batches:
                    raise OverloadedError(
                        "The batch scheduling queue to which this task was submitted is full; "
                        f"currently {len(self._batches)} batches enqueued and "
                        f"max_enqueued_batches is {self.parameters.max_enqueued_batches}",
                        code="batch_queue_full",
                    )
                self._batches.append(batch := _Batch(key, run, monotonic()))
            batch.calls.append(call := _Call(task, rows, batch))
            batch.rows += rows
            self._changed.notify()
        work = current_stoppable()
        if work is None:
            call.is_over.wait()
        else:
            work.enter(call.leave)
            call.is_over.wait()
            work.leave()
        try:
            if call.error is not None:
                raise call.error
            return call.result
        finally:
            call.error = None  # it holds this frame, which holds the call: what was asked would stay for the collector

    def close(self) -> None:
        """Run what waits, and end the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        post = self.posts[number]
        while (batch := self._take()) is not None:
            _run(batch, post)
            batch.calls.clear()  # each knows its batch: what it brought would stay for the collector
            del batch  # it would be kept until the next one comes

    def _take(self) -> _Batch | None:
        """The oldest batch that is full or has waited long enough; waits for one. None once closed and empty."""
        with self._changed:
            while True:
                now_s = monotonic()
                wait_s: float | None = None
                for batch in self._batches:
                    left_s = batch.opened_s + self.parameters.batch_timeout_s - now_s
                    if left_s <= 0 or batch.rows >= self.parameters.rows or self._is_closed:
                        self._batches.remove(batch)
                        batch.is_taken = True  # nobody joins it any longer
                        self.metrics.waited(now_s - batch.opened_s)
                        return batch
                    wait_s = left_s if wait_s is None else min(wait_s, left_s)
                if self._is_closed:
                    return None
                self._changed.wait(wait_s)


def _run(batch: _Batch, post: Post) -> None:
    """Run a batch for the calls that still wait, and tell them."""
    calls = [call for call in batch.calls if call.is_wanted()]
    if not calls:
        return
    enter_stoppable(batch.work)
    before = post.begin(*[call.turn for call in calls if call.turn is not None])
    try:
        results = batch.run([call.task for call in calls])
    except BaseException as caught:  # it is raised where the calls wait
        results = [caught] * len(calls)
    post.resume(before)
    for call, result in zip(calls, results, strict=True):
        if isinstance(result, BaseException):
            call.error = result
        else:
            call.result = result
        call.is_over.set()
    del calls, results, call, result  # an error holds this frame, see `BatchQueue.submit`
