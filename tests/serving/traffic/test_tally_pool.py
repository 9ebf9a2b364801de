from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.serving.traffic.comparison import Difference
from recserve.serving.traffic.tally import Mean, Seen, Tally, Window
from recserve.serving.traffic.tally_pool import Report, TallyPool


def pool_of(directory: Path, pid: int, monkeypatch: pytest.MonkeyPatch) -> TallyPool:
    """The pool as another process would have it."""
    with monkeypatch.context() as patched:
        patched.setattr("os.getpid", lambda: pid)
        return TallyPool(directory)


def report(calls: int, *, at_s: float | None = None, rollout: str = "r") -> Report:
    seen = Seen(calls, 1, Mean(0.5, 2), Mean(1.0, 1), Window(calls, 1, 2, 3.0))
    now_s = monotonic()
    return Report(rollout, now_s - 5, now_s if at_s is None else at_s, {2: seen})


def test_a_worker_reads_what_the_others_saw_of_the_same_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (pool_of(tmp_path, pid, monkeypatch) for pid in (1, 2))
    one.publish({"rank": report(3), "other": report(9)})
    two.publish({"rank": report(4)})
    assert [found.seen[2].calls for found in one.read("rank", "r", 60)] == [4]
    assert [found.seen[2] for found in two.read("rank", "r", 60)] == [report(3).seen[2]]
    assert two.read("rank", "another rollout", 60) == []
    assert two.read("absent", "r", 60) == []


def test_what_a_worker_saw_before_it_was_gone_counts_until_the_window_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (pool_of(tmp_path, pid, monkeypatch) for pid in (1, 2))
    one.publish({"rank": report(3, at_s=monotonic() - 61)})
    (found,) = two.read("rank", "r", 60)
    assert (found.seen[2].calls, found.seen[2].window) == (3, Window())
    one.publish({"rank": report(3, at_s=monotonic() + 1e6)})  # of another boot
    assert two.read("rank", "r", 60)[0].seen[2].window == Window()


def test_one_worker_judges_and_another_one_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (pool_of(tmp_path, pid, monkeypatch) for pid in (1, 2))
    assert one.is_judge()
    assert one.is_judge()
    assert not two.is_judge()
    one.leave()
    assert two.is_judge()
    two.leave()


def test_the_end_of_a_process_ends_its_office(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from {TallyPool.__module__} import TallyPool; import os, signal\n"
    code += f"assert TallyPool(Path({str(tmp_path)!r})).is_judge(); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code], check=False)
    pool = TallyPool(tmp_path)
    assert pool.is_judge()
    pool.leave()


def test_a_process_on_its_own_judges_and_hears_of_nobody() -> None:
    pool = TallyPool(None)
    pool.publish({"rank": report(1)})
    assert pool.is_judge()
    assert pool.read("rank", "r", 60) == []
    pool.clean({})


def test_files_of_workers_that_are_gone_are_removed_with_their_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    gone = pool_of(tmp_path, ended.pid, monkeypatch)
    gone.publish({"rank": report(3)})
    pool = TallyPool(tmp_path)
    pool.clean({"rank": "r"})
    assert len(pool.read("rank", "r", 60)) == 1
    pool.clean({"rank": "another"})
    assert pool.read("rank", "r", 60) == []


def test_a_file_that_cannot_be_read_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "worker-1.json").write_bytes(b"{")
    (tmp_path / "worker-2.json").write_bytes(orjson.dumps({"rank": ["r", 0, 0, {"x": 1}]}))
    assert TallyPool(tmp_path).read("rank", "r", 60) == []


CALLS = st.lists(
    st.tuples(st.integers(0, 2), st.floats(1, 1e7), st.lists(st.floats(-10, 10), max_size=3), st.booleans())
)


@given(CALLS)
def test_tallies_of_several_workers_add_up_to_that_of_one(calls: list[tuple[int, float, list[float], bool]]) -> None:
    whole, parts = Tally(), [Tally() for _ in range(3)]
    for worker, time_us, scores, fails in calls:
        for tally in (whole, parts[worker]):
            if fails:
                tally.add_error()
            else:
                tally.add(time_us, len(scores), sum(scores))
                tally.add_difference(Difference(0.5, 1.0, 0.25, 2, is_alike=True))
    carried = [Seen.from_json(orjson.loads(orjson.dumps(part.seen().as_json()))) for part in parts]
    total, expected = carried[0] + carried[1] + carried[2], whole.seen()
    assert (total.calls, total.errors) == (expected.calls, expected.errors)
    assert (total.difference, total.correlation) == (expected.difference, expected.correlation)
    assert total.window.latency_counts == expected.window.latency_counts
    assert total.window.score_sum == pytest.approx(expected.window.score_sum)
    assert total.window.recent().p99_us == pytest.approx(expected.window.recent().p99_us, nan_ok=True)
