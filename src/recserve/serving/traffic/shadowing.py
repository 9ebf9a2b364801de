"""Asks shadow versions what was asked of others, off the response path."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

from recserve.errors import RecserveError
from recserve.serving.lifecycle.loading import lower_priority

MAX_WAITING: Final = 256
"""Calls that may wait for a shadow; further ones are not repeated."""

_log: Final = logging.getLogger("recserve.serving")


class ShadowThread:
    """One low-priority thread behind a bounded queue: shadows may fall behind, and calls never wait for them."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.dropped = 0

    def submit(self, job: Callable[[], None]) -> bool:
        """Run a job some time; False where too many wait already."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="recserve-shadow", daemon=True)
                self._thread.start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def drain(self, timeout_s: float) -> None:
        """Do what waits, and end."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join(timeout_s)

    def _work(self) -> None:
        lower_priority()
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except RecserveError as error:
                _log.debug("A shadow was not asked: %s", error)
            except Exception:
                _log.exception("A shadow could not be asked")
            del job
