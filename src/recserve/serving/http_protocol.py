"""One HTTP connection: Uvicorn's, with limits on a request's head, and direct routes that go past ASGI.

A client that sends header lines for ever, or half a head and then nothing, would hold a connection and its memory for
ever. Bodies have their limits in `body`. And a client that leaves while its pipelined requests wait leaves nothing.

A request that a direct route answers (see `direct`) becomes an `Exchange`; any other one becomes a task of the ASGI
application, as Uvicorn has it. Both kinds take turns on one connection. A long body of the first kind is read from the
socket right into its place; a short request with the head of an earlier one needs no parser (see `KnownHeads`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from recserve.serving.gate import Gate
from recserve.serving.http_exchange import Exchange
from recserve.serving.http_head import TURN, DirectHead
from recserve.serving.messages import Limits
from recserve.serving.overload.discard import descriptor_of, discard

_THROWN_AWAY: Final = memoryview(bytearray(256 << 10))
"""Where bodies go that nobody reads."""

LONG_BYTES: Final = 16 << 10
"""A body of which more than this is missing is read into a buffer of its own."""

_LEFT_TO_ASGI: Final = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"content-encoding"))
"""Headers of requests that need more than a length."""

_BETWEEN_BYTES: Final = 4
"""Of a header line, beside its name and value: a colon, a space and the line's end."""

_SOON_S: Final = 0.01


def bounded_protocol(limits: Limits, gates: Mapping[int, Gate] | None = None) -> type[HttpToolsProtocol]:
    """The protocol class of a server: one object per connection, made by Uvicorn.

    Args:
        limits: of heads and bodies.
        gates: by port; their direct routes go past ASGI.
    """

    class BoundedProtocol(_BoundedProtocol):
        head_timeout_s = limits.head_timeout_s
        max_head_bytes = limits.max_head_bytes
        max_body_bytes = limits.max_body_bytes

    BoundedProtocol.gates = gates or {}
    return BoundedProtocol


class _BoundedProtocol(HttpToolsProtocol):
    """A connection. A head that is whole in the chunk in which it began costs no timer."""

    max_head_bytes: int
    max_body_bytes: int
    head_timeout_s: float
    gates: Mapping[int, Gate]

    _gate: Gate | None = None
    _is_between = True  # requests: what the parser reads next is the first byte of one
    _begun = 0  # requests in this chunk
    _new_head: DirectHead | None = None  # of the last of them, where a direct route answers it
    _is_in_head = True
    _is_new_head = False
    _head_bytes = 0
    _chunk_bytes = 0
    _fault = ""  # of a head, where we know it better than the parser
    _head_timer: asyncio.TimerHandle | None = None
    _answering: RequestResponseCycle | Exchange | None = None
    _reader: _BodyReader | None = None
    _is_held = False
    _idle_since_s = 0.0

    linger_s: float | None = None
    """Once the server ends: seconds that an idle connection waits for one more request, which is its last."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as Uvicorn has it
        super().connection_made(transport)
        if self.server is not None:
            self._gate = self.gates.get(self.server[1] or 0)
        self._start_timer()
        self._idle_since_s = self.loop.time()
        if self.linger_s is not None:  # it was accepted before the server ended
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        # Uvicorn tells the request that came last. Of pipelined ones the first may be running: unaware, it would write
        # to a closed transport, which is logged as a crash.
        cycles: list[Any] = [self._answering, *(cycle for cycle, _ in self.pipeline)]
        for cycle in cycles:
            if isinstance(cycle, Exchange):
                cycle.leave()
            elif cycle is not None and (turn := cycle.scope.get(TURN)) is not None:
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
        self._reader = None

    def data_received(self, data: bytes) -> None:
        if not self._is_between or self._answering is not None or (gate := self._gate) is None:
            self._parse(data)
        elif (known := gate.known_heads.find(data)) is not None:
            self._take(data, *known)
        else:
            self._begun, self._new_head = 0, None
            self._parse(data)
            if self._new_head is not None and self._begun == 1:
                gate.known_heads.learn(data, self._new_head)

    def _take(self, chunk: bytes, head: DirectHead, begin: int) -> None:
        """Take a chunk that is one request, with the body from `begin` on, as the parser would."""
        if self._head_timer is not None:
            self._stop_timer()
        self._is_in_head = False
        exchange = Exchange(self, head)
        self.cycle = exchange  # type: ignore[assignment] # it has what Uvicorn reads
        exchange.feed(chunk[begin:])
        if self._start(exchange):
            exchange.go_on()

    def _parse(self, data: bytes) -> None:
        self._chunk_bytes = len(data)
        super().data_received(data)
        answering: Any = self._answering
        if type(answering) is Exchange and not answering.response_complete:
            self._go_on(answering)
        if not self._is_in_head or self.transport.is_closing():
            return
        if self._is_new_head:  # what came before it in this chunk is not known apart, and may be a whole body
            self._is_new_head = False
        else:
            self._head_bytes += len(data)
        if self._head_bytes > self.max_head_bytes:
            self.send_400_response(self._too_long())
        elif self._head_timer is None:
            self._start_timer()

    # --- The parser's callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._is_between = False
        self._begun += 1
        self._is_in_head = self._is_new_head = True
        self._head_bytes = 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_timer()
        if self._head_bytes + self._chunk_bytes > self.max_head_bytes:  # this chunk may be a body for the most part
            size = len(self.url) + sum(len(name) + len(value) + _BETWEEN_BYTES for name, value in self.headers)
            if size > self.max_head_bytes:
                self._fault = self._too_long()
                raise ValueError(self._fault)  # it ends the parser, which ends in `send_400_response`
        self._new_head = head = self._read_head()
        if head is None:
            self._begin_cycle()
            if self.linger_s is not None:
                self.cycle.keep_alive = False
            if not self.pipeline:
                self._answering = self.cycle
            return
        before: Any = self.cycle
        exchange = Exchange(self, head)
        self.cycle = exchange  # type: ignore[assignment] # it has what Uvicorn reads
        if before is None or before.response_complete:
            self._start(exchange)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type] # see `_start_asgi_task`

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if type(cycle) is not Exchange:
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.feed(body)

    def on_message_complete(self) -> None:
        self._is_between = True
        cycle: Any = self.cycle
        if type(cycle) is not Exchange:
            super().on_message_complete()

    def _too_long(self) -> str:
        return f"The request head has more than {self.max_head_bytes} bytes."

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(self._fault or msg)

    def _read_head(self) -> DirectHead | None:
        """The head of a request that a direct route answers; None for any other."""
        parser, gate, headers = self.parser, self._gate, self.headers
        if gate is None or parser.get_method() != b"POST":
            return None
        target = gate.find_target(self.url)
        if target is None:
            return None
        named = dict(headers)
        length = named.get(b"content-length", b"")
        if not length.isdigit() or len(named) != len(headers) or not _LEFT_TO_ASGI.isdisjoint(named):
            return None
        if (size := int(length)) > self.max_body_bytes:
            return None
        keep_alive = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        return DirectHead(headers, target, size, keep_alive=keep_alive)

    def _begin_cycle(self) -> None:
        """Let Uvicorn have the request, as if it had seen it from its beginning."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # the scope has the list
        super().on_headers_complete()

    # --- Turns --------------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._answering = None
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._answering = cycle
            self._start_asgi_task(cycle, app)
        else:
            self._idle_since_s = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._wait_for_more(self.timeout_keep_alive)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if type(cycle) is not Exchange:
            super()._start_asgi_task(cycle, app)
        elif self._start(cycle):
            self.loop.call_soon(self._go_on, cycle)  # one after the other: other connections have their turn

    def _start(self, exchange: Exchange) -> bool:
        """Start an exchange; False where it has to wait until the client has read the answers before it."""
        self._answering = exchange
        if self.linger_s is not None and exchange is self.cycle:  # type: ignore[comparison-overlap] # see `cycle`
            exchange.keep_alive = False
        self._is_held = self.flow.write_paused
        if not self._is_held:
            exchange.start()
        return not self._is_held

    def resume_writing(self) -> None:
        super().resume_writing()
        held = self._answering
        if self._is_held and type(held) is Exchange and self._start(held):
            self.loop.call_soon(self._go_on, held)

    def _go_on(self, exchange: Exchange) -> None:
        if self.transport.is_closing() or exchange.turn is None or self._reader is not None:
            return  # the reader of its body sees to it
        exchange.go_on()
        received: Any = self.cycle
        if exchange.missing > LONG_BYTES and exchange is received and not exchange.response_complete:
            self._reader = _BodyReader(self, exchange)
            self.transport.set_protocol(self._reader)

    def take_back(self) -> None:
        """Go on reading after a long body, of which the parser saw the beginning."""
        self._reader, self._is_between = None, True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.transport.set_protocol(self)

    def shutdown(self) -> None:
        """Take no request but one that may be on its way: the client of an idle connection cannot know in time."""
        left_s = self._idle_since_s + (self.linger_s or 0.0) - self.loop.time()
        if self._answering is None and left_s > 0:
            self.loop.call_later(left_s, self._end_idle)
        else:
            super().shutdown()

    def _end_idle(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def abandon(self) -> None:
        """Close the connection at once: its time is over, or something is wrong with us."""
        self.transport.abort()

    # --- Timers -------------------------------------------------------------------------------------------------

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _unset_keepalive_if_required(self) -> None:
        """Leave the timer: it looks, when it is due, whether the connection has been idle all the time."""

    def _wait_for_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._answering is not None or self._head_timer is not None:
            return  # the next answer, or the head's own timer, sees to it
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > _SOON_S:
            self._wait_for_more(left_s)
        else:
            super().timeout_keep_alive_handler()


class _BodyReader(asyncio.BufferedProtocol):
    """Reads the rest of a long body into its place, or throws it away, and gives the connection back."""

    def __init__(self, connection: _BoundedProtocol, exchange: Exchange) -> None:
        self._connection, self._exchange = connection, exchange
        self._rest = exchange.make_buffer()
        self._descriptor = -1 if self._rest is not None else descriptor_of(connection.transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        if self._rest is not None:
            return self._rest
        exchange = self._exchange
        exchange.missing -= discard(self._descriptor, exchange.missing - 1)  # with the last byte it is over
        return _THROWN_AWAY[: exchange.missing]

    def buffer_updated(self, nbytes: int) -> None:
        if self._rest is not None:
            self._rest = self._rest[nbytes:]
        exchange = self._exchange
        exchange.missing -= nbytes
        if not exchange.missing:
            self._connection.take_back()
            exchange.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def eof_received(self) -> None:
        self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
