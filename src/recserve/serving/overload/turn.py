"""The time that a call has, and whether its caller still waits: checked before and between the parts of the work.

The turn of the request that this task or thread works on is `current_turn()`. Ports set it; rank threads take it over.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from enum import IntEnum
from math import inf
from time import monotonic, perf_counter_ns
from typing import Final

from recserve.errors import RequestError, suggest
from recserve.network.stopping import Stoppable

MAX_TIMEOUT_MS: Final = 86_400_000
"""A day; a longer timeout is none."""

_TIMEOUTS: Final = frozenset((b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms"))
_PRIORITY: Final = b"x-request-priority"
_LENGTH: Final = b"content-length"
WISHES: Final = _TIMEOUTS | {_PRIORITY}
"""Headers with what a caller wishes of its turn."""

_READ: Final = _TIMEOUTS | {_PRIORITY, _LENGTH}


class DeadlineExceededError(RequestError):
    """The caller's deadline has passed."""

    default_code = "deadline_exceeded"


class CallCancelledError(RequestError):
    """The caller has cancelled the call or is gone."""

    default_code = "cancelled"


class Priority(IntEnum):
    """How urgent a call is. Low ones get half of the queue, and make room for others."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


_PRIORITIES: Final = {priority.name.lower(): priority for priority in Priority}


class Turn(Stoppable):
    """One call from its arrival to its answer. The engine call that a rank thread is in for it ends when it is stopped.

    Args:
        remaining_s: seconds until the caller's deadline; None where there is none.
        priority: how urgent it is.
        size_bytes: of its body; None where that is not known before it is read.
        kind: calls of one kind take about the same time for the same size; empty where nothing is known.
        problem: what is wrong with the caller's wishes; `check` raises it.

    Attributes:
        arrived_ns: when the call arrived, by `perf_counter_ns`.
    """

    __slots__ = ("_cancelled_s", "_expires_s", "arrived_ns", "kind", "priority", "problem", "size_bytes")

    def __init__(
        self,
        remaining_s: float | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        size_bytes: int | None = None,
        kind: str = "",
        problem: RequestError | None = None,
    ) -> None:
        super().__init__()
        self.arrived_ns = perf_counter_ns()
        self.priority, self.size_bytes, self.kind, self.problem = priority, size_bytes, kind, problem
        self._expires_s = None if remaining_s is None else monotonic() + remaining_s
        self._cancelled_s: float | None = None

    def cancel(self) -> None:
        """Say that nobody waits for the answer any longer, and stop what is done for it; from any thread."""
        self._cancelled_s = monotonic()
        self.stop()

    def over_s(self) -> float:
        """When its caller went away or its deadline is, by `monotonic`; infinite where neither is known."""
        ends = [moment for moment in (self._cancelled_s, self._expires_s) if moment is not None]
        return min(ends, default=inf)

    def remaining_s(self) -> float:
        """Seconds until the deadline, infinite where there is none; negative after it."""
        return inf if self._expires_s is None else self._expires_s - monotonic()

    def check(self) -> None:
        """Go on only while somebody waits.

        Raises:
            CallCancelledError: the call was cancelled.
            DeadlineExceededError: its deadline has passed.
            RequestError: its wishes cannot be read.
        """
        if self._cancelled_s is not None:
            raise CallCancelledError("the call was cancelled")
        if self._expires_s is not None and monotonic() >= self._expires_s:
            raise DeadlineExceededError("Deadline Exceeded", hint="Give more time, or ask for less.")
        if self.problem is not None:
            raise self.problem


_CURRENT: Final[ContextVar[Turn | None]] = ContextVar("recserve_turn", default=None)


def current_turn() -> Turn | None:
    """The turn of the request that this task or rank thread works on; None outside requests."""
    return _CURRENT.get()


def enter_turn(turn: Turn | None) -> None:
    """Work on a request from now on, in this task or thread."""
    _CURRENT.set(turn)


def read_turn(headers: Iterable[tuple[bytes, bytes]], kind: str = "") -> Turn:
    """The turn that the headers of an HTTP request ask for.

    Args:
        headers: pairs with the names in small letters: `x-request-timeout-ms` (or Envoy's
            `x-envoy-expected-rq-timeout-ms`), a whole number of milliseconds of at least 1, and `x-request-priority`,
            one of high, normal and low.
        kind: see `Turn`.
    """
    remaining_s, priority, size_bytes = None, Priority.NORMAL, None
    problem: RequestError | None = None
    for name, value in [pair for pair in headers if pair[0] in _READ]:
        if name == _LENGTH:
            size_bytes = int(value) if value.isdigit() else None
        elif name in _TIMEOUTS:
            if value.isdigit() and len(value) <= 12 and int(value) > 0:
                milliseconds = int(value)
                remaining_s = milliseconds / 1e3 if milliseconds <= MAX_TIMEOUT_MS else None
            else:
                problem = _unreadable(name, value, "Give a whole number of milliseconds, at least 1.")
        elif name == _PRIORITY:
            word = value.decode("latin-1").lower()
            if word in _PRIORITIES:
                priority = _PRIORITIES[word]
            else:
                problem = _unreadable(name, value, suggest(word, _PRIORITIES) or "Give high, normal or low.")
    return Turn(remaining_s, priority=priority, size_bytes=size_bytes, kind=kind, problem=problem)


def _unreadable(name: bytes, value: bytes, hint: str) -> RequestError:
    return RequestError(
        f"cannot read {value.decode('latin-1')[:40]!r}",
        code="invalid_header",
        where=f"header {name.decode()}",
        hint=hint,
    )
