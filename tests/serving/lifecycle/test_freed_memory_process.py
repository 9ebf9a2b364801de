"""The real command with workers: a version with large tables comes and goes, and its memory goes with it."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

RECSERVE = (sys.executable, "-c", "from recserve.cli import main; main()")
WORKERS = 2
ROWS = 1_600_000
"""Of 16 numbers: 102 MB a version."""


def write_version(sum_model: Any, base: Path, version: int, rows: int) -> None:
    feature = {"feature_name": "key", "feature_type": "id_feature", "expression": "item:key"}
    feature |= {"num_buckets": rows, "embedding_dim": 16, "embedding_name": "key_emb"}
    table = np.full((rows, 16), version / 16, np.float32)
    made = sum_model([feature], {"ctr": ["key"]}, out=f"{version}/m/{version}", tables={"key_emb": table})
    base.mkdir(exist_ok=True)
    made.rename(base / str(version))


def pss_mb(pids: list[int]) -> float:
    """Memory of processes, shared pages counted by their share."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(text.split("Pss:")[1].split()[0]) for text in rollups) / 1000


def wait_for(wanted: Callable[[], bool], seconds: float = 120) -> None:
    end_s = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end_s
        time.sleep(0.1)


@contextmanager
def serving(*flags: str) -> Iterator[tuple[str, list[int]]]:
    """(URL, process ids of the workers)."""
    line = ["serve", "--port=0", f"--workers={WORKERS}", "--poll=0.1", "--settle=0", *flags]
    with subprocess.Popen([*RECSERVE, *line], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            yield url, workers
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def answers(url: str) -> set[float]:
    """The scores of both workers, over many rows of the table."""
    scores: dict[str, set[float]] = {}
    ids = [f"i{n}" for n in range(500)]
    rng = np.random.default_rng(0)

    def ask() -> bool:
        items = {item: {"key": int(key)} for item, key in zip(ids, rng.integers(0, 1000, len(ids)), strict=True)}
        answer = httpx.post(f"{url}/v1/models/m:rank", json={"candidates": ids, "items": items}, timeout=30)
        assert answer.status_code == 200, answer.text
        scores.setdefault(answer.headers["x-request-id"][:12], set()).update(answer.json()["scores"])
        return len(scores) == WORKERS

    for _ in range(10):
        ask()
    wait_for(ask)
    return set().union(*scores.values())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back when it is asked")
def test_the_memory_of_a_version_is_returned_when_it_goes(tmp_path: Path, sum_model: Any) -> None:
    base = tmp_path / "m"
    write_version(sum_model, base, 1, 1000)
    write_version(sum_model, tmp_path / "later", 2, ROWS)
    with serving("--base", f"m={base}") as (url, workers):
        assert len(workers) == WORKERS
        wait_for(lambda: answers(url) == {1.0})
        before_mb = pss_mb(workers)
        os.rename(tmp_path / "later" / "2", base / "2")
        wait_for(lambda: answers(url) == {2.0})
        loaded_mb = pss_mb(workers)
        shutil.rmtree(base / "2")
        wait_for(lambda: answers(url) == {1.0})

        wait_for(lambda: pss_mb(workers) <= before_mb * 1.05, 20)
        assert loaded_mb < before_mb + 2 * 110, "tables are mapped once for all workers, if at all"
