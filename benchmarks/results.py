"""What all benchmarks share: the header of a result file, timing in turns, ceilings of the machine, tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

_PACKAGES: Final = ("numpy", "numba", "onnxruntime", "pyarrow", "torch")
Case = dict[str, Any]


def make_header(seed: int) -> dict[str, Any]:
    """Machine, versions, commit and seed."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    return {
        "machine": {"cpu": model, "cores": os.cpu_count(), "system": platform.system()},
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "commit": commit.stdout.strip() or None,
        "seed": seed,
        "load_average": os.getloadavg()[0],
    }


def pin_to_one_core() -> None:
    """Run this process on one core, so that the figures are per core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


_TURN_S: Final = 0.05


def time_in_turns(variants: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, np.ndarray[Any, Any]]:
    """{variant: float64 µs of each call}. The variants take turns, so that what disturbs one disturbs the other.

    A turn is as many calls as fit into 50 ms, at least one: a server answers one request after the other, with caches
    that the last one left, and not between runs of something else that empties them. A variant in a process of its own
    times itself, by `time_calls(count)`.
    """
    turns: dict[str, int] = {}
    for name, run in variants.items():
        _time_calls(run, 1)
        turns[name] = max(1, int(1e6 * _TURN_S / _time_calls(run, 1)[0]))
    taken: dict[str, list[float]] = {name: [] for name in variants}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, taken.values())) < 5:
        for name, run in variants.items():
            taken[name] += _time_calls(run, turns[name])
    return {name: np.array(values) for name, values in taken.items()}


def _time_calls(run: Callable[[], object], count: int) -> list[float]:
    """Microseconds of so many calls."""
    if hasattr(run, "time_calls"):
        return list(run.time_calls(count))
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        run()
        taken.append((time.perf_counter_ns() - start) / 1e3)
    return taken


def measure_flops() -> float:
    """float32 operations a second of one core in a large matrix product: the ceiling of dense layers."""
    a = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    best = 1e9
    for _ in range(12):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best


def measure_bandwidth() -> float:
    """Bytes a second of one core copying what no cache holds."""
    source = np.ones(1 << 26, np.uint8)
    target = np.empty_like(source)
    best = 1e9
    for _ in range(8):
        start = time.perf_counter()
        target[:] = source
        best = min(best, time.perf_counter() - start)
    return len(source) / best


def write_json(path: Path | None, header: dict[str, Any], cases: Sequence[Case]) -> None:
    """Write a result file."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"header": header, "results": list(cases)}
        path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people; the first column is text."""
    table = Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)
