"""What all workers of a server do alike, and the book in which the supervisor keeps it.

One order is under way at a time, so that all workers see the same ones in the same sequence. Who asks for it does it
first: what fails there is done by nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

W = TypeVar("W")

DO: Final = "do"
"""(this, number, order, ticket of who asked where that is the worker itself, else None): said to a worker."""

TOLD: Final = "told"
"""(this, ticket, what went wrong by worker): said to the worker that asked, once all others are through."""

Failures = list[tuple[int, str]]
"""(number of a worker, why it did not do the order)."""


@dataclass(frozen=True)
class Order:
    """Something that every worker is to do.

    Attributes:
        kind: which handler of a worker does it.
        content: for the handler; it is sent to other processes, so that it can be pickled.
        key: a worker that starts later does the last order of each key too; empty for orders that leave nothing behind
            in a worker that it would not find elsewhere.
    """

    kind: str
    content: Any
    key: str = ""


@dataclass(eq=False)
class _Asked(Generic[W]):
    """An order on its way."""

    by: W
    ticket: int
    order: Order
    number: int = 0
    waits_for: set[W] = field(default_factory=set)
    is_with_all: bool = False
    failures: Failures = field(default_factory=list)


class OrderBook(Generic[W]):
    """The supervisor's side of orders: who asked, who is not through yet, and what new workers catch up on.

    Args:
        send: says something to a worker; it is not called for one that is gone.
        members: the workers that are there now, also those that are starting.
        number_of: the number of a worker.
    """

    def __init__(
        self,
        send: Callable[[W, tuple[Any, ...]], None],
        members: Callable[[], Iterable[W]],
        number_of: Callable[[W], int],
    ) -> None:
        self._send, self._members, self._number_of = send, members, number_of
        self._waiting: deque[_Asked[W]] = deque()
        self._current: _Asked[W] | None = None
        self._kept: dict[str, Order] = {}
        self._count = 0

    def kept(self) -> tuple[Order, ...]:
        """The orders that a new worker has to catch up on, the oldest first."""
        return tuple(self._kept.values())

    def ask(self, worker: W, ticket: int, order: Order) -> None:
        """A worker asks for an order; it is told under its ticket how that went."""
        self._waiting.append(_Asked(worker, ticket, order))
        self._go_on()

    def hear(self, worker: W, number: int, problem: str | None) -> None:
        """A worker is through with the order of this number; `problem` says why it did not do it."""
        asked = self._current
        if asked is None or asked.number != number or worker not in asked.waits_for:
            return
        asked.waits_for.discard(worker)
        if problem is not None:
            asked.failures.append((self._number_of(worker), problem))
            if worker is asked.by and not asked.is_with_all:
                self._end(asked)
                return
        self._go_on()

    def forget(self, worker: W) -> None:
        """A worker is gone: nothing is expected of it, and its wishes are void."""
        self._waiting = deque(asked for asked in self._waiting if asked.by is not worker)
        asked = self._current
        if asked is None or worker not in asked.waits_for:
            return
        asked.waits_for.discard(worker)
        if worker is asked.by and not asked.is_with_all:  # nobody knows what it has done, and it is gone
            self._current = None
        self._go_on()

    def _go_on(self) -> None:
        """Do what is next, until there is somebody to wait for."""
        while True:
            asked = self._current
            if asked is None:
                if not self._waiting:
                    return
                self._begin(self._waiting.popleft())
            elif asked.waits_for:
                return
            elif not asked.is_with_all:
                self._pass_on(asked)
            else:
                self._end(asked)
                return

    def _begin(self, asked: _Asked[W]) -> None:
        self._count += 1
        asked.number, asked.waits_for, self._current = self._count, {asked.by}, asked
        self._send(asked.by, (DO, asked.number, asked.order, asked.ticket))

    def _pass_on(self, asked: _Asked[W]) -> None:
        if asked.order.key:
            self._kept.pop(asked.order.key, None)
            self._kept[asked.order.key] = asked.order
        asked.is_with_all = True
        asked.waits_for = {worker for worker in self._members() if worker is not asked.by}
        for worker in tuple(asked.waits_for):
            self._send(worker, (DO, asked.number, asked.order, None))

    def _end(self, asked: _Asked[W]) -> None:
        self._current = None
        if asked.by in tuple(self._members()):
            self._send(asked.by, (TOLD, asked.ticket, asked.failures))
        self._go_on()
