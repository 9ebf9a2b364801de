"""The real command with workers: a version with large tables comes and goes, and its memory goes with it."""

from __future__ import annotations

import os
import platform
import re
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
FEW = 1000
ROWS = 1_600_000
"""Of 16 numbers: 102 MB a version."""


def write_version(sum_model: Any, base: Path, version: int, rows: int) -> None:
    feature = {"feature_name": "key", "feature_type": "id_feature", "expression": "item:key"}
    feature |= {"num_buckets": rows, "embedding_dim": 16, "embedding_name": "key_emb"}
    table = np.full((rows, 16), version / 16, np.float32)
    made = sum_model([feature], {"ctr": ["key"]}, out=f"{version}/m/{version}", tables={"key_emb": table})
    base.mkdir(exist_ok=True)
    made.rename(base / str(version))


MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ (?:\S+ +){4}(.*)\n(?:\w+: .*\n)*?Pss: +(\d+) kB", re.MULTILINE)


def own_mb(pids: list[int], files: Path) -> float:
    """Memory of processes, shared pages counted by their share: without files, and of the files below a folder.

    The pages of libraries are left out: their share changes with every other process that has them too.
    """
    mappings = [found for pid in pids for found in MAPPING.findall(Path(f"/proc/{pid}/smaps").read_text())]
    return sum(int(kb) for path, kb in mappings if not path.startswith("/") or path.startswith(f"{files}/")) / 1000


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


def answers(url: str, rows: int) -> set[float]:
    """The scores of both workers, from all over the rows of the table."""
    scores: dict[str, set[float]] = {}
    ids = [f"i{n}" for n in range(500)]
    rng = np.random.default_rng(0)

    def ask() -> bool:
        items = {item: {"key": int(key)} for item, key in zip(ids, rng.integers(0, rows, len(ids)), strict=True)}
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
    write_version(sum_model, base, 1, FEW)
    write_version(sum_model, tmp_path / "later", 2, ROWS)
    with serving("--base", f"m={base}") as (url, workers):
        assert len(workers) == WORKERS
        wait_for(lambda: answers(url, FEW) == {1.0})
        before_mb = own_mb(workers, tmp_path)
        os.rename(tmp_path / "later" / "2", base / "2")
        wait_for(lambda: answers(url, ROWS) == {2.0})
        loaded_mb = own_mb(workers, tmp_path)
        shutil.rmtree(base / "2")
        wait_for(lambda: answers(url, FEW) == {1.0})

        wait_for(lambda: own_mb(workers, tmp_path) <= before_mb * 1.05, 20)
        assert loaded_mb > before_mb * 1.05, "a version that is loaded is seen, and so is that it goes"
        assert loaded_mb < before_mb + 110, "tables are mapped once for all workers"
