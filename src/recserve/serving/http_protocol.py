"""Uvicorn's HTTP parser with limits on a request's head, which it lacks.

A client that sends header lines for ever, or half a head and then nothing, would hold a connection and its memory for
ever. Bodies have their limits in `body`. And a client that leaves while its pipelined requests wait leaves nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from recserve.serving.messages import Limits

TURN: Final = "recserve.turn"
"""Key of a request's `Turn` in its ASGI scope: it is cancelled when the client leaves."""


def bounded_protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """The protocol class of a server: one object per connection, made by Uvicorn."""

    class BoundedProtocol(_BoundedProtocol):
        max_head_bytes = limits.max_head_bytes
        head_timeout_s = limits.head_timeout_s

    return BoundedProtocol


class _BoundedProtocol(HttpToolsProtocol):
    """A connection. A head that is whole in the chunk in which it began costs no timer."""

    max_head_bytes: int
    head_timeout_s: float

    _is_in_head = True
    _is_new_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as Uvicorn has it
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        # Uvicorn tells the request that came last. Of pipelined ones the first may be running: unaware, it would write
        # to a closed transport, which is logged as a crash.
        for cycle in (self._answering, *(cycle for cycle, _ in self.pipeline)):
            turn: Any = None if cycle is None else cycle.scope.get(TURN)
            if turn is not None:
                turn.cancel()
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
        # Uvicorn forgets this timer when the client reset the connection, and the timer holds all of it in memory.
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_in_head or self.transport.is_closing():
            return
        if self._is_new_head:  # what came before it in this chunk is not known apart, and may be a whole body
            self._is_new_head = False
        else:
            self._head_bytes += len(data)
        if self._head_bytes > self.max_head_bytes:
            self.send_400_response(f"The request head has more than {self.max_head_bytes} bytes.")
        elif self._head_timer is None:
            self._start_timer()

    def on_message_begin(self) -> None:
        self._is_in_head = self._is_new_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_timer()
        super().on_headers_complete()
        if not self.pipeline:
            self._answering = self.cycle

    def on_response_complete(self) -> None:
        self._answering = self.pipeline[-1][0] if self.pipeline else None  # the one that Uvicorn starts now
        super().on_response_complete()

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
