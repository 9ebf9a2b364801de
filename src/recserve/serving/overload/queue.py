"""The calls that wait for a rank thread: the most urgent first, and none that could not be answered in time."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar

from recserve.errors import OverloadedError
from recserve.serving.overload.turn import Priority, Turn

_LOOKED_AT: Final = 32
"""Waiting calls that a search for a small one looks at."""

_SERVICES: Final = 1.5
"""Mean service times that have to be left at the end of the wait. With one, calls that are admitted to a full queue end
at their deadline on the average, and half of them after it, for nothing."""


class Waiting(Protocol):
    """What may wait."""

    @property
    def turn(self) -> Turn:
        """Whose it is."""

    @property
    def since_s(self) -> float:
        """When it began to wait, by `monotonic`."""


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True)
class QueueLimits:
    """How much may wait.

    Attributes:
        max_waiting: calls.
        max_wait_s: seconds that a call may wait; one that would wait longer is refused at once.
    """

    max_waiting: int = 256
    max_wait_s: float = 2.0


class TurnQueue(Generic[W]):
    """Waiting calls by priority. Any thread may put and take.

    Each call has a token in a queue of C, which costs no lock in Python; a token may outlive its call, never the other
    way round.

    Args:
        limits: how much may wait.
        drop: told of a waiting call that makes room for a more urgent one.
    """

    def __init__(self, limits: QueueLimits, drop: Callable[[W, OverloadedError], None]) -> None:
        self._limits = limits
        self._drop = drop
        self._lines: tuple[deque[W], ...] = tuple(deque() for _ in Priority)
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def __len__(self) -> int:
        return sum(map(len, self._lines))

    def admit(self, turn: Turn, service_s: float) -> None:
        """Refuse a call that cannot be answered in time; make room for it where it goes before others.

        Args:
            turn: of the call.
            service_s: seconds from one call's start to the next one's, over all threads; 0 where unknown.

        Raises:
            OverloadedError: too many wait, or it would wait too long.
        """
        waiting, limit = len(self), self._limits.max_waiting
        if turn.priority is Priority.LOW:
            limit = max(1, limit // 2)
        if waiting >= limit and not self._make_room(turn.priority):
            raise OverloadedError(
                f"{waiting} requests are waiting already",
                code="queue_full",
                hint="Try again later, or serve with more processes.",
            )
        wait_s = self._wait_s(turn, service_s)
        if wait_s > (allowed_s := min(self._limits.max_wait_s, turn.remaining_s() - _SERVICES * service_s)):
            raise too_long(wait_s, allowed_s)

    def hopeless(self, turn: Turn, service_s: float) -> OverloadedError | None:
        """The refusal of a call that comes too late even if all of it were here now; None where there is hope.

        What waits before it gets shorter while its body comes in, and the time to its deadline as much.
        """
        wait_s, allowed_s = self._wait_s(turn, service_s), turn.remaining_s() - _SERVICES * service_s
        return too_long(wait_s, allowed_s) if wait_s > allowed_s else None

    def _wait_s(self, turn: Turn, service_s: float) -> float:
        return service_s * sum(len(line) for line in self._lines[: turn.priority + 1])

    def put(self, call: W) -> None:
        """Let a call wait."""
        self._lines[call.turn.priority].append(call)
        self._tokens.put(True)

    def end(self) -> None:
        """Let one `take` give None."""
        self._tokens.put(False)

    def take(self) -> W | None:
        """The most urgent call, the oldest of its line; waits for one. None after `end`, once nothing waits."""
        while self._tokens.get():
            for line in self._lines:
                try:
                    return line.popleft()
                except IndexError:
                    continue
        return None

    def take_small(self, max_bytes: int) -> W | None:
        """The most urgent waiting call whose body has at most `max_bytes`; None where there is none."""
        for line in self._lines:
            for call in tuple(line)[:_LOOKED_AT] if line else ():
                if call.turn.size_bytes is not None and call.turn.size_bytes <= max_bytes:
                    try:
                        line.remove(call)
                    except ValueError:  # another thread has it
                        continue
                    return call
        return None

    def is_late(self, call: W, service_s: float) -> OverloadedError | None:
        """The refusal of a call that has waited too long to be answered in time, or None."""
        waited_s = monotonic() - call.since_s
        if waited_s > self._limits.max_wait_s:
            return too_long(waited_s, self._limits.max_wait_s)
        if call.turn.remaining_s() < service_s:
            return too_long(waited_s, waited_s + call.turn.remaining_s())
        return None

    def _make_room(self, priority: Priority) -> bool:
        for line in reversed(self._lines[priority + 1 :]):
            try:
                call = line.pop()  # the one that has waited least
            except IndexError:
                continue
            self._drop(call, OverloadedError("a more urgent request took its place", code="queue_full"))
            return True
        return False


def too_long(wait_s: float, allowed_s: float) -> OverloadedError:
    """The refusal of a call that would wait too long."""
    return OverloadedError(
        f"it would wait {wait_s * 1e3:.0f} ms, and has {max(0.0, allowed_s) * 1e3:.0f} ms",
        code="queue_full",
        hint="Try again later, or serve with more processes.",
    )
