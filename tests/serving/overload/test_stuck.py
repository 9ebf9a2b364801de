"""Threads that work for nobody: in one process, and in a worker that is replaced."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import httpx
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.serving.overload import stuck
from recserve.serving.overload.stuck import PATIENCE, Post, StuckWatch, describe_stack
from recserve.serving.overload.turn import Turn


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patched:
        patched.setattr(stuck, "monotonic", clock)
        patched.setattr("recserve.serving.overload.turn.monotonic", clock)
        yield clock


def test_work_is_stuck_so_long_after_its_last_callers_deadline(clock: Clock) -> None:
    post = Post(threading.current_thread())
    assert post.stuck_s(60) == 0
    before = post.begin(Turn(5), Turn(10))
    clock.now_s += 69
    assert post.stuck_s(60) == 0
    clock.now_s += 1
    assert post.stuck_s(60) == 70
    post.resume(before)
    assert post.stuck_s(60) == 0


def test_work_is_stuck_so_long_after_its_caller_left_and_much_later_while_it_waits(clock: Clock) -> None:
    post, turn = Post(threading.current_thread()), Turn()
    post.begin(turn)
    clock.now_s += 60 * PATIENCE - 1
    assert post.stuck_s(60) == 0
    clock.now_s += 1
    assert post.stuck_s(60) == 60 * PATIENCE
    post.begin(turn)
    clock.now_s += 10
    turn.cancel()
    clock.now_s += 59
    assert post.stuck_s(60) == 0
    clock.now_s += 1
    assert post.stuck_s(60) == 70


def test_work_that_goes_in_between_is_progress_of_the_work_around_it(clock: Clock) -> None:
    post = Post(threading.current_thread())
    post.begin(Turn(1))
    clock.now_s += 59
    post.resume(post.begin(Turn(1)))
    clock.now_s += 59
    assert post.stuck_s(60) == 0
    clock.now_s += 1
    assert post.stuck_s(60) == 60


@given(st.lists(st.floats(0, 100) | st.none(), max_size=3), st.floats(0, 2000), st.floats(1, 100))
def test_work_is_stuck_by_its_slow_definition(deadlines: list[float | None], later_s: float, limit_s: float) -> None:
    post, clock = Post(threading.current_thread()), Clock()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stuck, "monotonic", clock)
        patched.setattr("recserve.serving.overload.turn.monotonic", clock)
        post.begin(*map(Turn, deadlines))
        clock.now_s += later_s
        waits = [limit_s * (PATIENCE - 1) if d is None else d for d in deadlines] or [limit_s * (PATIENCE - 1)]
        allowed_s = max(waits) + limit_s if None not in deadlines else limit_s * PATIENCE
        if abs(later_s - allowed_s) > 1e-6:
            assert (post.stuck_s(limit_s) > 0) == (later_s > allowed_s)


def test_a_stuck_thread_is_logged_once_with_its_stack_and_told_at_each_look(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    gate, entered, told = threading.Event(), threading.Event(), list[str]()

    def wait_at_the_gate() -> None:
        entered.set()
        assert gate.wait(10)

    thread = threading.Thread(target=wait_at_the_gate, name="recserve-rank-0", daemon=True)
    post = Post(thread)
    watch = StuckWatch(lambda: [post], 60, told.append)
    thread.start()
    assert entered.wait(10)
    post.begin(Turn(0))
    watch.look()
    assert (watch.is_stuck(), told, caplog.records) == (False, [], [])
    clock.now_s += 61
    assert watch.is_stuck()
    with caplog.at_level(logging.WARNING, "recserve.serving"):
        watch.look()
        watch.look()
        assert told == ["recserve-rank-0: no progress for 61 s"] * 2
        post.resume(None)
        watch.look()
    first, last = caplog.messages
    assert first.startswith("Thread recserve-rank-0 works for nobody since 61 s, at:")
    assert "wait_at_the_gate" in first
    assert last == "Thread recserve-rank-0 has come back"
    assert not watch.is_stuck()
    gate.set()
    thread.join(10)
    assert describe_stack(thread) == "(it has ended)"


def test_a_limit_of_0_looks_for_nothing(clock: Clock) -> None:
    post = Post(threading.current_thread())
    post.begin(Turn(0))
    clock.now_s += 1e6
    watch = StuckWatch(lambda: [post], 0, print)
    watch.start()
    assert not watch.is_stuck()


STUCK = """<ir_version: 9, opset_import: ["": 18]>
stuck (float[N,1] x) => (float[1] y) {
  ones = Constant <value = int64[2] {1, 1}> ()
  all = Constant <value = int64[4] {0, 1, 2, 3}> ()
  most = ReduceMax <keepdims = 0> (x)
  times = Cast <to = 7> (most)
  one = Constant <value = int64[1] {1}> ()
  size = Reshape(times, one)
  shape = Concat <axis = 0> (ones, size, size)
  large = Expand(x, shape)
  pooled = MaxPool <kernel_shape = [1500, 1500], pads = [750, 750, 750, 750]> (large)
  best = ReduceMax <keepdims = 0> (pooled, all)
  y = Reshape(best, one)
}"""
"""One node that takes hours for 3000, and milliseconds for small numbers."""


def test_a_worker_with_a_stuck_thread_logs_where_and_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "slow" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(onnx.parser.parse_model(STUCK).SerializeToString())
    options = ["--workers", "2", "--stuck-timeout", "1", "--drain", "0.2", "--dialect", "tfs:0"]
    command = [sys.executable, "-c", "from recserve.cli import main; main()", "serve", str(folder), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        before = workers_of(process)
        wishes = {"X-Request-Timeout-Ms": "2000"}  # enough for the work to begin
        answer = httpx.post(f"{url}/v1/models/slow:predict", json={"inputs": [[3000.0]]}, headers=wishes)
        assert answer.status_code == 504
        end_s = monotonic() + 120
        while len(after := workers_of(process)) != 2 or len(after & before) != 1:
            assert monotonic() < end_s, process.poll()
            sleep(0.1)
        assert httpx.get(f"{url}/v1/models/slow", timeout=30).status_code == 200
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert "works for nobody" in errors
    assert "_run_for" in errors
    assert "is stuck and will be replaced: recserve-rank-0: no progress for" in errors
    assert process.returncode == 0


def workers_of(process: subprocess.Popen[str]) -> set[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = set()
    for pid in children:
        try:
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
        except OSError:  # it has just ended
            continue
    return found
