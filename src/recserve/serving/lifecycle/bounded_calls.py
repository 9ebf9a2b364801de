"""Calls into libraries that may hang: who makes one waits for so long, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class BoundedCalls:
    """Calls of one place, such as a storage. Threads may share it.

    A call that hangs keeps its thread. As long as it does no other begins, so that a place that hangs costs one thread,
    however often it is asked.

    Args:
        place: how errors name it.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._hanging: threading.Thread | None = None
        self._lock = threading.Lock()

    def call(self, work: Callable[[], T], timeout_s: float) -> T:
        """What `work` returns or raises, if it does in time.

        Raises:
            TimeoutError: it does not, or an earlier call still hangs.
        """
        with self._lock:
            if self._hanging is not None and self._hanging.is_alive():
                raise TimeoutError(f"{self._place} still hangs")
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append((work(), None))
            except BaseException as error:  # it is raised where somebody waits
                outcome.append((None, error))

        thread = threading.Thread(target=run, name="recserve-remote", daemon=True)
        thread.start()
        thread.join(timeout_s)
        if not outcome:
            with self._lock:
                self._hanging = thread
            raise TimeoutError(f"{self._place} did not answer within {timeout_s:g} s")
        result, error = outcome[0]
        if error is not None:
            raise error
        found: T = result
        return found
