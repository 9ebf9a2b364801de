"""A load generator: closed loops that find a server's capacity, and an open loop that keeps to its own times.

In the open loop each request has a time of its own, drawn before the run; its latency counts from then, whether or not
a connection was free to send it. So a server that stalls cannot hide it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

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
        content: the bytes of the whole request.
    """

    host: str
    port: int
    content: bytes


def make_target(address: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> Target:
    """A POST request to `http://host:port` and a path."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return Target(host, int(port), "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        at_s: when each request was due, from the start of the run.
        latency_s: until its whole answer was there; infinite where none came.
        status: of HTTP; 0 where none came.
        seconds: the run's length.
    """

    at_s: np.ndarray[Any, Any]
    latency_s: np.ndarray[Any, Any]
    status: np.ndarray[Any, Any]
    seconds: float

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


async def _connect(target: Target) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, target.host, target.port)
    return connection


async def _closed(target: Target, connections: int, seconds: float) -> Outcome:
    loop = asyncio.get_running_loop()
    begin_s = perf_counter()
    due: list[float] = []
    latencies: list[float] = []
    statuses: list[int] = []

    async def one() -> None:
        connection = await _connect(target)
        while perf_counter() - begin_s < seconds:
            answered: asyncio.Future[int] = loop.create_future()
            sent_s = perf_counter()
            connection.send(target.content, lambda _, status, answered=answered: answered.set_result(status))
            status = await answered
            due.append(sent_s - begin_s)
            latencies.append(perf_counter() - sent_s)
            statuses.append(status)
            if not connection.is_open:
                connection = await _connect(target)
        connection.transport.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return Outcome(np.array(due), np.array(latencies), np.array(statuses), perf_counter() - begin_s)


async def _open(target: Target, at_s: np.ndarray[Any, Any], connections: int) -> Outcome:
    latency_s, status = np.full(len(at_s), np.inf), np.zeros(len(at_s), np.int64)
    idle = [await _connect(target) for _ in range(connections)]
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

        connection.send(target.content, done)

    async def reconnect() -> None:
        connection = await _connect(target)
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
    return Outcome(at_s, latency_s, status, seconds)


def _run(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def run_closed(target: Target, connections: int, seconds: float) -> Outcome:
    """So many connections, each of which sends its next request when the last one is answered."""
    return _run(_closed(target, connections, seconds))


def run_open(target: Target, rate: float, seconds: float, seed: int, connections: int = 16) -> Outcome:
    """Poisson arrivals at `rate` requests a second, over as many connections as that takes, at most 512."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, size=max(1, int(rate * seconds * 1.2) + 100))
    at_s = np.cumsum(gaps)
    return _run(_open(target, at_s[at_s < seconds], connections))
