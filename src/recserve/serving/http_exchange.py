"""One request that a direct route answers, from its head to the last byte of its answer.

A connection makes it when the head is there, starts it when the answers before it are sent, and tells it when the body
is whole. It stands in the connection where Uvicorn has a `RequestResponseCycle`, and has what Uvicorn reads of one.
"""

from __future__ import annotations

import asyncio
from ctypes import c_ssize_t, c_void_p, py_object, pythonapi
from time import perf_counter_ns
from typing import Any, Final, Protocol

from recserve.errors import RecserveError
from recserve.serving import observation
from recserve.serving.body import Body, body_timeout
from recserve.serving.direct import CLOSE, JOINED_BYTES, Reply, Request, encode_head
from recserve.serving.http_head import DirectHead
from recserve.serving.observation import Observation
from recserve.serving.overload.turn import Turn

_GONE: Final = "499"
_ALIGNED: Final = 16
"""Bytes that a `bytearray` begins at a multiple of."""

_new_bytearray: Any = pythonapi.PyByteArray_FromStringAndSize
_new_bytearray.restype, _new_bytearray.argtypes = py_object, (c_void_p, c_ssize_t)


def allocate(size: int) -> bytearray:
    """A `bytearray` that is not filled: what nobody writes to costs no memory, and no time to blank it."""
    made: bytearray = _new_bytearray(None, size)
    return made


class Connection(Protocol):
    """What an exchange needs of the connection that it came on."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def on_response_complete(self) -> None:
        """The answer is sent."""

    def abandon(self) -> None:
        """Close the connection at once: something is wrong with us."""


class _Nothing:
    def set(self) -> None:
        """What Uvicorn does to wake up whoever reads a body."""


class Exchange:
    """A request and its answer.

    Args:
        connection: that it came on.
        head: of the request.

    Attributes:
        response_complete: whether nothing more is to be done.
        disconnected: whether the client is gone.
        is_running: whether its body is whole, and the answer is being made.
        missing: bytes of the body that are still to come.
        keep_alive: whether the connection takes another request.
        turn: of the request, once it is started.
    """

    message_event = _Nothing()

    # What most requests do not change is the class's: one is made for each request.
    response_complete = disconnected = is_running = False
    turn: Turn | None = None
    _seen: Observation | None = None
    _body: Body = b""
    _timer: asyncio.TimerHandle | None = None
    _refusal: RecserveError | None = None

    def __init__(self, connection: Connection, head: DirectHead) -> None:
        self._connection, self._head = connection, head
        self.missing, self.keep_alive = head.size, head.keep_alive
        self._parts: list[bytes] = []

    # --- The body -----------------------------------------------------------------------------------------------

    def feed(self, part: bytes) -> None:
        """Take a part of the body."""
        self.missing -= len(part)
        self._parts.append(part)

    def make_buffer(self) -> memoryview | None:
        """Where the rest of the body is to be written; `missing` is to be counted down by whoever does.

        None where it is to be thrown away: under overload, the memory of bodies that are refused costs more than
        refusing them.
        """
        head = self._head
        if self.turn is not None:
            self._refusal = head.target.gate.serving.threads.hopeless(self.turn)
        if self._refusal is not None:
            return None
        at = head.target.route.aligned_at(head.named)
        padding = -at % _ALIGNED if at else 0
        buffer = allocate(padding + head.size)
        whole = memoryview(buffer)[padding:]
        self._body = whole if padding else buffer
        filled = head.size - self.missing
        whole[:filled] = b"".join(self._parts)
        self._parts.clear()
        return whole[filled:]

    # --- Its stages ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """It is its turn: no answer before it is outstanding."""
        head = self._head
        target = head.target
        self.turn = head.begin_turn()
        self._seen = target.gate.begin(head, target.label)
        if target.gate.oversight.is_guarded:
            try:
                target.admit(self._seen, head.authorization)
            except RecserveError as error:
                self._send(target.gate.refusal(error))

    def go_on(self) -> None:
        """Answer it if its body is whole; else wait for that, for a while."""
        if self.is_running or self.response_complete:
            return
        if not self.missing:
            self.is_running = True
            self._run()
        elif self._timer is None:
            limits = self._head.target.gate.serving.limits
            self._timer = self._connection.loop.call_later(limits.body_timeout_s, self._expire)

    def leave(self) -> None:
        """The client is gone."""
        self.disconnected = True
        if self.turn is not None:
            self.turn.cancel()
            if not self.is_running and not self.response_complete:
                self._end(_GONE)

    def _run(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._parts:
            self._body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        seen, turn, head = self._seen, self.turn, self._head
        if seen is None or turn is None:  # it was not started
            return
        seen.received_ns = perf_counter_ns()
        head.enter(turn, seen)
        if self._refusal is not None:
            self._done(None, self._refusal)
            return
        head.target.gate.serving.threads.start(self._answer, turn, self._done, self._connection.loop)

    def _answer(self) -> Reply:
        seen, head = self._seen, self._head
        return head.target.route.answer(Request(head.named, self._body, 0 if seen is None else seen.received_ns))

    def _done(self, reply: Reply | None, error: Exception | None) -> None:
        route, seen = self._head.target.route, self._seen
        try:
            observation.observe(seen)  # a thread hands over without a context
            if reply is None:
                reply = route.refuse(error or RuntimeError("there is no answer"))
            took_ns = 0 if seen is None else perf_counter_ns() - seen.began_ns
            route.count(error, took_ns / 1e9)
            self._send(reply)
        except BaseException:
            self._connection.abandon()
            raise

    def _expire(self) -> None:
        if not self.response_complete and not self.disconnected:
            self._done(None, body_timeout(self._head.target.gate.serving.limits))

    def _send(self, reply: Reply) -> None:
        """Send the answer in one piece, and end."""
        seen = self._seen
        if not self.disconnected and seen is not None:
            self.keep_alive = self.keep_alive and CLOSE not in reply.headers
            trace = b"" if seen.trace is None else b"traceparent: %b\r\n" % seen.trace.traceparent.encode()
            head = encode_head(reply, seen.request_id, trace, closes=not self.keep_alive)
            transport, body = self._connection.transport, reply.body
            if len(body) <= JOINED_BYTES:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
            if not self.keep_alive:
                transport.close()
        self._end(str(reply.status))
        self._connection.on_response_complete()

    def _end(self, code: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.response_complete = True
        self._body = b""
        self._parts.clear()
        if self._seen is not None:
            self._seen.code = code
            self._head.target.gate.oversight.finish(self._seen)
