"""One server on one wire: its scores, closed loops, the open loop at 70 % of capacity, and query sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from results import Case
from serving_load import Outcome, run_closed, run_open, wait_until_answered
from serving_servers import Server

SIZED: Final = "c"
"""The model that is asked with query sizes of real traffic."""
_NEAR: Final = 1e-4
"""A server in fp32 may differ by so much, by the largest score: sums are in another order."""
_FEW: Final = 40
"""Requests of which a P99 tells something."""


@dataclass(frozen=True)
class Pace:
    """How long runs last.

    Attributes:
        seconds: of each run.
        more: so many times as long are those of C, which answers few requests a second.
        seed: of arrivals and sizes.
    """

    seconds: float
    more: float = 2.0
    seed: int = 0

    def of(self, name: str) -> float:
        """Seconds of a run of a model."""
        return self.seconds * self.more if name == SIZED else self.seconds

    def of_open_loop(self, name: str, rate: float) -> float:
        """Seconds of an open loop: up to three times as many where they bring few requests."""
        return min(3 * self.of(name), max(self.of(name), _FEW / rate))


class Reference:
    """What the models answer, computed here.

    Args:
        models: where `serving_models.build_models` wrote them.
    """

    def __init__(self, models: Path) -> None:
        self._models = models
        self._known: dict[tuple[str, type, int], Any] = {}

    def difference(self, server: Server, set_up: Any, wire: str) -> float:
        """The largest |score - reference| of all rows, by the largest |reference|.

        Raises:
            OSError: the request was not answered, or the scores of an exact server are others.
        """
        key = (set_up.name, type(set_up), set_up.rows)
        if key not in self._known:
            path = self._models / set_up.name.partition("_")[0] / "1" / "model.onnx"
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            self._known[key] = session.run(None, dict(set_up.flat_inputs()))[0].ravel()
        expected, found = self._known[key], server.scores(set_up, wire)
        if found.shape != expected.shape:
            raise OSError(f"{server.name} {wire}, {set_up.name}: {found.size} scores for {expected.size} rows")
        difference = float(np.abs(found - expected).max() / np.abs(expected).max())
        if server.is_exact and not difference <= _NEAR:
            raise OSError(f"{server.name} {wire}, {set_up.name}: wrong scores, {difference:g} off")
        return difference


def measure(server: Server, set_up: Any, wire: str, pace: Pace, reference: Reference) -> list[Case]:
    """Closed loops and the open one at 70 %, once the answers are right."""
    target, seconds = server.target(set_up, wire), pace.of(set_up.name)
    wait_until_answered(target)
    difference = reference.difference(server, set_up, wire)
    run_closed(target, 1, min(1.0, seconds / 4))  # warm
    many = 64 if set_up.name == "a" else 8
    before = server.stages_s()
    cases = [run_case(server, set_up, (wire, "c1"), lambda: run_closed(target, 1, seconds))]
    cases[0] |= {"difference_to_reference": difference, **share_of_ends(before, server.stages_s())}
    if many > 8:
        cases.append(run_case(server, set_up, (wire, "c8"), lambda: run_closed(target, 8, seconds)))
    name = "capacity" if many > 8 else "c8"
    cases.append(run_case(server, set_up, (wire, name), lambda: run_closed(target, many, seconds)))
    rate = 0.7 * max(case["requests_per_s"] for case in cases)
    open_loop = partial(run_open, target, rate, pace.of_open_loop(set_up.name, rate), pace.seed)
    return [*cases, run_case(server, set_up, (wire, "load_70"), open_loop)]


def share_of_ends(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """`decode_encode_share` of the time that requests were worked on: reading a body that is there, and writing."""
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    worked = sum(spent.get(name, 0.0) for name in ("parse", "run", "encode"))
    ends = sum(spent.get(name, 0.0) for name in ("parse", "rank/decode", "encode"))
    return {"decode_encode_share": round(ends / worked, 4)} if worked else {}


def measure_sizes(server: Server, wire: str, pace: Pace) -> list[Case]:
    """Model C under queries of many sizes, at 70 % of the capacity that they leave."""
    cases, seconds = [], pace.of(SIZED)
    for traffic, sizes in draw_sizes(pace.seed).items():
        made = {rows: server.target(server.draw(SIZED, rows), wire) for rows in set(sizes)}
        targets = [made[rows] for rows in sizes]
        capacity = run_closed(targets, 8, seconds)
        rate = 0.7 * capacity.good().sum() / capacity.seconds
        set_up = server.draw(SIZED, int(np.mean(sizes)))
        open_loop = partial(run_open, targets, rate, pace.of_open_loop(SIZED, rate), pace.seed)
        cases.append(run_case(server, set_up, (wire, f"{traffic}_70"), open_loop))
    return cases


def draw_sizes(seed: int) -> dict[str, list[int]]:
    """Candidates of queries, by kind of traffic: MLPerf DLRM-v2's quantiles, and DeepRecSys' normal distribution."""
    t1 = [100] * 2 + [200] * 12 + [300] * 2 + [400, 500, 600, 700]
    t2 = np.clip(np.random.default_rng(seed).normal(165, 16, 20).round(), 1, 1024).astype(int).tolist()
    return {"t1": t1, "t2": t2}


def run_case(server: Server, set_up: Any, kind: tuple[str, str], run: Callable[[], Outcome]) -> Case:
    """A run and what the server spent on it.

    Raises:
        OSError: nothing was answered 200.
    """
    before_s = server.cpu_s()
    outcome = run()
    case = describe(server, set_up, kind, outcome, server.cpu_s() - before_s)
    if not outcome.good().any():
        raise OSError(f"{server.name} {kind} {set_up.name}: nothing was answered 200: {set(outcome.status)}")
    return case


def describe(server: Server, set_up: Any, kind: tuple[str, str], outcome: Outcome, cpu_s: float) -> Case:
    """A result as the file has it; `kind` is (wire, traffic)."""
    wire, traffic = kind
    is_good = outcome.good()
    good = int(is_good.sum())
    rows = int(outcome.rows[is_good].sum())
    return {
        "case": set_up.name,
        "variant": f"{server.name} {wire}",
        "traffic": traffic,
        "n": set_up.rows,
        "requests": len(outcome.status),
        "not_200": len(outcome.status) - good,
        "requests_per_s": round(good / outcome.seconds, 1),
        "requests_per_cpu_s": round(good / cpu_s, 1) if cpu_s else None,
        "items_per_s_core": round(rows / cpu_s, 0) if cpu_s else None,
        **outcome.percentiles_us(),
        "peak_rss_mb": round(server.rss_mb(), 1),
    }
