"""A worker's side of the crew: it asks for orders, does those of others, and shows that it is alive.

A process that serves alone is a crew of one: it does its orders itself.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final

from recserve.errors import OverloadedError, RecserveError, RequestError
from recserve.serving.workers.orders import DO, TOLD, Failures, Order

MAX_ORDER_BYTES: Final = 128 << 10
"""Of one order: it fits into the pipe of a worker that does not read at the moment."""

_log: Final = logging.getLogger("recserve.serving")

Handler = Callable[[Any], Any]
"""Content of an order → what it gave. It asks for no order itself."""


class CrewError(RecserveError):
    """Some workers did not do what the others did."""

    default_code = "workers_differ"


@dataclass(eq=False)
class _Asked:
    """An order that this worker asked for."""

    is_over: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None
    failures: Failures = field(default_factory=list)


class Crew:
    """The workers of a server, as one of them sees them. Threads may share it.

    Args:
        send: says something to the supervisor; None for a process that serves alone.
    """

    def __init__(self, send: Callable[[str, Any], None] | None = None) -> None:
        self._send = send
        self._handlers: dict[str, Handler] = {}
        self._early: list[Order] = []
        self._lock = threading.RLock()
        self._tickets = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._orders: queue.SimpleQueue[tuple[int, Order, int | None]] = queue.SimpleQueue()
        self._loops: dict[asyncio.AbstractEventLoop, bool] = {}
        self._is_gone = False
        self.is_catching_up = False
        """Whether orders are done that were given before this worker was there."""

    # --- Orders -----------------------------------------------------------------------------------------------------

    def answer(self, kind: str, handler: Handler) -> None:
        """Let `handler` do the orders of a kind, also those that came before there was one.

        Raises:
            RecserveError: of such an early order.
        """
        with self._lock:
            self._handlers[kind] = handler
            early = [order for order in self._early if order.kind == kind]
            self._early = [order for order in self._early if order.kind != kind]
            self._catch_up(early)

    def begin(self, orders: Iterable[Order] = ()) -> None:
        """Catch up on what the others have done, and do from now on what they do.

        Args:
            orders: the oldest first; those without a handler wait until there is one.

        Raises:
            RecserveError: one of them cannot be done.
        """
        with self._lock:
            self._early += [order for order in orders if order.kind not in self._handlers]
            self._catch_up([order for order in orders if order.kind in self._handlers])
        if self._send is not None:
            threading.Thread(target=self._work, name="recserve-orders", daemon=True).start()

    def tell(self, order: Order) -> Any:
        """Do an order in every worker, in this one first; returns when all have done it.

        Returns:
            What the handler of this worker returned.

        Raises:
            CrewError: this worker has done it, and others, which are named, have not.
            RequestError: the order is too large to be sent.
            OverloadedError: this worker ends.
            Exception: what the handler of this worker raised; no other worker has done the order.
        """
        if self._send is None:
            with self._lock:
                return self._handlers[order.kind](order.content)
        if (size := len(ForkingPickler.dumps(order))) > MAX_ORDER_BYTES:
            raise RequestError(f"an order to all workers has {size} bytes", hint=f"{MAX_ORDER_BYTES} is the most.")
        asked = _Asked()
        ticket = next(self._tickets)
        with self._lock:
            if self._is_gone:
                raise _ending()
            self._asked[ticket] = asked
        self._send("ask", (ticket, order))
        asked.is_over.wait()
        if asked.error is not None:
            raise asked.error
        if asked.failures:
            reasons = "; ".join(f"worker {number}: {problem}" for number, problem in asked.failures)
            raise CrewError(f"not every worker could do it: {reasons}", hint="The others have done it. Try again.")
        return asked.result

    def hear(self, message: tuple[Any, ...]) -> None:
        """Take what the supervisor says of orders."""
        if message[0] == DO:
            self._orders.put(message[1:])
        elif message[0] == TOLD:
            self._finish(message[1], message[2])

    def leave(self) -> None:
        """The supervisor is gone: who waits for an order waits no longer."""
        with self._lock:
            self._is_gone = True
            waiting = list(self._asked)
        for ticket in waiting:
            self._asked[ticket].error = self._asked[ticket].error or _ending()
            self._finish(ticket, [])

    def _finish(self, ticket: int, failures: Failures) -> None:
        asked = self._asked.pop(ticket, None)
        if asked is not None:
            asked.failures = failures
            asked.is_over.set()

    def _catch_up(self, orders: Iterable[Order]) -> None:
        self.is_catching_up = True
        try:
            for order in orders:
                self._handlers[order.kind](order.content)
        finally:
            self.is_catching_up = False

    def _work(self) -> None:
        while True:
            number, order, ticket = self._orders.get()
            asked = None if ticket is None else self._asked.get(ticket)
            problem = None
            try:
                result = self._do(order)
                if asked is not None:
                    asked.result = result
            except BaseException as error:
                problem = str(error) or type(error).__name__
                if asked is not None:  # it is raised where it was asked for
                    asked.error = error
                else:
                    _log.error("What another worker did could not be done here: %s", problem)
            if self._send is not None:
                self._send("done", (number, problem))

    def _do(self, order: Order) -> Any:
        with self._lock:
            handler = self._handlers.get(order.kind)
            if handler is None:  # it is done when there is one
                self._early.append(order)
                return None
        return handler(order.content)

    def complain(self, problem: str) -> None:
        """Let the supervisor replace this worker, while it still answers what it can."""
        if self._send is not None:
            self._send("stuck", problem)

    # --- Signs of life ----------------------------------------------------------------------------------------------

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count an event loop among those whose turning shows that this process is alive."""
        self._loops[loop] = True

    def is_alive(self) -> bool:
        """Whether every event loop has turned since the last call; one that is closed does not count."""
        is_alive = True
        for loop, has_turned in list(self._loops.items()):
            if not has_turned:
                is_alive = False
                continue
            self._loops[loop] = False
            try:
                loop.call_soon_threadsafe(self._loops.__setitem__, loop, True)
            except RuntimeError:  # it is closed
                del self._loops[loop]
        return is_alive


def _ending() -> OverloadedError:
    return OverloadedError("this worker ends", code="worker_ends", hint="Try again.")
