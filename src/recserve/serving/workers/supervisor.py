"""The process that keeps the workers alive; it serves nothing itself."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Final

from recserve.errors import ConfigError
from recserve.serving.workers.orders import OrderBook
from recserve.serving.workers.seat import Seat
from recserve.serving.workers.worker import COMPLETE, RETIRE, Build, run_worker

FIRST_DELAY_S: Final = 0.1
MAX_DELAY_S: Final = 30.0
MAX_LONE_DELAY_S: Final = 1.0
"""At most, where no other worker answers meanwhile."""

_LONG_LIFE_S: Final = 5.0
"""A worker that was ready for so long did not fail at its start; the next one starts at once."""

HANG_S: Final = 30.0
"""Seconds without a sign of life after which a worker is taken to hang."""

MAX_BEAT_S: Final = 1.0

_KILL_AFTER_S: Final = 5.0
"""Seconds beyond the drain time after which a worker is killed."""

_log: Final = logging.getLogger("recserve.serving")


@dataclass(eq=False)
class _Worker:
    """A worker's process, from its start to its end."""

    process: BaseProcess
    pipe: Connection
    number: int
    ready_s: float | None = None
    stopping_s: float | None = None
    heard_s: float | None = None


@dataclass
class _Slot:
    """A place among the workers: who has it, who is to have it, and when to try again."""

    current: _Worker | None = None
    successor: _Worker | None = None
    failures: int = 0
    start_at_s: float = 0.0


def restart_delay_s(failures: int, *, is_alone: bool) -> float:
    """Seconds until a worker is started again.

    Args:
        failures: short lives in a row.
        is_alone: whether no other worker answers meanwhile.
    """
    longest_s = MAX_LONE_DELAY_S if is_alone else MAX_DELAY_S
    return min(longest_s, FIRST_DELAY_S * 2.0 ** (min(failures, 20) - 1)) if failures else 0.0


class Supervisor:
    """Runs workers until SIGTERM or SIGINT; SIGHUP replaces them one after the other.

    The first worker starts alone, so that kernels are compiled once; the others follow when it is ready. One that ends
    is started again, at first at once, then after doubling delays. One that fails before all were ready ends the
    server. One that gives no sign of life is killed, and started again; one that says that it is stuck is replaced.
    What one worker asks all to do, all do, also those that start later.

    Args:
        count: how many workers, at least 1.
        build: makes the serving process, inside a worker.
        seat: the sockets and ports that all workers share.
        drain_s: seconds that a worker's running requests have to end.
        on_ready: called once all workers are ready.
        hang_s: seconds without a sign of life after which a worker is killed; 0 for never.
    """

    def __init__(
        self,
        count: int,
        build: Build,
        seat: Seat,
        *,
        drain_s: float,
        on_ready: Callable[[], None] | None = None,
        hang_s: float = HANG_S,
    ) -> None:
        if count < 1:
            raise ConfigError(f"workers is {count}", hint="It is at least 1.")
        if not hang_s >= 0:
            raise ConfigError(f"hang_s is {hang_s}", hint="It is at least 0; 0 lets workers hang.")
        self._build, self._drain_s, self._on_ready, self._hang_s = build, drain_s, on_ready, hang_s
        self._seat = replace(seat, beat_s=min(MAX_BEAT_S, hang_s / 5))
        self._book: OrderBook[_Worker] = OrderBook(_say, self._reachable, lambda worker: worker.number)
        self._slots = [_Slot() for _ in range(count)]
        self._spawn: Any = multiprocessing.get_context("spawn")
        self._ended: list[_Worker] = []
        self._is_complete = self._is_stopping = False
        self._replacing: list[int] = []
        self._failure: str | None = None
        self._wake_read, self._wake_write = os.pipe()
        self._asked: list[int] = []
        self._looked_s = monotonic()

    def run(self) -> None:
        """Supervise until told to stop.

        Raises:
            ConfigError: a worker could not load its models or open its ports at the start.
        """
        with self._capture_signals():
            try:
                while not (self._is_stopping and not self._workers()):
                    self._start_due()
                    self._wait(self._timeout_s())
                    self._obey()
                    self._kill_late()
                    self._kill_hung()
            finally:
                for worker in self._workers():  # only after an error of our own
                    worker.process.kill()
                os.close(self._wake_read)
                os.close(self._wake_write)
        if self._failure is not None:
            raise ConfigError(self._failure, code="worker_failed")

    def stop(self) -> None:
        """Drain all workers and end; from any thread."""
        self._ask(signal.SIGTERM)

    def replace_all(self) -> None:
        """Replace the workers one after the other; from any thread. Each old one serves until the new one is ready."""
        self._ask(signal.SIGHUP)

    def pids(self) -> list[int]:
        """Process ids of the workers that are to serve, by place."""
        current = [slot.current for slot in self._slots]
        return [worker.process.pid or 0 for worker in current if worker is not None]

    def _reachable(self) -> list[_Worker]:
        """The workers that hear what they are told."""
        return [worker for worker in self._workers() if not worker.pipe.closed]

    def _ask(self, number: int) -> None:
        self._asked.append(number)
        os.write(self._wake_write, b"x")

    def _workers(self) -> list[_Worker]:
        held = [worker for slot in self._slots for worker in (slot.current, slot.successor) if worker is not None]
        return held + self._ended

    def _start_due(self) -> None:
        """Start the workers whose time has come."""
        if self._is_stopping:
            return
        is_warm = self._is_warm()
        for number, slot in enumerate(self._slots):
            if slot.current is None and slot.start_at_s <= monotonic() and (is_warm or number == 0):
                slot.current = self._start(number, listens_late=is_warm)
        if self._replacing and self._is_complete:
            slot = self._slots[self._replacing[0]]
            if slot.current is None:  # it is being started anyway
                self._replacing.pop(0)
            elif slot.successor is None:
                slot.successor = self._start(self._replacing[0], listens_late=True)

    def _start(self, number: int, *, listens_late: bool) -> _Worker:
        ours, theirs = self._spawn.Pipe()
        seat = replace(
            self._seat,
            number=number,
            listens_late=listens_late,
            is_complete=self._is_complete,
            orders=self._book.kept(),
        )
        process = self._spawn.Process(
            target=run_worker, args=(self._build, seat, theirs), name=f"recserve-worker-{number}"
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, number)

    def _is_warm(self) -> bool:
        """Whether the first worker has been ready, so that kernels are compiled and the others may start."""
        first = self._slots[0].current
        return self._is_complete or (first is not None and first.ready_s is not None)

    def _timeout_s(self) -> float | None:
        startable = self._slots if self._is_warm() else self._slots[:1]
        times = [] if self._is_stopping else [slot.start_at_s for slot in startable if slot.current is None]
        times += [w.stopping_s + self._drain_s + _KILL_AFTER_S for w in self._workers() if w.stopping_s is not None]
        if self._hang_s > 0:
            times.append(monotonic() + self._seat.beat_s)
        return max(0.0, min(times) - monotonic()) if times else None

    def _wait(self, timeout_s: float | None) -> None:
        """Look at what workers say and at those that have ended."""
        workers = self._workers()
        sources: dict[Any, _Worker] = {worker.process.sentinel: worker for worker in workers}
        pipes: dict[Any, _Worker] = {worker.pipe: worker for worker in workers if not worker.pipe.closed}
        for source in wait([self._wake_read, *sources, *pipes], timeout_s):
            if source == self._wake_read:
                os.read(self._wake_read, 4096)
            elif source in pipes:
                self._hear(pipes[source])
        for sentinel in wait(list(sources), 0):
            self._bury(sources[sentinel])

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            worker.pipe.close()
            self._book.forget(worker)
            return
        worker.heard_s = monotonic()
        match kind:
            case "alive":
                pass
            case "ask":
                self._book.ask(worker, *content)
            case "done":
                self._book.hear(worker, *content)
            case "stuck":
                self._replace_stuck(worker, content)
            case "ready":
                worker.ready_s = monotonic()
                self._promote(worker)
            case _ if not self._is_complete:
                self._failure = self._failure or content
                self._begin_stop()
            case _:
                _log.error("Worker %d could not start: %s", worker.number, content)

    def _replace_stuck(self, worker: _Worker, problem: str) -> None:
        """Plan the replacement of a worker that has a thread less; it serves until its successor is ready."""
        number = worker.number
        if self._slots[number].current is worker and number not in self._replacing and not self._is_stopping:
            _log.error("Worker %d is stuck and will be replaced: %s", number, problem)
            self._replacing.append(number)

    def _promote(self, worker: _Worker) -> None:
        slot = self._slots[worker.number]
        if slot.successor is worker:
            old, slot.current, slot.successor = slot.current, worker, None
            self._replacing.pop(0)
            if old is not None:
                _say(old, RETIRE)
                self._drain(old)
                self._ended.append(old)
        if not self._is_complete and all(s.current is not None and s.current.ready_s is not None for s in self._slots):
            self._is_complete = True
            for one in self._reachable():
                _say(one, COMPLETE)
            if self._on_ready is not None:
                self._on_ready()

    def _bury(self, worker: _Worker) -> None:
        """Take a process that has ended off the books, and plan its successor."""
        if not worker.pipe.closed and worker.pipe.poll():
            self._hear(worker)  # its last words
        worker.process.join()
        worker.pipe.close()
        self._book.forget(worker)
        if worker in self._ended:
            self._ended.remove(worker)
            return
        slot = self._slots[worker.number]
        if slot.successor is worker:
            _log.error("The replacement of the workers ends: the new worker %d did not become ready", worker.number)
            slot.successor = None
            self._replacing.clear()
            return
        slot.current = None
        if self._is_stopping:
            return
        if not self._is_complete:
            self._failure = f"worker {worker.number} ended with exit code {worker.process.exitcode} before it was ready"
            self._begin_stop()
            return
        lived_s = 0.0 if worker.ready_s is None else monotonic() - worker.ready_s
        slot.failures = 0 if lived_s >= _LONG_LIFE_S else slot.failures + 1
        others = (other.current for other in self._slots)
        is_alone = not any(other is not None and other.ready_s is not None for other in others)
        delay_s = restart_delay_s(slot.failures, is_alone=is_alone)
        slot.start_at_s = monotonic() + delay_s
        _log.error(
            "Worker %d ended with exit code %s; it starts again in %g s",
            worker.number,
            worker.process.exitcode,
            delay_s,
        )

    def _obey(self) -> None:
        asked, self._asked = self._asked, []
        for number in asked:
            if number == signal.SIGHUP:
                self._replacing += [n for n in range(len(self._slots)) if n not in self._replacing]
            elif self._is_stopping:  # asked twice
                for worker in self._workers():
                    worker.process.kill()
            else:
                self._begin_stop()

    def _begin_stop(self) -> None:
        self._is_stopping = True
        for worker in self._workers():
            self._drain(worker)

    def _drain(self, worker: _Worker) -> None:
        worker.stopping_s = worker.stopping_s or monotonic()
        if not worker.pipe.closed:
            worker.pipe.close()  # the worker sees the end of its pipe, and drains
            self._book.forget(worker)

    def _kill_late(self) -> None:
        for worker in self._workers():
            limit_s = self._drain_s + _KILL_AFTER_S
            if worker.stopping_s is not None and monotonic() >= worker.stopping_s + limit_s:
                _log.error("Worker %d did not end within %g s; it is killed", worker.number, limit_s)
                worker.process.kill()
                worker.process.join()

    def _kill_hung(self) -> None:
        """Kill the workers that gave no sign of life for too long, unless this process did not look for as long.

        A worker that has given none yet is starting.
        """
        now_s = monotonic()
        was_away = now_s - self._looked_s > self._hang_s / 2 + MAX_BEAT_S
        self._looked_s = now_s
        for worker in self._workers() if self._hang_s > 0 else ():
            if worker.heard_s is None or worker.stopping_s is not None or not worker.process.is_alive():
                continue
            if was_away:  # the machine or all of its processes stood still, and the workers with them
                worker.heard_s = now_s
            elif now_s - worker.heard_s >= self._hang_s:
                _log.error("Worker %d gave no sign of life for %g s; it is killed", worker.number, self._hang_s)
                worker.process.kill()
                worker.process.join()

    @contextmanager
    def _capture_signals(self) -> Iterator[None]:
        """Obey SIGTERM, SIGINT and SIGHUP, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, lambda given, _: self._ask(given)) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _say(worker: _Worker, message: object) -> None:
    try:
        worker.pipe.send(message)
    except OSError:  # it has ended; its sentinel tells
        return


def share_ports(
    host: str, http: Mapping[str, int], others: Mapping[str, int], bind: Callable[[str, int], socket.socket]
) -> tuple[Seat, list[socket.socket]]:
    """Open the ports that workers share.

    Args:
        host: address to listen on.
        http: dialect → port of HTTP; 0 for a free one.
        others: dialect → port of other transports; 0 for a free one.
        bind: opens a listening socket.

    Returns:
        The seat of any worker, and sockets that hold the ports of other transports: they take no connection, and are
        closed at the end.

    Raises:
        ConfigError: a port cannot be opened.
    """
    listeners: dict[str, socket.socket] = {}
    holders: list[socket.socket] = []
    ports: dict[str, int] = {}
    try:
        for dialect, port in http.items():
            listeners[dialect] = bind(host, port)
        for dialect, port in others.items():
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            holders.append(holder := socket.socket(family, socket.SOCK_STREAM))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind((host, port))
            ports[dialect] = holder.getsockname()[1]
    except BaseException as caught:
        for opened in (*listeners.values(), *holders):
            opened.close()
        if isinstance(caught, OSError):
            raise ConfigError(
                f"cannot listen: {caught}", code="cannot_listen", where=host, hint="Choose another host or port."
            ) from None
        raise
    return Seat(listeners=listeners, ports=ports), holders
