"""One request that a direct route answers, from its head to the last byte of its answer.

A connection makes it when the head is there, starts it when the answers before it are sent, and tells it when the body
is whole. It stands in the connection where Uvicorn has a `RequestResponseCycle`, and has what Uvicorn reads of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ctypes import c_ssize_t, c_void_p, py_object, pythonapi
from time import perf_counter_ns
from typing import Any, Final, Protocol

from recserve.errors import RecserveError
from recserve.serving import observation
from recserve.serving.body import Body, body_timeout
from recserve.serving.direct import CLOSE, JOINED_BYTES, Reply, Request, encode_head
from recserve.serving.gate import DirectTarget
from recserve.serving.overload.turn import WISHES, Turn, enter_turn, read_turn
from recserve.serving.traffic.user import USER_HEADER, enter_user

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
        target: what it asks for.
        headers: pairs with the names in small letters, no name twice.
        named: the same by name.
        size: bytes of the body.
        keep_alive: whether the client may send another request.

    Attributes:
        response_complete: whether nothing more is to be done.
        disconnected: whether the client is gone.
        missing: bytes of the body that are still to come.
        turn: of the request, once it is started.
    """

    message_event = _Nothing()

    __slots__ = (
        "_body",
        "_connection",
        "_headers",
        "_named",
        "_parts",
        "_refusal",
        "_seen",
        "_size",
        "_target",
        "_timer",
        "disconnected",
        "is_running",
        "keep_alive",
        "missing",
        "response_complete",
        "turn",
    )

    def __init__(
        self,
        connection: Connection,
        target: DirectTarget,
        headers: list[tuple[bytes, bytes]],
        *,
        named: Mapping[bytes, bytes],
        size: int,
        keep_alive: bool,
    ) -> None:
        self._connection, self._target, self._headers, self._named = connection, target, headers, named
        self._size = self.missing = size
        self.keep_alive = keep_alive
        self.disconnected = self.response_complete = self.is_running = False
        self.turn: Turn | None = None
        self._seen: observation.Observation | None = None
        self._parts: list[bytes] = []
        self._body: Body = b""
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: RecserveError | None = None

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
        if self.turn is not None:
            self._refusal = self._target.gate.serving.threads.hopeless(self.turn)
        if self._refusal is not None:
            return None
        at = self._target.route.aligned_at(self._named)
        padding = -at % _ALIGNED if at else 0
        buffer = allocate(padding + self._size)
        whole = memoryview(buffer)[padding:]
        self._body = whole if padding else buffer
        filled = self._size - self.missing
        whole[:filled] = b"".join(self._parts)
        self._parts.clear()
        return whole[filled:]

    # --- Its stages ---------------------------------------------------------------------------------------------

    @property
    def is_started(self) -> bool:
        """Whether it is its turn."""
        return self.turn is not None

    def start(self) -> None:
        """It is its turn: no answer before it is outstanding."""
        target, named = self._target, self._named
        if WISHES.isdisjoint(named):
            self.turn = Turn(size_bytes=self._size, kind=target.path)
        else:
            self.turn = read_turn(self._headers, target.path)
        gate = target.gate
        request_id, traceparent = named.get(b"x-request-id", b""), named.get(b"traceparent", b"")
        self._seen = gate.oversight.begin(
            gate.dialect, target.label, request_id.decode("latin-1"), traceparent.decode("latin-1")
        )
        if gate.oversight.is_guarded:
            try:
                target.admit(self._seen, named.get(b"authorization", b""))
            except RecserveError as error:
                self._send(gate.refusal(error))

    def go_on(self) -> None:
        """Answer it if its body is whole; else wait for that, for a while."""
        if self.is_running or self.response_complete:
            return
        if not self.missing:
            self.is_running = True
            self._run()
        elif self._timer is None:
            limits = self._target.gate.serving.limits
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
        seen, turn, target = self._seen, self.turn, self._target
        if seen is None or turn is None:  # it was not started
            return
        seen.received_ns = perf_counter_ns()
        observation.observe(seen)
        enter_turn(turn)
        enter_user(self._headers if USER_HEADER in self._named else ())
        if self._refusal is not None:
            self._done(None, self._refusal)
            return
        target.gate.serving.threads.start(self._answer, turn, self._done, self._connection.loop)

    def _answer(self) -> Reply:
        seen = self._seen
        return self._target.route.answer(Request(self._named, self._body, 0 if seen is None else seen.received_ns))

    def _done(self, reply: Reply | None, error: Exception | None) -> None:
        route, seen = self._target.route, self._seen
        try:
            observation.observe(seen)  # a thread hands over without a context
            if reply is None:
                reply = self._refuse(error)
            took_ns = 0 if seen is None else perf_counter_ns() - seen.began_ns
            route.count(error, took_ns / 1e9)
            self._send(reply)
        except BaseException:
            self._connection.abandon()
            raise

    def _refuse(self, error: Exception | None) -> Reply:
        return self._target.route.refuse(error or RuntimeError("there is no answer"))

    def _expire(self) -> None:
        if not self.response_complete and not self.disconnected:
            self._done(None, body_timeout(self._target.gate.serving.limits))

    def _send(self, reply: Reply) -> None:
        """Send the answer in one piece, and end."""
        seen = self._seen
        status = str(reply.status)
        if not self.disconnected and seen is not None:
            more = b"x-request-id: %b\r\n" % seen.request_id.encode("latin-1", "replace")
            if seen.trace is not None:
                more += b"traceparent: %b\r\n" % seen.trace.traceparent.encode()
            self.keep_alive = self.keep_alive and CLOSE not in reply.headers
            head = encode_head(reply, more, closes=not self.keep_alive)
            transport, body = self._connection.transport, reply.body
            if len(body) <= JOINED_BYTES:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
            if not self.keep_alive:
                transport.close()
        self._end(status)
        self._connection.on_response_complete()

    def _end(self, code: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.response_complete = True
        self._body = b""
        self._parts.clear()
        if self._seen is not None:
            self._seen.code = code
            self._target.gate.oversight.finish(self._seen)
