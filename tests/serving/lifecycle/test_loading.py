from __future__ import annotations

import os
import sys
import threading

import pytest

from recserve.serving.lifecycle.loading import NICENESS, LoadingThreads, lower_priority


def test_jobs_run_elsewhere_and_a_failing_one_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    threads = LoadingThreads(2, is_nice=False)
    ran: list[str] = []
    done = threading.Event()

    def fail() -> None:
        raise OSError("no disk")

    def work() -> None:
        ran.append(threading.current_thread().name)
        done.set()

    threads.submit(fail)
    threads.submit(work)
    assert done.wait(10)
    assert threads.stop(10)
    assert ran[0].startswith("recserve-load-")
    assert "A loading thread's job failed" in caplog.text
    assert "no disk" in caplog.text


def test_a_job_that_never_ends_does_not_hold_the_end_up() -> None:
    gate = threading.Event()
    threads = LoadingThreads(0, is_nice=False)
    threads.submit(lambda: gate.wait(10) and None)
    assert not threads.stop(0.01)
    gate.set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_only_the_loading_thread_is_nice() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    got: list[int] = []

    def work() -> None:
        assert lower_priority()
        got.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert got == [min(19, before + NICENESS)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
