"""Ranking a request: the staged pipeline against the same network run flat on tiled inputs, one core, one run.

Both sides answer the same request, from the decoded user and the candidate ids to the best 50, with recserve's own
feature engine and lookups:

- `staged` is `Ranker.rank`.
- `flat` is what one writes without rates: take the candidates' rows out of the item table, extract all features for all
  rows, look up all embeddings, and run the network as exported, in ONNX Runtime, on inputs that have N rows each.

The variants take turns of about 50 ms. `network alone` compares the network's runs alone. Python is what is left of a
staged request when the time in kernels and in the engines is taken off. The floor is the staged network's operations at
the measured speed of a matrix product, plus the payload bytes at the measured speed of a copy.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch

from recserve import Bundle, FeatureSet, Ranker
from recserve.features import stage as stage_module
from recserve.network.blocks import BlockRunner
from recserve.network.model import Network
from recserve.network.session import Session
from recserve.rates import Rate
from recserve.staging.flat import FlatPipeline
from recserve.store.kernels import read as store_kernels
from recserve.tables import kernels as table_kernels
from recserve.training.export import export_module
from results import (
    Case,
    make_header,
    measure_bandwidth,
    measure_flops,
    pin_to_one_core,
    print_table,
    time_in_turns,
    write_json,
)
from workloads import WORKLOADS, Workload

SIZES: Final = (1, 100, 500, 1000)
ITEMS: Final = 20_000
TOP_K: Final = 50
USERS: Final = 16


class NativeClock:
    """Adds up the time spent in kernels and in the engines while it is attached; a call within a call counts once."""

    def __init__(self) -> None:
        self.spent_ns = 0
        self._is_within = False

    def attach(self) -> Callable[[], None]:
        """Wrap the native calls; the answer undoes it."""
        places = [
            (stage_module, "execute"),
            (table_kernels, "run_lookups"),
            (store_kernels, "find_slots"),
            (store_kernels, "gather_fixed"),
            (store_kernels, "gather_ranges"),
            (Session, "run"),
            (BlockRunner, "run"),
        ]
        originals = [(owner, name, getattr(owner, name)) for owner, name in places]
        for owner, name, original in originals:
            setattr(owner, name, self._wrap(original))

        def detach() -> None:
            for owner, name, original in originals:
                setattr(owner, name, original)

        return detach

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            if self._is_within:
                return original(*args)
            self._is_within = True
            start = time.perf_counter_ns()
            try:
                return original(*args)
            finally:
                self.spent_ns += time.perf_counter_ns() - start
                self._is_within = False

        return timed


@dataclass
class Subject:
    """One workload, ready to run both ways."""

    workload: Workload
    ranker: Ranker
    flat: FlatPipeline
    items: pa.Table
    users: list[dict[str, Any]]

    def flat_columns(self, user: dict[str, Any], candidates: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Raw columns: the candidates' rows of the item table, and one row of the user that stands for all."""
        taken = self.items.take(candidates)
        columns = {name: taken.column(name) for name in self.workload.columns("item")}
        return columns | {name: [cell] for name, cell in user.items()}

    def rank_flat(self, user: dict[str, Any], candidates: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        """Ids and scores of the best, the flat way."""
        outputs = self.flat.run(self.flat_columns(user, candidates))
        scores = self.ranker.bundle.score.evaluate(outputs)
        order = np.argsort(-scores, kind="stable")[:TOP_K]
        return candidates[order], scores[order]


def prepare(workload: Workload, folder: Path, rng: np.random.Generator) -> Subject:
    """Export, build and open a workload."""
    features = FeatureSet.from_fg_json({"features": workload.entries})
    torch.manual_seed(0)
    network = export_module(workload.build(features.outputs), features.outputs, folder)
    tables = {
        o.table: rng.normal(size=(o.rows or 0, o.dim), scale=0.1).astype(np.float32)
        for o in features.outputs
        if o.table is not None
    }
    bundle = Bundle.build(
        features=features, tables=tables, network=network, out=folder / workload.name / "1", score=workload.score
    )
    items = workload.draw_items(ITEMS, rng)
    ranker = Ranker.open(bundle.path, items=items, verify=False)
    plan = bundle.features.compile()
    flat = FlatPipeline(plan, ranker.pipeline.cuts.inputs, bundle.tables, Network.load(network))
    return Subject(workload, ranker, flat, items, [workload.draw_user(rng) for _ in range(USERS)])


def measure(subject: Subject, size: int, seconds: float, rng: np.random.Generator) -> list[Case]:
    """Time both ways at N = `size`."""
    requests = [(user, rng.choice(ITEMS, size=size, replace=False)) for user in subject.users]
    as_lists = [(user, ids.tolist()) for user, ids in requests]
    check_equal(subject, *requests[0])
    turn = {"staged": 0, "flat": 0}

    def staged() -> Any:
        turn["staged"] += 1
        user, ids = as_lists[turn["staged"] % USERS]
        return subject.ranker.rank(user, {}, ids, top_k=TOP_K)

    def flat() -> Any:
        turn["flat"] += 1
        return subject.rank_flat(*requests[turn["flat"] % USERS])

    taken = time_in_turns({"staged": staged, "flat": flat}, seconds)
    parts = split_flat(subject, requests, seconds / 4)
    clock = NativeClock()
    detach = clock.attach()
    runs = 40
    start = time.perf_counter_ns()
    timings: dict[str, float] = {}
    for _ in range(runs):
        for key, value in staged().timings_us.items():
            timings[key] = timings.get(key, 0.0) + value / runs
    total_ns = time.perf_counter_ns() - start
    detach()
    report = subject.ranker.pipeline.split.report
    common = {"case": subject.workload.name, "traffic": "T4", "n": size}
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cases = []
    for name, values in taken.items():
        p50 = float(np.median(values))
        cases.append(
            common
            | {
                "variant": name,
                "us_per_candidate": p50 / size,
                "items_per_s_core": size / p50 * 1e6,
                "p50_us": p50,
                "p99_us": float(np.quantile(values, 0.99)),
                "ratio_to_flat": float(np.median(taken["flat"]) / p50),
                "calls": len(values),
                "peak_rss_mb": peak_mb,
            }
        )
    cases[0] |= {
        "stages_us": timings,
        "python_us": (total_ns - clock.spent_ns) / runs / 1e3,
        "item_bytes": subject.ranker.pipeline.cuts.item_bytes,
        "flops_per_candidate": report.flops.get(Rate.CANDIDATE, 0),
        "flops_per_request": report.flops.get(Rate.REQUEST, 0),
    }
    cases[1] |= {"stages_us": parts, "flops_per_candidate": report.flat_flops}
    network = sum(v for k, v in timings.items() if k.endswith("network"))
    cases[0]["network_ratio_to_flat"] = parts["network"] / max(network, 1e-9)
    return cases


def check_equal(subject: Subject, user: dict[str, Any], candidates: np.ndarray[Any, Any]) -> None:
    """Both ways must give the same scores: a benchmark of two different things says nothing."""
    result = subject.ranker.rank(user, {}, candidates.tolist(), top_k=TOP_K)
    _, scores = subject.rank_flat(user, candidates)
    np.testing.assert_allclose(result.scores, scores, rtol=1e-4, atol=1e-5)


def split_flat(subject: Subject, requests: list[tuple[Any, Any]], seconds: float) -> dict[str, float]:
    """µs of each step of the flat way."""
    columns = [subject.flat_columns(*request) for request in requests[:4]]
    tensors = [subject.flat.make_tensors(c) for c in columns]
    turn = {"all": 0}

    def step(run: Callable[[int], Any]) -> Callable[[], Any]:
        def call() -> Any:
            turn["all"] += 1
            return run(turn["all"] % len(columns))

        return call

    taken = time_in_turns(
        {
            "take": step(lambda i: subject.flat_columns(*requests[i])),
            "features_and_lookups": step(lambda i: subject.flat.make_tensors(columns[i])),
            "network": step(lambda i: subject.flat.run_network(tensors[i])),
        },
        seconds,
    )
    return {name: float(np.median(values)) for name, values in taken.items()}


def add_floor(case: Case, flops: float, bandwidth: float) -> None:
    """The least time the staged request could take on this core."""
    if "item_bytes" in case:
        work = case["flops_per_request"] + case["flops_per_candidate"] * case["n"]
        case["floor_us"] = 1e6 * (work / flops + case["item_bytes"] * case["n"] / bandwidth)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="candidates of a request (T4)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each pair of variants")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pin_to_one_core()
    torch.set_num_threads(1)
    flops, bandwidth = measure_flops(), measure_bandwidth()
    header = make_header(options.seed) | {"ceiling_gflops": flops / 1e9, "ceiling_gb_per_s": bandwidth / 1e9}
    cases: list[Case] = []
    for workload in WORKLOADS:
        if workload.name in options.models:
            rng = np.random.default_rng(options.seed)
            with tempfile.TemporaryDirectory() as folder:
                subject = prepare(workload, Path(folder), rng)
                for size in options.sizes:
                    found = measure(subject, size, options.seconds, rng)
                    for case in found:
                        add_floor(case, flops, bandwidth)
                    cases += found
                    print_cases(found)
            write_json(options.json, header, cases)
    print_summary(header, cases)


def print_cases(found: list[Case]) -> None:
    """One line a size, while it runs."""
    staged, flat = found
    print(
        f"{staged['case']:>13} N={staged['n']:<5} staged {staged['p50_us']:9.0f} µs   flat {flat['p50_us']:9.0f} µs   "
        f"{staged['ratio_to_flat']:6.2f}x   network {staged['network_ratio_to_flat']:6.2f}x   "
        f"Python {staged['python_us']:4.0f} µs   floor {staged['floor_us']:8.0f} µs",
        flush=True,
    )


def print_summary(header: dict[str, Any], cases: list[Case]) -> None:
    """The whole result as a table."""
    rows = [
        [
            f"{c['case']} N={c['n']}",
            f"{c['p50_us']:,.0f}",
            f"{c['p50_us'] * c['ratio_to_flat']:,.0f}",
            f"{c['ratio_to_flat']:.2f}x",
            f"{c['network_ratio_to_flat']:.2f}x",
            f"{c['python_us']:.0f}",
            f"{c['floor_us']:,.0f}",
            f"{c['item_bytes']:,}",
            f"{c['items_per_s_core']:,.0f}",
        ]
        for c in cases
        if c["variant"] == "staged"
    ]
    columns = [
        "case",
        "staged µs",
        "flat µs",
        "ratio",
        "network",
        "Python µs",
        "floor µs",
        "bytes/item",
        "items/s/core",
    ]
    title = f"{header['machine']['cpu']}, one core, commit {header['commit']}"
    print_table(title, columns, rows)


if __name__ == "__main__":
    main()
