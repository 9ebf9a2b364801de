"""A load generator: closed loops that find a server's capacity, and an open loop that keeps to its own times.

In the open loop each request has a time of its own, drawn before the run; its latency counts from then, whether or not
a connection was free to send it. So a server that stalls cannot hide it. Where several requests are given, each turn
draws one of them. gRPC calls are sent as bytes that are ready, over one channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import grpc.aio
import numpy as np
import uvloop

_SPIN_S: Final = 0.002
"""So long before a request the generator stays awake, since timers are no finer than a millisecond."""

_MAX_CONNECTIONS: Final = 512
_GRACE_S: Final = 10.0


@dataclass(frozen=True)
class Target:
    """Where a request goes, ready to be sent.

    Attributes:
        host, port: of the server.
        content: the bytes of the whole request; of the message alone where it is a gRPC call.
        method: of a gRPC call, as its path has it; None for HTTP.
        rows: candidates of the request.
    """

    host: str
    port: int
    content: bytes
    method: str | None = None
    rows: int = 1


Targets = Target | Sequence[Target]
"""One request, or those of which each turn draws one; all go to one server."""


def make_target(address: str, path: str, body: bytes, headers: dict[str, str] | None = None, rows: int = 1) -> Target:
    """A POST request to `http://host:port` and a path."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return Target(host, int(port), "\r\n".join(lines).encode() + b"\r\n\r\n" + body, rows=rows)


def make_call(address: str, method: str, message: bytes, rows: int = 1) -> Target:
    """A gRPC call to `host:port` with a serialised message."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    return Target(host, int(port), message, method, rows)


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        at_s: when each request was due, from the start of the run.
        latency_s: until its whole answer was there; infinite where none came.
        status: of HTTP; 0 where none came.
        seconds: the run's length.
        rows: candidates of each request.
    """

    at_s: np.ndarray[Any, Any]
    latency_s: np.ndarray[Any, Any]
    status: np.ndarray[Any, Any]
    seconds: float
    rows: np.ndarray[Any, Any]

    def good(self, deadline_s: float = np.inf) -> np.ndarray[Any, Any]:
        """Which requests were answered 200 within a time."""
        return (self.status == 200) & (self.latency_s <= deadline_s)

    def percentiles_us(self) -> dict[str, float]:
        """`p50_us`, `p99_us`, `p999_us` of the requests that were answered 200."""
        answered = self.latency_s[self.status == 200]
        if not len(answered):
            return {}
        p50, p99, p999 = np.percentile(answered, (50, 99, 99.9)) * 1e6
        return {"p50_us": round(p50, 1), "p99_us": round(p99, 1), "p999_us": round(p999, 1)}


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.is_open = False
        self._done: Callable[[_Connection, int], None] | None = None
        self._head = bytearray()
        self._left = -1
        self._status = 0

    def connection_made(self, transport: Any) -> None:
        self.transport, self.is_open = transport, True

    def send(self, content: bytes, done: Callable[[_Connection, int], None]) -> None:
        self._done = done
        self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._head[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
            self._status = int(head[9:12])
            self._left = length - (len(self._head) - end - 4)
            self._head.clear()
        else:
            self._left -= len(data)
        if self._left <= 0:
            self._left = -1
            self._finish(self._status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.is_open = False
        self._finish(0)

    def _finish(self, status: int) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self, status)


class _Call:
    """What a connection is to HTTP: at most one gRPC call at a time, on a channel that all of a run share."""

    def __init__(self, channel: grpc.aio.Channel, target: Target) -> None:
        self.is_open = True
        self.transport = self  # whose `close` ends it
        self._method = channel.unary_unary(target.method)
        self._task: asyncio.Future[None] | None = None

    def send(self, content: bytes, done: Callable[[Any, int], None]) -> None:
        self._task = asyncio.ensure_future(self._answer(content, done))

    async def _answer(self, content: bytes, done: Callable[[Any, int], None]) -> None:
        try:
            await self._method(content)
        except grpc.aio.AioRpcError as error:
            done(self, 503 if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else 500)
        else:
            done(self, 200)

    def close(self) -> None:
        """The channel is closed by the run."""


class _Line:
    """Opens connections to a server.

    Args:
        target: one of those that are sent over them.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._channel: grpc.aio.Channel | None = None

    async def connect(self) -> Any:
        target = self._target
        if target.method is None:
            loop = asyncio.get_running_loop()
            return (await loop.create_connection(_Connection, target.host, target.port))[1]
        if self._channel is None:
            sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
            self._channel = grpc.aio.insecure_channel(f"{target.host}:{target.port}", sizes)
        return _Call(self._channel, target)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()


def _draw(targets: Sequence[Target], seed: int) -> Iterator[Target]:
    rng = np.random.default_rng(seed)
    while True:
        yield from (targets[n] for n in rng.integers(0, len(targets), 256).tolist())


async def _closed(targets: Sequence[Target], connections: int, seconds: float) -> Outcome:
    loop = asyncio.get_running_loop()
    begin_s = perf_counter()
    due: list[float] = []
    latencies: list[float] = []
    statuses: list[int] = []
    rows: list[int] = []
    turns, line = _draw(targets, 0), _Line(targets[0])

    async def one() -> None:
        connection = await line.connect()
        while perf_counter() - begin_s < seconds:
            answered: asyncio.Future[int] = loop.create_future()
            target = next(turns)
            sent_s = perf_counter()
            connection.send(target.content, lambda _, status, answered=answered: answered.set_result(status))
            status = await answered
            due.append(sent_s - begin_s)
            latencies.append(perf_counter() - sent_s)
            statuses.append(status)
            rows.append(target.rows)
            if not connection.is_open:
                connection = await line.connect()
        connection.transport.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    await line.close()
    return Outcome(np.array(due), np.array(latencies), np.array(statuses), perf_counter() - begin_s, np.array(rows))


async def _open(chosen: Sequence[Target], at_s: np.ndarray[Any, Any], connections: int) -> Outcome:
    latency_s, status = np.full(len(at_s), np.inf), np.zeros(len(at_s), np.int64)
    line = _Line(chosen[0])
    idle = [await line.connect() for _ in range(connections)]
    waiting: list[int] = []  # due, without a connection
    opened, left = connections, len(at_s)
    over = asyncio.Event()
    begin_s = perf_counter()

    def send(connection: _Connection, number: int) -> None:
        def done(connection: _Connection, answered: int, number: int = number) -> None:
            nonlocal left
            status[number] = answered
            if answered:
                latency_s[number] = perf_counter() - begin_s - at_s[number]
            left -= 1
            if not left:
                over.set()
            if not connection.is_open:
                tasks.add(asyncio.ensure_future(reconnect()))
            elif waiting:
                send(connection, waiting.pop(0))
            else:
                idle.append(connection)

        connection.send(chosen[number].content, done)

    async def reconnect() -> None:
        connection = await line.connect()
        if waiting:
            send(connection, waiting.pop(0))
        else:
            idle.append(connection)

    tasks: set[asyncio.Future[None]] = set()
    for number, due_s in enumerate(at_s):
        while (early_s := due_s - (perf_counter() - begin_s)) > 0:
            await asyncio.sleep(early_s - _SPIN_S if early_s > 2 * _SPIN_S else 0)
        if idle:
            send(idle.pop(), number)
        else:
            waiting.append(number)
            if opened < _MAX_CONNECTIONS:
                opened += 1
                tasks.add(asyncio.ensure_future(reconnect()))
        if number % 16 == 0:
            await asyncio.sleep(0)  # many may be due at once, and answers want to be read
    seconds = perf_counter() - begin_s
    with contextlib.suppress(TimeoutError):  # what is left counts as not answered
        await asyncio.wait_for(over.wait(), _GRACE_S)
    for connection in idle:
        connection.transport.close()
    await line.close()
    return Outcome(at_s, latency_s, status, seconds, np.array([target.rows for target in chosen]))


def _run(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def wait_until_answered(target: Target, seconds: float = 90) -> None:
    """Ask until the answer is good: a port may be open long before the models behind it are.

    Raises:
        TimeoutError: it never was.
    """
    end_s = perf_counter() + seconds
    while perf_counter() < end_s:
        with contextlib.suppress(OSError):
            if target.method is not None:
                if run_closed(target, 1, 0.01).good().any():
                    return
            else:
                with socket.create_connection((target.host, target.port), timeout=seconds) as connection:
                    connection.sendall(target.content)
                    if connection.recv(12).endswith(b" 200"):
                        return
        time.sleep(0.2)
    raise TimeoutError("no request was answered 200")


def run_closed(target: Targets, connections: int, seconds: float) -> Outcome:
    """So many connections, each of which sends its next request when the last one is answered."""
    return _run(_closed(_listed(target), connections, seconds))


def run_open(target: Targets, rate: float, seconds: float, seed: int, connections: int = 16) -> Outcome:
    """Poisson arrivals at `rate` requests a second, over as many connections as that takes, at most 512."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, size=max(1, int(rate * seconds * 1.2) + 100))
    at_s = np.cumsum(gaps)
    at_s = at_s[at_s < seconds] if (at_s < seconds).any() else at_s[:1]
    turns = _draw(_listed(target), seed)
    return _run(_open([next(turns) for _ in at_s], at_s, connections))


def _listed(target: Targets) -> Sequence[Target]:
    return [target] if isinstance(target, Target) else target
