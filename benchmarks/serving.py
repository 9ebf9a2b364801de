"""Servers side by side: the same models, the same generator, one run; then overload and a swap of versions.

Each server has core 0 and the generator another one. For each set-up and wire:

- `c1` and `capacity`: closed loops of 1 connection, and of 64 (A) or 8 (B, C).
- `load_70`: an open loop with Poisson arrivals at 70 % of that server's capacity.
- `t1_70`, `t2_70`: the same on C with query sizes of MLPerf DLRM-v2 (100 to 700) and of DeepRecSys (normal(165, 16)).
- `overload_2x`: twice the capacity, each request with a deadline; goodput is what was answered within it.
- `swap_70`: a new version takes the place of the old one under 70 % load.

`requests_per_cpu_s` is requests by seconds of the server's processes on the processor: lost time slices do not count.
Capacity is measured before and after an overload, and the mean of both is what goodput is held against: a machine that
others use is not the same a minute later.

`--peers fastapi,litserve,...` measures other servers beside: each gets an environment of its own below `--peer-cache`,
from `peers/requirements-<name>.txt`; what cannot be installed or does not start is skipped with a message.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from results import Case, make_header, print_table, write_json
from serving_load import Outcome, Targets, make_target, run_closed, run_open, wait_until_answered
from serving_models import SetUp, build_models, make_set_up, rank_body
from serving_servers import KNOWN_PEERS, Server, prepare_peer, serve_peer, serve_recserve

SET_UPS: Final = (("a", 3), ("b", 500), ("c", 100), ("c", 500))
CACHE: Final = Path.home() / ".cache" / "recserve" / "peers"
_MORE: Final = ("goodput_ratio", "goodput_ratio_by_cpu", "recovery_s", "p99_ratio", "rss_ratio", "version")
Start = Callable[[], AbstractContextManager[Server]]


def describe(server: Server, set_up: SetUp, kind: tuple[str, str], outcome: Outcome, cpu_s: float) -> Case:
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


def measure(server: Server, set_up: SetUp, wire: str, seconds: float, seed: int) -> list[Case]:
    """Closed loops and the open one at 70 %."""
    target = server.target(set_up, wire)
    wait_until_answered(target)
    run_closed(target, 1, seconds / 4)  # warm
    many = 64 if set_up.name == "a" else 8
    cases = [run_case(server, set_up, (wire, "c1"), lambda: run_closed(target, 1, seconds))]
    cases.append(run_case(server, set_up, (wire, "capacity"), lambda: run_closed(target, many, seconds)))
    rate = 0.7 * cases[-1]["requests_per_s"]
    return [*cases, run_case(server, set_up, (wire, "load_70"), lambda: run_open(target, rate, seconds, seed))]


def measure_sizes(server: Server, wire: str, seconds: float, seed: int) -> list[Case]:
    """Model C under queries of many sizes, at 70 % of the capacity that they leave."""
    cases = []
    for traffic, sizes in draw_sizes(seed).items():
        made = {rows: server.target(make_set_up("c", rows), wire) for rows in set(sizes)}
        targets = [made[rows] for rows in sizes]
        capacity = run_closed(targets, 8, seconds)
        rate = 0.7 * capacity.good().sum() / capacity.seconds
        set_up = make_set_up("c", int(np.mean(sizes)))
        cases.append(run_case(server, set_up, (wire, f"{traffic}_70"), partial(run_open, targets, rate, seconds, seed)))
    return cases


def draw_sizes(seed: int) -> dict[str, list[int]]:
    """Candidates of queries, by kind of traffic: MLPerf DLRM-v2's quantiles, and DeepRecSys' normal distribution."""
    t1 = [100] * 2 + [200] * 12 + [300] * 2 + [400, 500, 600, 700]
    t2 = np.clip(np.random.default_rng(seed).normal(165, 16, 20).round(), 1, 1024).astype(int).tolist()
    return {"t1": t1, "t2": t2}


def run_case(server: Server, set_up: SetUp, kind: tuple[str, str], run: Callable[[], Outcome]) -> Case:
    """A run and what the server spent on it."""
    before_s = server.cpu_s()
    outcome = run()
    case = describe(server, set_up, kind, outcome, server.cpu_s() - before_s)
    if not outcome.good().any():
        raise SystemExit(f"{server.name} {kind} {set_up.name}: nothing was answered 200: {set(outcome.status)}")
    return case


def capacity_of(server: Server, target: Targets, seconds: float) -> tuple[float, float]:
    """Good answers a second of the best closed loop, and the same by second on the processor."""
    best = (0.0, 0.0)
    for connections in (2, 8, 32):
        before_s = server.cpu_s()
        outcome = run_closed(target, connections, seconds / 3)
        good = float(outcome.good().sum())
        best = max(best, (good / outcome.seconds, good / max(server.cpu_s() - before_s, 1e-9)))
    return best


def overload(server: Server, set_up: SetUp, seconds: float, seed: int, deadline_s: float) -> Case:
    """Twice the capacity for so long, then half of it until answers are quick again."""
    wire = "binary"
    plain = server.target(set_up, wire)
    probe_s = max(1.0, seconds / 6)
    capacity = capacity_of(server, plain, probe_s)
    usual = run_open(plain, capacity[0] / 2, probe_s, seed)
    usual_s = float(np.percentile(usual.latency_s, 99))
    timed = server.target(set_up, wire, {"X-Request-Timeout-Ms": str(int(deadline_s * 1e3))})
    before_s = server.cpu_s()
    outcome = run_open(timed, 2 * capacity[0], seconds, seed, connections=64)
    spent_s = server.cpu_s() - before_s
    case = describe(server, set_up, (wire, "overload_2x"), outcome, spent_s)
    after = run_open(plain, capacity[0] / 2, max(1.0, min(3.0, seconds)), seed + 1)
    slow = after.at_s[~after.good(2 * usual_s)]
    later = capacity_of(server, plain, probe_s)
    mean, mean_by_cpu = np.mean([capacity, later], axis=0)
    in_time = float(outcome.good(deadline_s).sum())
    return case | {
        "capacity_per_s": round(float(mean), 1),
        "capacity_before_after": [round(capacity[0], 1), round(later[0], 1)],
        "goodput_ratio": round(in_time / outcome.seconds / mean, 3),
        "goodput_ratio_by_cpu": round(in_time / spent_s / mean_by_cpu, 3),
        "deadline_ms": deadline_s * 1e3,
        "recovery_s": round(float(slow.max()) if len(slow) else 0.0, 3),
    }


def swap(folder: Path, table_gb: float, seconds: float, seed: int) -> list[Case]:
    """A version with tables takes the place of another one under 70 % load."""
    from serving_swap import build_version  # its libraries are a trainer's

    base = folder / "swap" / "rank"
    rows = max(1000, int(table_gb * 1e9 / 64))
    items = build_version(base / "1", rows, folder)
    options = ("--watch", "--poll", "0.2", "--settle", "0.5", "--items", str(items))
    with serve_recserve(base.parent, *options) as server:
        target = make_target(server.addresses["json"], "/v1/models/rank:rank", rank_body())
        run_closed(target, 1, 0.5)  # warm
        capacity = run_closed(target, 4, max(1.0, seconds / 6))
        rate = 0.7 * capacity.good().sum() / capacity.seconds
        steady = run_open(target, rate, seconds, seed)
        rss_mb = server.rss_mb()
        build_version(folder / "next" / "2", rows, folder)
        shutil.move(folder / "next" / "2", base / "2")
        swapped = run_open(target, rate, seconds, seed + 1)
        version = wait_for_version(server.addresses["json"], 2)
        run_open(target, rate / 2, 2.0, seed)  # the old version is closed and its memory given back
        p99s = [float(np.percentile(run.latency_s, 99)) for run in (steady, swapped)]
        set_up = SetUp("swap", 100, {})
        before = describe(server, set_up, ("json", "steady_70"), steady, 0) | {"peak_rss_mb": round(rss_mb, 1)}
        after = describe(server, set_up, ("json", "swap_70"), swapped, 0)
        more = {
            "p99_ratio": round(p99s[1] / p99s[0], 2),
            "rss_ratio": round(after["peak_rss_mb"] / before["peak_rss_mb"], 3),
            "version": version,
            "table_gb": table_gb,
        }
        return [before, after | more]


def wait_for_version(address: str, version: int, seconds: float = 120) -> int:
    """The version that answers, once it is this one; the last one seen where it does not come."""
    end_s = time.monotonic() + seconds
    while True:
        answer = httpx.post(f"{address}/v1/models/rank:rank", content=rank_body(), timeout=30).json()
        found = int(answer.get("model", {}).get("version", 0))
        if found == version or time.monotonic() > end_s:
            return found
        time.sleep(0.2)


def show(cases: list[Case]) -> None:
    """The results for people."""
    columns = ("variant", "case", "n", "traffic", "req/s", "req/cpu-s", "items/s/core", "p50 µs", "p99 µs", "not 200")
    keys = ("requests_per_s", "requests_per_cpu_s", "items_per_s_core", "p50_us", "p99_us", "not_200")
    rows = [
        [c["variant"], c["case"], str(c["n"]), c["traffic"]]
        + [f"{c[key]:,.0f}" if c.get(key) is not None else "" for key in keys]
        for c in cases
    ]
    print_table("Serving", columns, rows)
    for case in cases:
        more = {key: case[key] for key in _MORE if key in case}
        if len(more) > 1:
            print(case["traffic"], more)


def main() -> None:
    """Run and print; write the file where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run")
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--deadline-ms", type=float, default=100.0, help="of requests under overload")
    parser.add_argument(
        "--table-gb", type=float, default=5.0, help="size of the tables of the version swap; 0 for none"
    )
    parser.add_argument("--only", default="abc", help="set-ups, such as ab")
    parser.add_argument("--peers", default="", help=f"of {', '.join(KNOWN_PEERS)}, or all; with commas between them")
    parser.add_argument("--peer-cache", type=Path, default=CACHE, help="folder of the peers' environments")
    parser.add_argument("--wires", default="json,binary,grpc", help="those to measure, where a server has them")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cases: list[Case] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = folder / "models"
        build_models(models)
        for product, start in list_servers(models, options.peers, options.peer_cache):
            try:
                with start() as server:
                    cases += measure_all(server, options)
            except (OSError, SystemExit) as error:
                if product == "recserve":
                    raise
                log = models.parent / f"{product}.log"
                last = log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
                print(f"{product} is left out: {error}", *last, sep="\n  ", file=sys.stderr)
        if options.overload_seconds:
            with serve_recserve(models) as server:
                deadline_s = options.deadline_ms / 1e3
                cases.append(
                    overload(server, make_set_up("b", 500), options.overload_seconds, options.seed, deadline_s)
                )
        if options.table_gb:
            cases += swap(folder, options.table_gb, options.seconds * 2, options.seed)
    show(cases)
    write_json(options.json, make_header(options.seed), cases)


def list_servers(models: Path, peers: str, cache: Path) -> list[tuple[str, Start]]:
    """Name and start of each server that can be measured."""
    servers: list[tuple[str, Start]] = [("recserve", partial(serve_recserve, models))]
    wanted: Sequence[str] = list(KNOWN_PEERS) if peers == "all" else [name for name in peers.split(",") if name]
    for name in wanted:
        if name not in KNOWN_PEERS:
            raise SystemExit(f"there is no peer {name!r}; there are {', '.join(KNOWN_PEERS)}")
        python = prepare_peer(name, cache)
        if isinstance(python, Path):
            servers.append((name, partial(serve_peer, name, python, models)))
        else:
            print(python, file=sys.stderr)
    return servers


def measure_all(server: Server, options: argparse.Namespace) -> list[Case]:
    """Every set-up on every wire of a server."""
    cases = []
    set_ups = [make_set_up(kind, rows) for kind, rows in SET_UPS if kind in options.only]
    for wire in (wire for wire in server.wires if wire in options.wires.split(",")):
        for set_up in set_ups:
            cases += measure(server, set_up, wire, options.seconds, options.seed)
        if "c" in options.only and wire == "binary":
            cases += measure_sizes(server, wire, options.seconds, options.seed)
    return cases


if __name__ == "__main__":
    main()
