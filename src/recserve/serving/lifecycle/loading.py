"""Threads that load, warm and close models, so that no serving thread ever does."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Final

NICENESS: Final = 5
"""Added to the niceness of loading threads. More would let a loading thread that holds the interpreter's lock wait so
long for a core that serving threads wait with it."""

_log: Final = logging.getLogger("recserve.serving")


class LoadingThreads:
    """A fixed number of low-priority threads behind one queue. They are daemons: a load does not delay the end.

    Args:
        count: how many jobs run at once; at least 1.
        is_nice: lower their priority, where the system can do that for a thread. A thread's children inherit it for
            ever, so that models whose engines have threads of their own are loaded without.
        name: of the threads.
    """

    def __init__(self, count: int, *, is_nice: bool = True, name: str = "recserve-load") -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._is_nice = is_nice
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(max(1, count))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job when a thread is free. What it raises is logged."""
        self._jobs.put(job)

    def stop(self, timeout_s: float) -> bool:
        """End after the jobs that run and wait; False where one still runs after `timeout_s` seconds for each."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        if self._is_nice:
            lower_priority()
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                _log.exception("A loading thread's job failed")
            del job  # a thread that waits must not keep a model alive


def lower_priority() -> bool:
    """Lower the priority of the calling thread; False where the system knows no priorities of threads."""
    if sys.platform != "linux":  # elsewhere the call means the whole process
        return False
    try:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
    except OSError:
        return False
    return True
