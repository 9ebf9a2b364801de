"""What runs in the process of a worker: a serving process that listens to its supervisor too."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import sleep
from typing import Any, Final, Protocol

from recserve.errors import RecserveError
from recserve.serving.workers.crew import Crew
from recserve.serving.workers.seat import Seat

FAILED: Final = 2
"""Exit code of a worker that could not load its models or open its ports."""

COMPLETE: Final = "complete"
"""Said by the supervisor: every worker has been ready."""

RETIRE: Final = "retire"
"""Said by the supervisor: another worker has taken the place; end, and take your time."""

Report = tuple[str, Any]
"""What a worker says: `ready`, `failed` and why, `alive`, `stuck` and where, `ask` with (ticket, order), or `done` with
(number of the order, why not or None)."""


class Serves(Protocol):
    """A serving process, as far as a worker needs it."""

    def run(self) -> None:
        """Serve until a signal or `stop`."""

    def stop(self) -> None:
        """Begin the drain; from any thread."""

    def retire(self) -> None:
        """Begin the drain, while another process takes new connections."""

    def complete(self) -> None:
        """Know that all workers have been ready."""


Build = Callable[[Seat, Callable[[str], None], Crew], Serves]
"""(seat, what to call once all models are served, the fellow workers) → the process. It is sent to the worker, so it
can be pickled."""


def run_worker(build: Build, seat: Seat, supervisor: Connection) -> None:
    """Serve until the supervisor says so or is gone. Ends the process.

    Args:
        build: makes the serving process.
        seat: of this worker.
        supervisor: the other end is the supervisor's; its closing ends the worker.
    """
    lock = threading.Lock()

    def report(kind: str, content: Any = "") -> None:
        with lock:
            try:
                supervisor.send((kind, content))
            except OSError:  # the supervisor is gone; the listener below ends this process
                return

    crew = Crew(report)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's business
    code = 0
    try:
        process = build(seat, lambda _: report("ready"), crew)
        listener = threading.Thread(
            target=_listen, args=(supervisor, process, crew), name="recserve-supervisor", daemon=True
        )
        listener.start()
        if seat.beat_s > 0:
            beats = threading.Thread(target=_beat, args=(seat.beat_s, crew, report), name="recserve-beat", daemon=True)
            beats.start()
        process.run()
    except RecserveError as error:
        report("failed", str(error))
        code = FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    # What still runs was abandoned after its drain time, and must not hold the process up.
    os._exit(code)


def _listen(supervisor: Connection, process: Serves, crew: Crew) -> None:
    try:
        while True:
            message = supervisor.recv()
            if message == COMPLETE:
                process.complete()
            elif message == RETIRE:
                process.retire()
            else:
                crew.hear(message)
    except (EOFError, OSError):
        pass
    crew.leave()
    process.stop()


def _beat(every_s: float, crew: Crew, report: Callable[[str], None]) -> None:
    """Say that this process is alive, as long as its event loops turn."""
    while True:
        if crew.is_alive():
            report("alive")
        sleep(every_s)
