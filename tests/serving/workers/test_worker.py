from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

import pytest

from recserve.errors import ConfigError
from recserve.serving.workers.crew import Crew
from recserve.serving.workers.seat import Seat
from recserve.serving.workers.worker import COMPLETE, FAILED, run_worker


class Process:
    """A serving process that serves nothing."""

    def __init__(self, on_ready: Callable[[str], None], fails: bool = False) -> None:
        self.on_ready, self.fails = on_ready, fails
        self.stopped, self.completed = threading.Event(), threading.Event()

    def run(self) -> None:
        if self.fails:
            raise ConfigError("no model", where="a/1")
        self.on_ready("http://x")
        assert self.stopped.wait(10)

    def stop(self) -> None:
        self.stopped.set()

    def complete(self) -> None:
        self.completed.set()


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return codes


def test_a_worker_reports_and_ends_with_its_supervisor(exits: list[int]) -> None:
    ours, theirs = multiprocessing.Pipe()
    made: list[Process] = []

    def build(seat: Seat, on_ready: Callable[[str], None], crew: Crew) -> Process:
        assert seat.number == 3
        made.append(Process(on_ready))
        return made[0]

    thread = threading.Thread(target=run_worker, args=(build, Seat(number=3), theirs))
    thread.start()
    assert ours.recv() == ("ready", "")
    ours.send(COMPLETE)
    assert made[0].completed.wait(10)
    ours.close()
    thread.join(10)
    assert exits == [0]


def test_a_worker_tells_why_it_cannot_serve(exits: list[int]) -> None:
    ours, theirs = multiprocessing.Pipe()
    run_worker(lambda _, on_ready, __: Process(on_ready, fails=True), Seat(), theirs)
    assert ours.recv() == ("failed", "a/1: no model")
    assert exits == [FAILED]
