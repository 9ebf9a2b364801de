"""Features and embedding lookups: the published loads E1 and E2, and one task against NumPy, Polars, pandas and DuckDB.

What this measures, on one core and without a network:

- `E1`, `E2`: a request from the decoded user (a dict) and the candidates' ids to all tensors a network would read, by
  the stages and lookups of `Ranker`: user columns read, request features and lookups, payloads gathered, candidate
  features and lookups. Item payloads are made before, as serving does. `numpy` is the same in NumPy on integer keys,
  with the item side made before as well; both give equal numbers, which is checked. The published 550 and 2,260
  items/s/core are EasyRec Processor's with the model, on another CPU: a scale, not a peer.
- `task`: 38 features of one user and 500 items of a table of 100,000 rows, in each library as `feature_task` says. Ours
  gives tensors (what is of the user once, as a network wants it); `matrix` copies them to one float32[500, 38] as NumPy
  makes it.
- `offline`: the same features of a flat table of 1,000,000 rows, from an Arrow table in memory to columns.
- `compile`: E2's 1,443 features from their config to a plan that has run once, in a fresh process: with an empty cache
  of compiled code, and with a full one. `plan` is the part without starting Python and importing.

The variants take turns. **All times are CPU times of the thread** (of the process for `compile`), which other work on
the machine disturbs less than wall time; wall times stand beside them in the file. The floor is the bytes that must
move (payloads read, tensors written, and 24 for each probe of a map) at the measured speed of a copy.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse
import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

import feature_offline
import feature_task
from feature_loads import LOADS, FeatureLoad
from feature_serving import STEPS, FeatureServer, make_tables
from feature_twin import NumpyFeatures, check_twin
from recserve import FeatureSet
from recserve.tables.table import Table
from results import Case, make_header, measure_bandwidth, pin_to_one_core, print_table, write_json

ITEMS: Final = 20_000
USERS: Final = 16
TASK_ITEMS: Final = 100_000
TASK_SIZE: Final = 500
_PREPARE: Final = """
import sys, time
start = time.process_time(), time.perf_counter()
sys.path.insert(0, {folder!r})
from feature_loads import LOADS
from recserve import FeatureSet
from recserve.features.compiled import CompiledPlan
loaded = time.process_time(), time.perf_counter()
CompiledPlan(FeatureSet.from_fg_json({{"features": LOADS[1].entries()}}).graph).warm()
done = time.process_time(), time.perf_counter()
print(done[0] - start[0], done[1] - start[1], done[0] - loaded[0], done[1] - loaded[1])
"""
_PROBE_BYTES: Final = 24


def time_cpu_in_turns(
    variants: Mapping[str, Callable[[], object]], seconds: float
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """{variant: float64[calls, 2], CPU and wall µs of each call}. The variants take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for run in variants.values():
        for _ in range(2):
            run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, taken.values())) < 5:
        for name, run in variants.items():
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            run()
            cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
            taken[name].append((cpu / 1e3, wall / 1e3))
    return {name: np.array(values) for name, values in taken.items()}


def cases_of(name: str, size: int, taken: Mapping[str, Any]) -> list[Case]:
    """A case for each variant."""
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = []
    for variant, values in taken.items():
        cpu_us, wall_us = np.median(values, axis=0)
        found.append(
            {
                "case": name,
                "variant": variant,
                "n": size,
                "us_per_candidate": cpu_us / size,
                "items_per_s_core": size / cpu_us * 1e6,
                "cpu_us": cpu_us,
                "p50_us": wall_us,
                "p99_us": float(np.quantile(values[:, 1], 0.99)),
                "calls": len(values),
                "peak_rss_mb": peak_mb,
            }
        )
    first = found[0]["cpu_us"]
    for case in found:
        case["ratio"] = case["cpu_us"] / first
    return found


def measure_load(load: FeatureLoad, seconds: float, rng: np.random.Generator, bandwidth: float) -> list[Case]:
    """Time one of the published loads."""
    features = FeatureSet.from_fg_json({"features": load.entries()})
    tables = make_tables(features.outputs, rng)
    items = load.draw_items(ITEMS, rng)
    server = FeatureServer(features, tables)
    server.add_items(items)
    twin = NumpyFeatures(load, tables, items)
    users = [load.draw_user(rng) for _ in range(USERS)]
    requests = [(user, rng.choice(ITEMS, size=load.items, replace=False).tolist()) for user in users]
    check_twin(load, server.run(*requests[0]), twin.run(*requests[0]))
    turn = {"at": 0}

    def ours() -> object:
        turn["at"] += 1
        return server.run(*requests[turn["at"] % USERS])

    taken = time_cpu_in_turns({"recserve": ours, "numpy": lambda: twin.run(*requests[turn["at"] % USERS])}, seconds)
    cases = cases_of(load.name, load.items, taken)
    clock: dict[str, float] = {}
    rounds = 4 * USERS
    for i in range(rounds):
        server.run(*requests[i % USERS], clock)
    tensors = server.run(*requests[0])
    probes = load.items * (load.maps * load.keys + load.nested * load.pairs)
    out_bytes = sum(int(tensor.nbytes) for tensor in tensors.values())
    state_bytes = out_bytes + probes * _PROBE_BYTES + load.items * 4 * server.store.layout.width
    cases[0] |= {
        "steps_us": {step: clock[step] / rounds for step in STEPS},
        "published_items_per_s_core": load.published,
        "state_bytes_per_candidate": state_bytes / load.items,
        "gb_per_s": state_bytes / cases[0]["cpu_us"] / 1e3,
        "floor_us": state_bytes / bandwidth * 1e6,
        "features": len(features.outputs),
    }
    return cases


def measure_task(seconds: float, rng: np.random.Generator) -> list[Case]:
    """Time the task online."""
    items = feature_task.draw_items(TASK_ITEMS, rng)
    requests = [
        (feature_task.draw_user(rng), rng.choice(TASK_ITEMS, size=TASK_SIZE, replace=False).tolist()) for _ in range(20)
    ]
    features = FeatureSet.from_fg_json({"features": feature_task.entries()})
    server = FeatureServer(features, _count_tables(features))
    server.add_items(items)
    names = [output.name for output in features.outputs]
    matrix = np.empty((TASK_SIZE, len(names)), np.float32)

    def fill(user: dict[str, Any], ids: list[int]) -> Any:
        tensors = server.run(user, ids)
        for column, name in enumerate(names):
            matrix[:, column] = tensors[name][:, 0]
        return matrix

    forms: dict[str, Callable[..., Any]] = {"recserve": server.run, "recserve matrix": fill}
    forms |= {name: make(items) for name, make in feature_task.PEERS.items() if is_installed(name)}
    expected = feature_task.checked_columns(fill(*requests[0]).copy())
    turn = {"at": 0}
    variants: dict[str, Callable[[], object]] = {}
    for name, form in forms.items():
        if name != "recserve":
            _compare(name, feature_task.checked_columns(form(*requests[0])), expected)

        def run(form: Callable[..., Any] = form) -> object:
            turn["at"] += 1
            return form(*requests[turn["at"] % len(requests)])

        variants[name] = run
    return cases_of("task", TASK_SIZE, time_cpu_in_turns(variants, seconds))


def _count_tables(features: FeatureSet) -> dict[str, Table]:
    """Tables whose row i is the number i."""
    return {
        o.table: Table(o.table, np.arange(o.rows or 0, dtype=np.float32)[:, None])
        for o in features.outputs
        if o.table is not None
    }


def measure_offline(rows: int, rng: np.random.Generator) -> list[Case]:
    """Time the task offline: three turns of each."""
    table = feature_offline.draw_rows(rows, rng)
    plan = FeatureSet.from_fg_json({"features": feature_task.entries(joins_user=True)}).compile()
    forms: dict[str, Callable[[pa.Table], Any]] = {"recserve": plan.run}
    forms |= {name: form for name, form in feature_offline.PEERS.items() if is_installed(name)}
    found = plan.run(table.slice(0, 10_000))
    columns = {name: value if isinstance(value, np.ndarray) else value.values for name, value in found.items()}
    expected = feature_task.checked_columns(columns)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for name, form in forms.items():
        result = form(table.slice(0, 10_000))
        if name != "recserve":
            _compare(name, feature_task.checked_columns(result), expected)
    for _ in range(3):
        for name, form in forms.items():
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            form(table)
            cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
            taken[name].append((cpu / 1e3, wall / 1e3))
    return cases_of("offline", rows, {name: np.array(values) for name, values in taken.items()})


def _compare(name: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for column, values in expected.items():
        np.testing.assert_allclose(found[column], values, rtol=1e-6, err_msg=f"{name}: {column}")


def is_installed(name: str) -> bool:
    """Whether a library is there; says so where it is not."""
    if importlib.util.find_spec(name) is None:
        print(f"{name} is not installed: left out (pip install {name})")
        return False
    return True


def measure_compile() -> list[Case]:
    """CPU and wall seconds until E2 is ready, with an empty and with a full cache."""
    cases = []
    script = _PREPARE.format(folder=str(Path(__file__).resolve().parent))
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"RECSERVE_CACHE_DIR": folder, "NUMBA_CACHE_DIR": f"{folder}/numba"}
        for variant in ("cold", "cached"):
            answer = subprocess.run(  # noqa: S603
                [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
            )
            cpu, wall, plan_cpu, plan_wall = map(float, answer.stdout.split())
            cases.append(
                {
                    "case": "compile",
                    "variant": variant,
                    "cpu_s": cpu,
                    "wall_s": wall,
                    "plan_cpu_s": plan_cpu,
                    "plan_wall_s": plan_wall,
                }
            )
    return cases


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ("E1", "E2", "task", "offline", "compile")
    parser.add_argument("--cases", nargs="+", choices=known, default=list(known))
    parser.add_argument("--seconds", type=float, default=6.0, help="of each case online")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table offline")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pin_to_one_core()
    pa.set_cpu_count(1)
    bandwidth = measure_bandwidth()
    header = make_header(options.seed) | {"ceiling_gb_per_s": bandwidth / 1e9, "times": "CPU time of the thread"}
    loads = {load.name: load for load in LOADS}
    cases: list[Case] = []
    for name in options.cases:
        rng = np.random.default_rng(options.seed)
        if name in loads:
            found = measure_load(loads[name], options.seconds, rng, bandwidth)
        elif name == "task":
            found = measure_task(options.seconds, rng)
        else:
            found = measure_offline(options.rows, rng) if name == "offline" else measure_compile()
        cases += found
        print_cases(found)
        write_json(options.json, header, cases)
    print_summary(header, cases)


def print_cases(found: list[Case]) -> None:
    """One line a variant, while it runs."""
    for case in found:
        if case["case"] == "compile":
            print(
                f"compile {case['variant']:>7}  {case['cpu_s']:6.2f} s CPU, {case['wall_s']:6.2f} s wall; "
                f"plan {case['plan_cpu_s']:6.2f} s CPU, {case['plan_wall_s']:6.2f} s wall"
            )
            continue
        print(
            f"{case['case']:>8} {case['variant']:<16} {case['cpu_us']:12,.0f} µs CPU  {case['p50_us']:12,.0f} µs wall  "
            f"{case['items_per_s_core']:12,.0f} items/s/core"
        )
        if "steps_us" in case:
            print("         " + ", ".join(f"{step} {us:.0f}" for step, us in case["steps_us"].items()))


def print_summary(header: dict[str, Any], cases: list[Case]) -> None:
    """The table of all cases."""
    rows = [
        [
            f"{case['case']} {case['variant']}",
            str(case["n"]),
            f"{case['cpu_us'] / 1e3:,.3f}",
            f"{case['items_per_s_core']:,.0f}",
            f"{case['ratio']:.2f}",
            f"{case['floor_us'] / 1e3:,.3f}" if "floor_us" in case else "",
            f"{case['state_bytes_per_candidate']:,.0f}" if "floor_us" in case else "",
            f"{case['gb_per_s']:.1f}" if "floor_us" in case else "",
        ]
        for case in cases
        if "cpu_us" in case
    ]
    title = (
        f"{header['machine']['cpu']}, one core, commit {header['commit']}, copy {header['ceiling_gb_per_s']:.1f} GB/s"
    )
    columns = ["case", "items", "CPU ms", "items/s/core", "times ours", "floor ms", "bytes/item", "GB/s"]
    print_table(title, columns, rows)


if __name__ == "__main__":
    main()
