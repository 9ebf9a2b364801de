"""Finds threads that work for nobody and do not end: an op that loops for ever, a lock that is never given back.

The event loop of such a process turns, and it shows signs of life; but it has a thread less. Engine calls end when
nobody waits for them, see `network.stopping`; what is found here does not.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Final

from recserve.serving.overload.turn import Turn

STUCK_S: Final = 60.0
"""Seconds that work may go on after nobody waits for it."""

PATIENCE: Final = 10
"""So many times as long may work go on without progress whose caller waits, and has named no deadline."""

_MAX_LOOK_S: Final = 5.0
_log: Final = logging.getLogger("recserve.serving")


class Post:
    """What a thread works on. The thread writes, any thread may read.

    Args:
        thread: made, maybe not started.
    """

    __slots__ = ("_work", "thread")

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self._work: tuple[tuple[Turn, ...], float] | None = None

    def begin(self, *turns: Turn) -> object:
        """Work for these calls from now on; returns what `resume` takes to go on with the work before."""
        before, self._work = self._work, (turns, monotonic())
        return before

    def resume(self, before: object) -> None:
        """The work is done; go on with what was there before, which is progress of that."""
        self._work = (before[0], monotonic()) if isinstance(before, tuple) else None

    def stuck_s(self, limit_s: float) -> float:
        """Seconds without progress, where they are too many; else 0."""
        work = self._work
        if work is None:
            return 0.0
        turns, since_s = work
        over_s, now_s = max((turn.over_s() for turn in turns), default=inf), monotonic()
        begun_s = since_s + (PATIENCE - 1) * limit_s if over_s == inf else max(since_s, over_s)
        return now_s - since_s if now_s - begun_s >= limit_s else 0.0


class StuckWatch:
    """Looks for stuck threads, logs where they are, and tells.

    Args:
        posts: gives those of all threads.
        limit_s: seconds that work may go on after nobody waits for it; 0 to look for nothing.
        tell: called with one line for people at each look that finds a stuck thread.
    """

    def __init__(self, posts: Callable[[], Iterable[Post]], limit_s: float, tell: Callable[[str], None]) -> None:
        self._posts, self._limit_s, self._tell = posts, limit_s, tell
        self._logged: set[Post] = set()
        self._ended = threading.Event()

    def start(self) -> None:
        """Look from now on, on a thread of its own."""
        if self._limit_s > 0:
            threading.Thread(target=self._look_always, name="recserve-stuck", daemon=True).start()

    def stop(self) -> None:
        """Look no longer."""
        self._ended.set()

    def is_stuck(self) -> bool:
        """Whether a thread is stuck now."""
        return self._limit_s > 0 and any(post.stuck_s(self._limit_s) for post in self._posts())

    def look(self) -> None:
        """Log the threads that are stuck since the last look, and tell if there is any."""
        found = {post: seconds for post in self._posts() if (seconds := post.stuck_s(self._limit_s))}
        for post, seconds in found.items():
            if post not in self._logged:
                stack = describe_stack(post.thread)
                _log.error("Thread %s works for nobody since %.0f s, at:\n%s", post.thread.name, seconds, stack)
        for post in self._logged - found.keys():
            _log.warning("Thread %s has come back", post.thread.name)
        self._logged = set(found)
        if found:
            names = ", ".join(sorted(post.thread.name for post in found))
            self._tell(f"{names}: no progress for {max(found.values()):.0f} s")

    def _look_always(self) -> None:
        while not self._ended.wait(min(self._limit_s / 4, _MAX_LOOK_S)):
            self.look()


def describe_stack(thread: threading.Thread) -> str:
    """Where a thread is in Python code, the innermost call last."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "(it has ended)" if frame is None else "".join(traceback.format_stack(frame)).rstrip()
