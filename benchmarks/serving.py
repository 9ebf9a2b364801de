"""Servers side by side: the same models, the same generator, one run; then overload and a swap of versions.

Each server has core 0 and the generator another one. The parts of a run (`--parts`):

- `predict`: A, B and C as networks, on every wire (`json`: TensorFlow Serving's REST; `binary`, `grpc`: Open Inference;
  `predict-grpc`: TensorFlow Serving's gRPC): requests bring a row for each candidate.
- `rank`: B and C as rankers in stages, exact, bf16 and int8: requests bring the user and ids (another wire, which asks
  for the same scores; `serving_rankers.py` says what each request brings).
- `peers`: what `predict` does, on the servers of `--peers`.
- `overload`: twice the capacity, each request with a deadline; goodput is what was answered within it.
- `swap`: a new version takes the place of the old one under 70 % load.

For each server, wire and model, after its scores have been compared with ONNX Runtime's in full:

- `c1`, `c8`, `capacity`: closed loops of 1 and 8 connections, and of 64 for A.
- `load_70`: an open loop with Poisson arrivals at 70 % of that server's capacity.
- `t1_70`, `t2_70`: the same on C with query sizes of MLPerf DLRM-v2 (100 to 700) and of DeepRecSys (normal(165, 16)).

`requests_per_cpu_s` is requests by seconds of the server's processes on the processor: lost time slices do not count.
`decode_encode_share` is the share of reading the request and writing the answer of the time that it was worked on, as
recserve's own stage times tell it. Capacity is measured before and after an overload, and the mean of both is what
goodput is held against: a machine that others use is not the same a minute later.

`--peers fastapi,litserve,...` measures other servers beside: each gets an environment of its own below `--peer-cache`,
from `peers/requirements-<name>.txt`; what cannot be installed, does not start or answers wrong scores
is left out, told at the end, and the exit code is 1. A run can be
done in parts: `--merge` adds to the result file, `--resume` goes on where the last one was ended.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from results import Case, make_header
from serving_load import Targets, make_target, run_closed, run_open
from serving_models import SetUp, build_models, make_set_up, rank_body
from serving_rankers import PRECISIONS, build_rankers
from serving_results import Results
from serving_runs import SIZED, Pace, Reference, describe, measure, measure_sizes
from serving_servers import KNOWN_PEERS, Server, prepare_peer, serve_peer, serve_rankers, serve_recserve

PARTS: Final = ("predict", "rank", "peers", "overload", "swap")
WIRES: Final = ("json", "binary", "grpc", "predict-grpc")
CACHE: Final = Path.home() / ".cache" / "recserve" / "peers"
Start = Callable[[], AbstractContextManager[Server]]


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


def main() -> None:
    """Run and print; write the file where one is named."""
    options = read_options()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    results = Results(options.json, make_header(options.seed), keeps=options.merge or options.resume)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = options.models or folder
        build_models(base / "plain")
        reference = Reference(base / "plain")
        for product, start in list_servers(base, options, results):
            try:
                with start() as server:
                    measure_all(server, options, reference, results)
            except (OSError, SystemExit) as error:
                if product == "recserve":
                    raise
                log = base / f"{product}.log"
                last = log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
                results.fail("\n  ".join([f"{product}: {error}", *last]))
        if "overload" in options.parts and options.overload_seconds:
            with serve_recserve(base / "plain") as server:
                deadline_s = options.deadline_ms / 1e3
                set_up = make_set_up("b", 500)
                results.add([overload(server, set_up, options.overload_seconds, options.seed, deadline_s)])
        if "swap" in options.parts and options.table_gb:
            results.add(swap(folder, options.table_gb, options.seconds * 2, options.seed))
    results.show()
    if results.failures:
        raise SystemExit("\n".join(["", "Left out:", *results.failures]))


def read_options() -> argparse.Namespace:
    """Those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="result file; written after each step")
    parser.add_argument("--merge", action="store_true", help="keep what the file holds and this run does not measure")
    parser.add_argument("--resume", action="store_true", help="the same, and do not measure again what it holds")
    parser.add_argument("--parts", default=",".join(PARTS), help="those to run, with commas between them")
    parser.add_argument("--only", default="abc", help="set-ups, such as ab")
    parser.add_argument("--peers", default="", help=f"of {', '.join(KNOWN_PEERS)}, or all; with commas between them")
    parser.add_argument("--peer-cache", type=Path, default=CACHE, help="folder of the peers' environments")
    parser.add_argument("--wires", default=",".join(WIRES), help="those to measure, where a server has them")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="of the rankers")
    parser.add_argument("--models", type=Path, help="folder where the models are kept between runs")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run; those of C last twice as long")
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--deadline-ms", type=float, default=100.0, help="of requests under overload")
    parser.add_argument(
        "--table-gb", type=float, default=5.0, help="size of the tables of the version swap; 0 for none"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.peers = ",".join(KNOWN_PEERS) if options.peers == "all" else options.peers
    known_words = (("parts", PARTS), ("wires", WIRES), ("precisions", PRECISIONS), ("peers", tuple(KNOWN_PEERS)))
    for name, known in known_words:
        words = [word for word in getattr(options, name).split(",") if word]
        if unknown := sorted(set(words) - set(known)):
            parser.error(f"--{name}: there is no {unknown[0]!r}; there are {', '.join(known)}")
        setattr(options, name, tuple(words))
    return options


def list_servers(base: Path, options: argparse.Namespace, results: Results) -> Iterator[tuple[str, Start]]:
    """Name and start of each server that is to be measured; what it needs is built first."""
    if "predict" in options.parts:
        yield "recserve", partial(serve_recserve, base / "plain")
    if "rank" in options.parts:
        names = build_rankers(base / "rankers", options.only, options.precisions)
        for precision in options.precisions if names else ():
            yield "recserve", partial(serve_rankers, base / "rankers", names, precision)
    for name in options.peers if "peers" in options.parts else ():
        python = prepare_peer(name, options.peer_cache)
        if isinstance(python, Path):
            yield name, partial(serve_peer, name, python, base / "plain")
        else:
            results.fail(python)


def measure_all(server: Server, options: argparse.Namespace, reference: Reference, results: Results) -> None:
    """Every set-up on every wire of a server; what cannot be measured is told, and the next one follows."""
    pace = Pace(options.seconds, seed=options.seed)

    def step(variant: str, what: str, run: Callable[[], list[Case]]) -> None:
        print(f"{variant}, {what} ...", file=sys.stderr)
        try:
            results.add(run())
        except OSError as error:
            results.fail(f"{variant}, {what}: {error}")

    for wire in (wire for wire in server.wires if wire in options.wires):
        variant = f"{server.name} {wire}"
        for kind, rows in server.set_ups:
            if kind[0] in options.only and not (options.resume and results.has(kind, variant, "load_70", rows)):
                set_up = server.draw(kind, rows)
                step(variant, f"{kind} {rows}", partial(measure, server, set_up, wire, pace, reference))
        is_sized = SIZED in options.only and (wire == "binary" or server.draw is not make_set_up)
        if is_sized and not (options.resume and results.has(SIZED, variant, "t2_70")):
            step(variant, "sizes", partial(measure_sizes, server, wire, pace))


if __name__ == "__main__":
    main()
