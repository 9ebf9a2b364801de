"""Servers side by side: the same models, the same generator, one run; then overload and a swap of versions.

Each server has core 0 and the generator another one. For each set-up and wire:

- `c1` and `capacity`: closed loops of 1 connection, and of 64 (A) or 8 (B, C).
- `load_70`: an open loop with Poisson arrivals at 70 % of that server's capacity.
- `overload`: twice the capacity, each request with a deadline; goodput is what was answered within it.
- `swap`: a new version takes the place of the old one under 70 % load.

`requests_per_cpu_s` is requests by seconds of the server's processes on the processor: lost time slices do not count.
The peer is FastAPI with ONNX Runtime, where it is importable (`--peer-python` names another interpreter).
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from results import Case, make_header, print_table, write_json
from serving_load import Outcome, Target, make_target, run_closed, run_open
from serving_models import SetUp, build_models, make_set_up

SET_UPS: Final = (("a", 3), ("b", 500), ("c", 100), ("c", 500))
PROGRAM: Final = "from recserve.cli import main; main()"
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        name: of the product.
        pid: of its first process.
        addresses: wire → `http://host:port`.
    """

    name: str
    pid: int
    addresses: dict[str, str]

    def target(self, set_up: SetUp, wire: str, headers: dict[str, str] | None = None) -> Target:
        """The request of a set-up on a wire."""
        address = self.addresses[wire]
        if self.name != "recserve":
            path = f"/{set_up.name}/json" if wire == "json" else f"/{set_up.name}/raw/{set_up.rows}"
            return make_target(address, path, set_up.as_json() if wire == "json" else set_up.as_raw(), headers)
        if wire == "json":
            return make_target(address, f"/v1/models/{set_up.name}:predict", set_up.as_json(), headers)
        body, more = set_up.as_open_inference()
        return make_target(address, f"/v2/models/{set_up.name}/infer", body, more | (headers or {}))

    def processes(self) -> list[int]:
        """Its process ids."""
        found, queue = [], [self.pid]
        while queue:
            found.append(pid := queue.pop())
            children = Path(f"/proc/{pid}/task/{pid}/children")
            queue += [int(child) for child in children.read_text().split()] if children.exists() else []
        return found

    def cpu_s(self) -> float:
        """Seconds that its processes have had on the processor."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.processes()]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / _TICKS

    def rss_mb(self) -> float:
        """Resident memory of its processes."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def on_core(core: int) -> Any:
    """What a server's process does first: keep to a core."""
    return lambda: os.sched_setaffinity(0, {core})


@contextmanager
def serve_recserve(models: Path, *options: str) -> Iterator[Server]:
    """`recserve serve` with one port a wire."""
    ports = ("--dialect", "tfs:0", "--dialect", "oip:0", "--max-body-bytes", str(256 << 20))
    command = [sys.executable, "-c", PROGRAM, "serve", str(models), *ports, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(  # noqa: S603 - ours
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=on_core(0),  # noqa: PLW1509
    ) as process:
        if process.stdout is None:
            raise RuntimeError("there is no output to read")
        lines = [process.stdout.readline().split() for _ in range(2)]
        try:
            yield Server("recserve", process.pid, {"json": lines[0][-1], "binary": lines[1][-1]})
        finally:
            process.terminate()


@contextmanager
def serve_peer(models: Path, python: str) -> Iterator[Server]:
    """FastAPI with ONNX Runtime."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python, str(Path(__file__).with_name("serving_peer.py")), str(models), str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, preexec_fn=on_core(0)) as process:  # noqa: PLW1509, S603 - ours
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for_port(port)
            yield Server("fastapi", process.pid, {"json": address, "binary": address})
        finally:
            process.terminate()


def wait_for_port(port: int, seconds: float = 60) -> None:
    """Wait until something listens."""
    end_s = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.05)
        else:
            return


def has_peer(python: str) -> bool:
    """Whether that interpreter has what the peer needs."""
    command = [python, "-c", "import fastapi, uvicorn, onnxruntime"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - ours
    return done.returncode == 0


def describe(server: Server, set_up: SetUp, kind: tuple[str, str], outcome: Outcome, cpu_s: float) -> Case:
    """A result as the file has it; `kind` is (wire, traffic)."""
    wire, traffic = kind
    good = int(outcome.good().sum())
    return {
        "case": set_up.name,
        "variant": f"{server.name} {wire}",
        "traffic": traffic,
        "n": set_up.rows,
        "requests": len(outcome.status),
        "not_200": len(outcome.status) - good,
        "requests_per_s": round(good / outcome.seconds, 1),
        "requests_per_cpu_s": round(good / cpu_s, 1) if cpu_s else None,
        "items_per_s_core": round(good * set_up.rows / cpu_s, 0) if cpu_s else None,
        **outcome.percentiles_us(),
        "peak_rss_mb": round(server.rss_mb(), 1),
    }


def measure(server: Server, set_up: SetUp, wire: str, seconds: float, seed: int) -> list[Case]:
    """Closed loops and the open one at 70 %."""
    target = server.target(set_up, wire)
    run_closed(target, 1, seconds / 4)  # warm
    cases = []
    rate = 0.0
    for traffic in ("c1", "capacity", "load_70"):
        before_s = server.cpu_s()
        if traffic == "load_70":
            outcome = run_open(target, 0.7 * rate, seconds, seed)
        else:
            outcome = run_closed(target, 1 if traffic == "c1" else (64 if set_up.name == "a" else 8), seconds)
        cases.append(describe(server, set_up, (wire, traffic), outcome, server.cpu_s() - before_s))
        rate = cases[-1]["requests_per_s"]
        if rate == 0:
            raise SystemExit(f"{server.name} {wire} {set_up.name}: nothing was answered 200: {set(outcome.status)}")
    return cases


def overload(server: Server, set_up: SetUp, seconds: float, seed: int, deadline_s: float) -> Case:
    """Twice the capacity for so long, then half of it until answers are quick again."""
    wire = "binary"
    plain = server.target(set_up, wire)
    capacity = run_closed(plain, 8, max(1.0, seconds / 6))
    rate = capacity.good().sum() / capacity.seconds
    usual_s = float(np.percentile(run_open(plain, rate / 2, max(1.0, seconds / 6), seed).latency_s, 99))
    timed = server.target(set_up, wire, {"X-Request-Timeout-Ms": str(int(deadline_s * 1e3))})
    before_s = server.cpu_s()
    outcome = run_open(timed, 2 * rate, seconds, seed, connections=64)
    case = describe(server, set_up, (wire, "overload_2x"), outcome, server.cpu_s() - before_s)
    after = run_open(plain, rate / 2, 3.0, seed + 1)
    slow = after.at_s[~after.good(2 * usual_s)]
    goodput = outcome.good(deadline_s).sum() / outcome.seconds
    return case | {
        "capacity_per_s": round(float(rate), 1),
        "goodput_ratio": round(float(goodput / rate), 3),
        "deadline_ms": deadline_s * 1e3,
        "recovery_s": round(float(slow.max()) if len(slow) else 0.0, 3),
    }


def swap(folder: Path, table_gb: float, seconds: float, seed: int) -> list[Case]:
    """A version with tables takes the place of another one under 70 % load."""
    from serving_swap import build_version, rank_body

    base = folder / "swap" / "rank"
    rows = max(1000, int(table_gb * 1e9 / 64))
    items = build_version(base / "1", rows, folder)
    options = ("--watch", "--poll", "0.2", "--settle", "0.5", "--items", str(items))
    with serve_recserve(base.parent, *options) as server:
        target = make_target(server.addresses["json"], "/v1/models/rank:rank", rank_body())
        capacity = run_closed(target, 4, max(1.0, seconds / 6))
        rate = 0.7 * capacity.good().sum() / capacity.seconds
        steady = run_open(target, rate, seconds, seed)
        rss_mb = server.rss_mb()
        build_version(folder / "next" / "2", rows, folder)
        shutil.move(folder / "next" / "2", base / "2")
        swapped = run_open(target, rate, seconds, seed + 1)
        address = server.addresses["json"]
        answer = httpx.post(f"{address}/v1/models/rank:rank", content=rank_body(), timeout=30).json()
        time.sleep(2)
        p99s = [float(np.percentile(run.latency_s, 99)) for run in (steady, swapped)]
        set_up = SetUp("swap", 100, {})
        before = describe(server, set_up, ("json", "steady_70"), steady, 0) | {"peak_rss_mb": round(rss_mb, 1)}
        after = describe(server, set_up, ("json", "swap_70"), swapped, 0)
        more = {
            "p99_ratio": round(p99s[1] / p99s[0], 2),
            "rss_ratio": round(after["peak_rss_mb"] / before["peak_rss_mb"], 3),
            "version": answer.get("model", {}).get("version"),
            "table_gb": table_gb,
        }
        return [before, after | more]


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
        more = {k: case[k] for k in ("goodput_ratio", "recovery_s", "p99_ratio", "rss_ratio", "version") if k in case}
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
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cases: list[Case] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = folder / "models"
        build_models(models)
        set_ups = [make_set_up(kind, rows) for kind, rows in SET_UPS if kind in options.only]
        servers: list[Any] = [lambda: serve_recserve(models)]
        if has_peer(options.peer_python):
            servers.append(lambda: serve_peer(models, options.peer_python))
        else:
            print(f"{options.peer_python} has no FastAPI: recserve is measured alone", file=sys.stderr)
        for start in servers:
            with start() as server:
                for set_up in set_ups:
                    for wire in ("json", "binary"):
                        cases += measure(server, set_up, wire, options.seconds, options.seed)
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


if __name__ == "__main__":
    main()
