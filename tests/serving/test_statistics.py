from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from recserve.serving.statistics import MAX_BATCH_SIZES, Statistics, Times, VersionStatistics

TIMES = Times(queue=1, compute_input=20, compute_infer=300, compute_output=4000)


def test_a_request_is_counted_with_its_rows_and_times() -> None:
    counters = VersionStatistics()
    counters.add(2, TIMES)
    counters.add(3, TIMES)
    shown = counters.as_json("m", 7)
    assert (shown["name"], shown["version"]) == ("m", "7")
    assert (shown["inference_count"], shown["execution_count"]) == (5, 2)
    assert shown["last_inference"] > 1_600_000_000_000
    stats = shown["inference_stats"]
    assert stats["success"] == {"count": 2, "ns": 2 * 4321}
    assert stats["queue"] == {"count": 2, "ns": 2}
    assert stats["compute_infer"] == {"count": 2, "ns": 600}
    assert stats["fail"] == {"count": 0, "ns": 0}
    part = {"compute_input": 20, "compute_infer": 300, "compute_output": 4000}
    batches = [{"batch_size": rows} | {k: {"count": 1, "ns": ns} for k, ns in part.items()} for rows in (2, 3)]
    assert shown["batch_stats"] == batches


def test_a_failure_is_counted_apart() -> None:
    counters = VersionStatistics()
    counters.add_failure(9)
    shown = counters.as_json("m", 1)
    assert shown["inference_stats"]["fail"] == {"count": 1, "ns": 9}
    assert (shown["inference_count"], shown["execution_count"], shown["batch_stats"]) == (0, 0, [])


def test_batch_sizes_do_not_fill_the_memory() -> None:
    counters = VersionStatistics()
    for rows in range(3 * MAX_BATCH_SIZES):
        counters.add(rows, TIMES)
    shown = counters.as_json("m", 1)["batch_stats"]
    assert len(shown) < MAX_BATCH_SIZES + 20
    assert sum(batch["compute_infer"]["count"] for batch in shown) == 3 * MAX_BATCH_SIZES


def test_counts_are_exact_under_threads() -> None:
    statistics = Statistics()

    def feed() -> None:
        for _ in range(500):
            statistics.of("m", 1).add(1, TIMES)

    threads = [threading.Thread(target=feed) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = statistics.of("m", 1).as_json("m", 1)
    assert shown["inference_stats"]["success"] == {"count": 4000, "ns": 4000 * 4321}


def test_a_forgotten_version_starts_anew() -> None:
    statistics = Statistics()
    statistics.of("m", 1).add(1, TIMES)
    statistics.of("m", 2).add(1, TIMES)
    statistics.forget("m", 1)
    statistics.forget("x", 1)
    assert statistics.of("m", 1).as_json("m", 1)["execution_count"] == 0
    assert statistics.of("m", 2).as_json("m", 2)["execution_count"] == 1


WORKER = """
import sys
from pathlib import Path
from recserve.serving.statistics import Statistics, Times
statistics = Statistics(Path(sys.argv[1]))
statistics.of("m", 1).add(2, Times(1, 20, 300, 4000))
statistics.of("m", 1).add(7, Times(1, 20, 300, 4000))
statistics.of("m", 2).add_failure(9)
statistics.close()
"""


def test_workers_tell_the_sum_of_what_all_counted_also_those_that_are_gone(tmp_path: Path) -> None:
    alone, shared = Statistics(), Statistics(tmp_path / "statistics")
    for rows in (2, 3):
        shared.of("m", 1).add(rows, TIMES)
    for rows in (2, 3, 2, 7, 2, 7):
        alone.of("m", 1).add(rows, TIMES)
    for _ in range(2):
        alone.of("m", 2).add_failure(9)
        subprocess.run([sys.executable, "-c", WORKER, tmp_path / "statistics"], check=True)
    expected, found = (each.describe([("m", 1), ("m", 2), ("x", 1)]) for each in (alone, shared))
    for item in (*expected, *found):
        assert item.pop("last_inference") > (0 if item["execution_count"] else -1)
    assert found == expected
    shared.close()


def test_a_process_on_its_own_tells_its_own_counts() -> None:
    statistics = Statistics()
    statistics.of("m", 1).add(2, TIMES)
    assert statistics.describe([("m", 1)]) == [statistics.of("m", 1).as_json("m", 1)]
    statistics.close()
