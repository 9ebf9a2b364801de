"""Ends engine calls for which nobody waits any longer.

Who runs work on a thread makes a `Stoppable` current there; an engine that is called on that thread lets it end the
call. Whoever knows that the work is in vain, such as a timer or a connection, stops it from another thread. Where none
is current, calls run to their end and cost nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from recserve.errors import RequestError


class StoppedError(RequestError):
    """A call was ended from outside, because nobody waits for what it gives."""

    default_code = "stopped"


class Stoppable:
    """Work that any thread may stop. Once stopped, it stays so.

    Attributes:
        is_stopped: whether it was stopped.
    """

    __slots__ = ("_end", "is_stopped")

    def __init__(self) -> None:
        self.is_stopped = False
        self._end: Callable[[], None] | None = None

    def stop(self) -> None:
        """End the call that the work is in, and let it begin no other one; from any thread."""
        self.is_stopped = True  # first: `enter` has it the other way round, so that one of both sees the other
        end = self._end
        if end is not None:
            end()

    def enter(self, end: Callable[[], None]) -> None:
        """Begin a call, which `leave` ends.

        Args:
            end: ends the call soon; it may be called late, when the call is over.

        Raises:
            StoppedError: the work was stopped.
        """
        self._end = end
        if self.is_stopped:
            self._end = None
            raise stopped()

    def leave(self) -> None:
        """The call is over."""
        self._end = None


def stopped() -> StoppedError:
    """The error of a call that was ended."""
    return StoppedError("the call was stopped", hint="Nobody waits for its result.")


_CURRENT: Final[ContextVar[Stoppable | None]] = ContextVar("recserve_stoppable", default=None)


def current_stoppable() -> Stoppable | None:
    """What this thread works on, where that can be stopped."""
    return _CURRENT.get()


def enter_stoppable(work: Stoppable | None) -> None:
    """Let engine calls of this thread or context end when `work` is stopped."""
    _CURRENT.set(work)
