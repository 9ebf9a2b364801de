"""A long run of everything at once: all wires, new versions, canaries, killed workers and bad clients.

The model multiplies by its own version number, so that each answer tells who made it: an answer whose rows disagree,
or that names another version than its factor, was made by two, and one whose factor is no version is wrong. Either
makes the run fail. Requests that were on their way to a killed worker are lost; they are counted by kind, and nothing
is retried.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from recserve.client import CallFailedError, Client, Retries
from results import make_header, print_table, write_json

PROGRAM: Final = "from recserve.cli import main; main()"
MODEL: Final = "m"
_X: Final = np.arange(1, 65, dtype=np.float32)


@dataclass
class Ledger:
    """What was seen, by all threads."""

    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    def take(self, wire: str, values: np.ndarray[Any, Any], version: int | None, published: set[int]) -> None:
        """Count an answer, and hold it against its version."""
        self.answers[wire] += 1
        factors = {float(factor) for factor in values / _X}
        if len(factors) > 1:
            self.mixed.append(f"{wire}: factors {sorted(factors)[:3]}")
        elif len(values) != len(_X) or (factor := factors.pop()) not in published:
            self.wrong.append(f"{wire}: {values[:3]}")
        elif version is not None and version != factor:
            self.mixed.append(f"{wire}: version {version} said what {factor} says")


def write_version(base: Path, version: int) -> None:
    """A model that multiplies by its version, moved into place whole."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "y"))
    factor = numpy_helper.from_array(np.float32(version), "factor")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "factor"], ["y"])], "g", [x], [y], [factor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    making = base.parent / "making"
    making.mkdir(parents=True, exist_ok=True)
    (making / "model.onnx").write_bytes(model.SerializeToString())
    base.mkdir(parents=True, exist_ok=True)
    making.rename(base / str(version))


class Soak:
    """One run.

    Args:
        folder: for models, configuration and state.
        seconds: how long.
        workers: processes of the server.
        seed: of what is drawn.
    """

    def __init__(self, folder: Path, seconds: float, workers: int, seed: int) -> None:
        self.ledger = Ledger()
        self._base = folder / "models" / MODEL
        self._published = {1, 2}
        for version in sorted(self._published):
            write_version(self._base, version)
        config = folder / "models.config"
        policy = "model_version_policy { latest { num_versions: 2 } }"
        entry = f'name: "{MODEL}" base_path: "{self._base}" model_platform: "tensorflow" {policy}'
        config.write_text(f"model_config_list {{ config {{ {entry} }} }}\n")
        self._command = [sys.executable, "-c", PROGRAM, "serve", "--model-config-file", str(config), "--poll", "0.2"]
        self._command += ["--settle", "0.2", "--workers", str(workers), "--state-dir", str(folder / "state")]
        for dialect in ("tfs", "oip", "grpc", "admin"):
            self._command += ["--dialect", f"{dialect}:0"]
        self._seconds, self._workers = seconds, workers
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._addresses: dict[str, str] = {}

    def run(self) -> Ledger:
        """Run it."""
        with subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
            if process.stdout is None:
                raise RuntimeError("there is no output to read")
            for _ in range(4):
                words = process.stdout.readline().split()
                self._addresses[words[1]] = words[-1]
            rest, inference, grpc = (self._addresses[name] for name in ("tfs", "oip", "grpc"))
            jobs: list[Callable[[], None]] = [
                lambda: self._ask("rest predict", rest, "predict"),
                lambda: self._ask("rest infer", inference, "infer"),
                lambda: self._ask("grpc predict", f"grpc://{grpc}", "predict"),
                lambda: self._ask("grpc infer", f"grpc://{grpc}", "infer"),
                lambda: self._every(3.0, self._swap),
                lambda: self._every(4.0, self._move_canary),
                lambda: self._every(0.3, self._misbehave),
                lambda: self._every(1.0, lambda: self.ledger.rss_mb.append(rss_mb(process.pid))),
            ]
            if self._workers > 1:
                jobs.append(lambda: self._every(7.0, lambda: self._kill(process.pid)))
            threads = [threading.Thread(target=job, daemon=True) for job in jobs]
            for thread in threads:
                thread.start()
            self._over.wait(self._seconds)
            self._over.set()
            for thread in threads:
                thread.join(15)
            process.send_signal(signal.SIGTERM)
            self.ledger.events["exit code"] = process.wait(60)
        return self.ledger

    def _every(self, seconds: float, act: Callable[[], object]) -> None:
        while not self._over.wait(seconds):
            act()

    def _ask(self, wire: str, url: str, method: str) -> None:
        with Client(url, timeout_s=10, retries=Retries(attempts=1)) as client:
            while not self._over.is_set():
                try:
                    answer = getattr(client, method)(MODEL, {"x": _X})
                except CallFailedError as error:
                    self.ledger.errors[f"{wire}: {error.status}"] += 1
                    time.sleep(0.05)
                    continue
                version = answer.version if method == "infer" or wire.startswith("grpc") else None
                self.ledger.take(wire, np.asarray(next(iter(answer.outputs.values()))), version, self._published)
                time.sleep(0.002)

    def _swap(self) -> None:
        version = max(self._published) + 1
        self._published.add(version)
        write_version(self._base, version)
        for old in range(1, version - 5):
            shutil.rmtree(self._base / str(old), ignore_errors=True)
        self.ledger.events["swaps"] += 1

    def _move_canary(self) -> None:
        address = self._addresses["admin"]
        try:
            rows = httpx.get(f"{address}/versions", timeout=10).json()
            available = sorted(find_available(rows))
            document = {"stable": available[0], "canary": available[-1], "canary_bp": self._random.randrange(10_001)}
            answer = httpx.put(f"{address}/rollouts/{MODEL}", json=document, timeout=10)
            self.ledger.events[f"canary {answer.status_code}"] += 1
            if not self._over.wait(1.0):
                verb = self._random.choice(["promote", "roll_back"])
                answer = httpx.post(f"{address}/rollouts/{MODEL}/{verb}", timeout=10)
                self.ledger.events[f"{verb} {answer.status_code}"] += 1
            httpx.delete(f"{address}/rollouts/{MODEL}", timeout=10)
        except (httpx.HTTPError, IndexError) as error:
            self.ledger.events[f"canary {type(error).__name__}"] += 1

    def _misbehave(self) -> None:
        """A client that sends garbage, half a request, or a body that never ends."""
        host, _, port = self._addresses[self._random.choice(["tfs", "oip"])].removeprefix("http://").rpartition(":")
        kind = self._random.choice(["garbage", "half-open", "slow"])
        try:
            with socket.create_connection((host, int(port)), timeout=5) as client:
                if kind == "garbage":
                    client.sendall(self._random.randbytes(400))
                else:
                    client.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n")
                if kind == "slow":
                    client.sendall(b"Content-Length: 1000\r\n\r\n")
                    for _ in range(5):
                        client.sendall(b"{")
                        time.sleep(0.02)
            self.ledger.events[f"bad client, {kind}"] += 1
        except OSError:
            self.ledger.events["bad client, cut off"] += 1

    def _kill(self, supervisor: int) -> None:
        workers = [pid for pid in children_of(supervisor) if is_worker(pid)]
        if workers:
            os.kill(self._random.choice(workers), signal.SIGKILL)
            self.ledger.events["kills"] += 1


def find_available(document: Any) -> list[int]:
    """The versions of the model that are served, in whatever lists a document has."""
    if isinstance(document, dict):
        state = str(document.get("state", "")).lower()
        if "version" in document and state in ("available", "ready"):
            return [int(document["version"])]
        return [version for value in document.values() for version in find_available(value)]
    return [version for value in document for version in find_available(value)] if isinstance(document, list) else []


def children_of(pid: int) -> list[int]:
    """Process ids of the children."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def is_worker(pid: int) -> bool:
    """Whether a child of the supervisor serves."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and b"spawn_main" in path.read_bytes()


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    total = 0
    for one in (pid, *children_of(pid)):
        path = Path(f"/proc/{one}/statm")
        if path.exists():
            total += int(path.read_text().split()[1])
    return round(total * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def main() -> None:
    """Run and print; write the file where one is named; exit 1 where an answer was wrong or mixed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Soak(Path(folder), options.minutes * 60, options.workers, options.seed).run()
    counts = {**ledger.answers, **ledger.errors, **ledger.events}
    rows = [[name, f"{count:,}"] for name, count in counts.items()]
    rows += [["wrong answers", str(len(ledger.wrong))], ["mixed versions", str(len(ledger.mixed))]]
    rss = ledger.rss_mb or [0.0]
    rows += [[f"RSS MB {when}", f"{value:,.0f}"] for when, value in (("first", rss[0]), ("last", rss[-1]))]
    rows.append(["RSS MB highest", f"{max(rss):,.0f}"])
    print_table("Soak", ("what", "count"), rows)
    for line in (ledger.wrong + ledger.mixed)[:20]:
        print(line)
    case = {
        "case": "soak",
        "variant": f"{options.workers} workers",
        "minutes": options.minutes,
        "answers": dict(ledger.answers),
        "errors": dict(ledger.errors),
        "events": dict(ledger.events),
        "wrong": len(ledger.wrong),
        "mixed": len(ledger.mixed),
        "rss_mb": ledger.rss_mb,
    }
    write_json(options.json, make_header(options.seed), [case])
    if ledger.wrong or ledger.mixed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
