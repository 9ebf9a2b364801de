"""The slowest of many requests of mixed sizes: whether one of them meets a shape for the first time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from network_subjects import Array, Request, StagedNetwork, Subject
from recserve.network.engines import EngineChoice
from recserve.network.session import Session
from results import Case

T1_SIZES: Final = [100] * 2 + [200] * 12 + [300] * 2 + [400, 500, 600, 700]
"""MLPerf DLRM-v2's query sizes, each as likely; a request takes one of them and up to 50 candidates more or less."""
_JITTER: Final = 50
_BIN: Final = 50
_DRAWN: Final = 800


def measure_tail(subject: Subject, choice: EngineChoice | None, requests: int, seconds: float, seed: int) -> Case:
    """Time requests of mixed N, one after the other, after a warm-up as a server does it.

    Args:
        subject: the network.
        choice: how the candidate part runs; None: the network as exported, in ONNX Runtime.
        requests: how many, as far as the time goes.
        seconds: at most.
        seed: of sizes and inputs.

    Returns:
        Percentiles in µs; `tail_ratio`, P99.9 by the median; `cpu_tail_ratio`, the same in CPU time, which other
        processes do not disturb; `size_ratio`, what that would be if each request took the median of those of about as
        many candidates, so by sizes alone; `spike_ratio`, P99.9 of each CPU time by that median, which is what a shape
        that is new would show in; and `most_excess_us`, the most CPU time beyond it.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.choice(T1_SIZES, requests) + rng.integers(-_JITTER, _JITTER + 1, requests)
    request = subject.draw(_DRAWN, rng)
    run = _flat_run(subject, request) if choice is None else _staged_run(subject, request, choice)
    for size in (300, 300, 750):
        run(size)
    taken, spent = np.empty(requests), np.empty(requests)
    end = time.perf_counter() + seconds
    count = 0
    for size in sizes.tolist():
        start, cpu = time.perf_counter_ns(), time.process_time_ns()
        run(size)
        spent[count] = (time.process_time_ns() - cpu) / 1e3
        taken[count] = (time.perf_counter_ns() - start) / 1e3
        count += 1
        if time.perf_counter() > end:
            break
    name = "flat onnxruntime fp32" if choice is None else choice.label
    case: Case = {"case": subject.name, "variant": f"tail {name}", "traffic": "T1", "n": int(sizes.mean())}
    return case | summarise(sizes[:count], taken[:count], spent[:count])


def summarise(sizes: Array, taken: Array, spent: Array) -> Case:
    """The figures of one way.

    Args:
        sizes: candidates of each request.
        taken: its µs.
        spent: its µs of CPU time.
    """
    bins = sizes // _BIN
    medians = {int(b): float(np.median(spent[bins == b])) for b in np.unique(bins)}
    usual = np.array([medians[int(b)] for b in bins])
    p50, p99, p999 = (float(q) for q in np.quantile(taken, [0.5, 0.99, 0.999]))
    case: Case = {"p50_us": p50, "p99_us": p99, "p999_us": p999, "calls": len(sizes)}
    case |= {"us_per_candidate": float(taken.sum() / sizes.sum()), "tail_ratio": p999 / p50}
    case |= {"cpu_tail_ratio": float(np.quantile(spent, 0.999) / np.median(spent))}
    case |= {"size_ratio": float(np.quantile(usual, 0.999) / np.median(usual))}
    return case | {
        "spike_ratio": float(np.quantile(spent / usual, 0.999)),
        "most_excess_us": float((spent - usual).max()),
    }


def _flat_run(subject: Subject, request: Request) -> Callable[[int], object]:
    session, feeds = Session(subject.flat.to_bytes()), subject.tile(request)
    return lambda size: session.run({name: array[:size] for name, array in feeds.items()})


def _staged_run(subject: Subject, request: Request, choice: EngineChoice) -> Callable[[int], object]:
    staged = StagedNetwork(subject.split, choice)
    staged.runner.warm()
    stored, shared = staged.store(request)
    return lambda size: staged.run({name: array[:size] for name, array in stored.items()}, shared)
