"""What runs in the process of a worker: a serving process that listens to its supervisor too."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final, Literal, Protocol

from recserve.errors import RecserveError
from recserve.serving.workers.seat import Seat

FAILED: Final = 2
"""Exit code of a worker that could not load its models or open its ports."""

COMPLETE: Final = "complete"
"""Said by the supervisor: every worker has been ready."""

Report = tuple[Literal["ready", "failed"], str]


class Serves(Protocol):
    """A serving process, as far as a worker needs it."""

    def run(self) -> None:
        """Serve until a signal or `stop`."""

    def stop(self) -> None:
        """Begin the drain; from any thread."""

    def complete(self) -> None:
        """Know that all workers have been ready."""


Build = Callable[[Seat, Callable[[str], None]], Serves]
"""(seat, what to call once all models are served) → the process. It is sent to the worker, so it can be pickled."""


def run_worker(build: Build, seat: Seat, supervisor: Connection) -> None:
    """Serve until the supervisor says so or is gone. Ends the process.

    Args:
        build: makes the serving process.
        seat: of this worker.
        supervisor: the other end is the supervisor's; its closing ends the worker.
    """
    lock = threading.Lock()

    def report(kind: Literal["ready", "failed"], text: str = "") -> None:
        with lock:
            try:
                supervisor.send((kind, text))
            except OSError:  # the supervisor is gone; the listener below ends this process
                return

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's business
    code = 0
    try:
        process = build(seat, lambda _: report("ready"))
        threading.Thread(target=_listen, args=(supervisor, process), name="recserve-supervisor", daemon=True).start()
        process.run()
    except RecserveError as error:
        report("failed", str(error))
        code = FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    # What still runs was abandoned after its drain time, and must not hold the process up.
    os._exit(code)


def _listen(supervisor: Connection, process: Serves) -> None:
    try:
        while supervisor.recv() == COMPLETE:
            process.complete()
    except (EOFError, OSError):
        pass
    process.stop()
