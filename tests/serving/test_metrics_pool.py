"""The metrics of several processes in one directory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from recserve.serving.metrics_pool import MetricsPool
from recserve.serving.metrics_text import Family

WORKER = """
import sys
from recserve.serving.metrics_pool import MetricsPool
from recserve.serving.metrics_text import Family
found = [
    Family("calls", "counter", "h", [("", {"model": "a"}, 2)]),
    Family("waiting", "gauge", "h", [("", {}, 5)]),
]
pool = MetricsPool(sys.argv[1], lambda: found, 0)
pool.publish()
print("published", flush=True)
sys.stdin.readline()
"""


def families() -> list[Family]:
    return [
        Family("calls", "counter", "h", [("", {"model": "a"}, 1)]),
        Family("waiting", "gauge", "h", [("", {}, 1)]),
    ]


def values(pool: MetricsPool) -> dict[str, float]:
    return {family.name: family.samples[0][2] for family in pool.families() if family.samples}


def test_counters_of_dead_workers_stay_and_their_gauges_go(tmp_path: Path) -> None:
    pool = MetricsPool(tmp_path / "metrics", families, 0)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path / "metrics"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"published\n"
    assert values(pool) == {"calls": 5, "waiting": 11}
    workers[0].kill()
    workers[0].communicate()
    assert values(pool) == {"calls": 5, "waiting": 6}
    workers[1].communicate(b"\n")
    assert values(pool) == {"calls": 5, "waiting": 1}
    assert values(pool) == {"calls": 5, "waiting": 1}
    assert sorted(file.name for file in (tmp_path / "metrics").glob("*.json")) == ["gone.json"]


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "worker-1.json").write_text("[[")
    assert values(MetricsPool(tmp_path, families, 0)) == {"calls": 1, "waiting": 1}


def test_a_thread_writes_until_the_end(tmp_path: Path) -> None:
    pool = MetricsPool(tmp_path, families, 0.01)
    for _ in range(1000):
        if list(tmp_path.glob("worker-*.json")):
            break
        time.sleep(0.01)
    assert list(tmp_path.glob("worker-*.json"))
    pool.close()


def test_a_write_that_fails_is_logged_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    def fail() -> list[Family]:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("no disk")
        return families()

    pool = MetricsPool(tmp_path, fail, 0.01)
    for _ in range(1000):
        if len(tries) > 3:
            break
        time.sleep(0.01)
    pool.close()
    assert "could not be written" in caplog.text
