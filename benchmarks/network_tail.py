"""The slowest of many requests of mixed sizes: whether one of them meets a shape for the first time."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from network_subjects import StagedNetwork, Subject
from recserve.network.engines import EngineChoice
from results import Case

T1_SIZES: Final = [100] * 2 + [200] * 12 + [300] * 2 + [400, 500, 600, 700]
"""MLPerf DLRM-v2's query sizes, each as likely; a request takes one of them and up to 50 candidates more or less."""
_JITTER: Final = 50
_BIN: Final = 50
_DRAWN: Final = 800


def measure_tail(subject: Subject, choice: EngineChoice, requests: int, seed: int) -> Case:
    """Time requests of mixed N, one after the other, after a warm-up as a server does it.

    Args:
        subject: the network.
        choice: how the candidate part runs.
        requests: how many.
        seed: of sizes and inputs.

    Returns:
        Percentiles in µs; `tail_ratio`, P99.9 by the median; `cpu_tail_ratio`, the same in CPU time, which other
        processes do not disturb; and `spike_ratio`, P99.9 of each CPU time by the median of requests of about as many
        candidates, which is what a shape that is new would show in.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.choice(T1_SIZES, requests) + rng.integers(-_JITTER, _JITTER + 1, requests)
    staged = StagedNetwork(subject.split, choice)
    staged.runner.warm()
    stored, shared = staged.store(subject.draw(_DRAWN, rng))
    staged.run({name: array[:300] for name, array in stored.items()}, shared)
    taken, spent = np.empty(requests), np.empty(requests)
    for at, size in enumerate(sizes.tolist()):
        candidates = {name: array[:size] for name, array in stored.items()}
        start, cpu = time.perf_counter_ns(), time.process_time_ns()
        staged.run(candidates, shared)
        spent[at] = (time.process_time_ns() - cpu) / 1e3
        taken[at] = (time.perf_counter_ns() - start) / 1e3
    bins = sizes // _BIN
    usual = {int(b): float(np.median(spent[bins == b])) for b in np.unique(bins)}
    against = spent / np.array([usual[int(b)] for b in bins])
    p50, p99, p999 = (float(q) for q in np.quantile(taken, [0.5, 0.99, 0.999]))
    case: Case = {"case": subject.name, "variant": f"tail {choice.label}", "traffic": "T1", "n": int(sizes.mean())}
    case |= {"p50_us": p50, "p99_us": p99, "p999_us": p999, "calls": requests, "us_per_candidate": p50 / sizes.mean()}
    case |= {"tail_ratio": p999 / p50, "spike_ratio": float(np.quantile(against, 0.999))}
    return case | {"cpu_tail_ratio": float(np.quantile(spent, 0.999) / np.median(spent))}
