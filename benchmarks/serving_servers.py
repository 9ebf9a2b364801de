"""The servers of the serving benchmark: recserve, and the peers that could be installed, each pinned to core 0."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from serving_load import Target
from serving_models import Array, make_set_up
from serving_rankers import make_rank_task
from serving_wires import (
    INFER,
    PREDICT,
    RANK,
    Wire,
    ask,
    call,
    post,
    read_columns,
    read_floats,
    read_infer,
    read_list,
    read_open_inference,
    read_predict,
    read_rank_call,
    read_ranked,
)

PROGRAM: Final = "from recserve.cli import main; main()"
PEERS: Final = Path(__file__).with_name("peers")
_STAGE: Final = re.compile(r'recserve_stage_duration_seconds_sum\{.*stage="([^"]*)"\} (\S+)')
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Peer:
    """A server to compare with.

    Attributes:
        wires: by name.
        environment: name of its environment and script; None where it is the peer's own name.
        options: of the script, behind its ports.
        python: the interpreter that its environment is made of; None for the one that runs this.
        ports: how many the script takes: HTTP, then gRPC.
        starts_in_s: seconds that it may take until it answers.
        is_tall: its tensors have at least two axes.
    """

    wires: dict[str, Wire]
    environment: str | None = None
    options: tuple[str, ...] = ()
    python: str | None = None
    ports: int = 1
    starts_in_s: float = 90
    is_tall: bool = False


_V2: Final = "/v2/models/{name}/infer"
_OF_TORCH: Final = "/predictions/{name}"
_RAW: Final = post("/{name}/raw/{rows}", "as_raw", read_floats)
_COLUMNS: Final = post("/{name}/json", "as_json", read_columns)
_V2_JSON: Final = post(_V2, "as_open_inference_json", read_open_inference)
_V2_BINARY: Final = post(_V2, "as_open_inference", read_open_inference)
_V2_GRPC: Final = call(INFER, "as_infer", read_infer)
KNOWN_PEERS: Final = {
    "fastapi": Peer({"json": _COLUMNS, "binary": _RAW}),
    "litserve": Peer({"json": _COLUMNS, "binary": post("/{name}/multipart", "as_multipart", read_floats)}),
    "mlserver": Peer({"json": _V2_JSON, "grpc": _V2_GRPC}, ports=2),
    "mlserver-worker": Peer({"json": _V2_JSON, "grpc": _V2_GRPC}, "mlserver", ("--parallel-workers=1",), ports=2),
    "bentoml": Peer(
        {"json": post("/{name}_json", "as_json", read_columns), "binary": post("/{name}_raw", "as_octets", read_list)}
    ),
    "rayserve": Peer({"json": _COLUMNS, "binary": _RAW}),
    "torchserve": Peer(
        {"json": post(_OF_TORCH, "as_json", read_columns), "binary": post(_OF_TORCH, "as_octets", read_floats)}, ports=3
    ),
    "pytriton": Peer(
        {"json": _V2_JSON, "binary": _V2_BINARY, "grpc": _V2_GRPC},
        python="/usr/bin/python3.11",  # its own Python stub does not start under newer builds of 3.11
        ports=2,
        is_tall=True,
    ),
}
_RECSERVE: Final = {
    "json": post("/v1/models/{name}:predict", "as_json", read_columns),
    "binary": _V2_BINARY,
    "grpc": _V2_GRPC,
    "predict-grpc": call(PREDICT, "as_predict", read_predict),
}
"""TensorFlow Serving's REST, Open Inference with its binary extension, its gRPC, and TensorFlow Serving's gRPC."""
SET_UPS: Final = (("a", 3), ("b", 500), ("c", 100), ("c", 500))
RANK_SET_UPS: Final = (("b", 500), ("b_sent", 500), ("c", 100), ("c", 500))


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        name: of the product.
        pid: of its first process.
        addresses: wire → `http://host:port`, or `host:port` for gRPC.
        wires: by name.
        is_tall: its tensors have at least two axes.
        set_ups: (model, rows) of what it is measured on.
        draw: makes a set-up of those.
        is_exact: it computes in fp32.
        metrics: where it tells the times of its stages; None where it does not.
    """

    name: str
    pid: int
    addresses: dict[str, str]
    wires: dict[str, Wire]
    is_tall: bool = False
    set_ups: tuple[tuple[str, int], ...] = SET_UPS
    draw: Callable[[str, int], Any] = make_set_up
    is_exact: bool = True
    metrics: str | None = None

    def target(self, set_up: Any, wire: str, headers: dict[str, str] | None = None) -> Target:
        """The request of a set-up on a wire."""
        shaped = set_up.tall() if self.is_tall else set_up
        return self.wires[wire].request(self.addresses[wire], shaped, headers or {})

    def scores(self, set_up: Any, wire: str) -> Array:
        """float32[rows]: what it answers to a set-up."""
        return self.wires[wire].read(ask(self.target(set_up, wire)), set_up)

    def stages_s(self) -> dict[str, float]:
        """Seconds that requests have spent in each stage so far; empty where the server does not tell."""
        if self.metrics is None:
            return {}
        spent: dict[str, float] = {}
        for line in httpx.get(self.metrics, timeout=30).text.splitlines():
            if found := _STAGE.match(line):
                spent[found[1]] = spent.get(found[1], 0.0) + float(found[2])
        return spent

    def processes(self) -> list[int]:
        """Its process ids."""
        found, queue = [], [self.pid]
        while queue:
            found.append(pid := queue.pop())
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):  # a thread that has just ended
                    queue += [int(child) for child in children.read_text().split()]
        return found

    def cpu_s(self) -> float:
        """Seconds that its processes have had on the processor."""
        total = 0
        for pid in self.processes():
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def rss_mb(self) -> float:
        """Resident memory of its processes."""
        pages = 0
        for pid in self.processes():
            with suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def on_core(core: int) -> Any:
    """What a server's process does first: keep to a core."""
    return lambda: os.sched_setaffinity(0, {core})


@contextmanager
def serve_recserve(models: Path, *options: str) -> Iterator[Server]:
    """`recserve serve` with one port a wire."""
    wires = {"json": "tfs", "binary": "oip", "grpc": "oip-grpc"}
    with start_recserve([str(models)], list(wires.values()), options) as (pid, found):
        addresses = dict(zip(wires, found, strict=True))
        addresses["predict-grpc"] = addresses["grpc"]
        metrics = addresses["json"] + "/monitoring/prometheus/metrics"
        yield Server("recserve", pid, addresses, dict(_RECSERVE), metrics=metrics)


@contextmanager
def serve_rankers(base: Path, names: Sequence[str], precision: str) -> Iterator[Server]:
    """`recserve serve` with rankers in stages, as `serving_rankers.build_rankers` wrote them.

    Args:
        base: where they are.
        names: of the models; those of another precision are left out.
        precision: of the network.
    """
    suffix = f"_{precision}"
    served = [name for name in names if name.endswith(suffix)]
    options = [f"--items={name}={base / name.removesuffix(suffix)}.parquet" for name in served]
    with start_recserve([str(base / name) for name in served], ["recserve", "grpc"], options) as (pid, (http, grpc)):
        wires = {
            "json": post(f"/v1/models/{{name}}{suffix}:rank", "as_json", read_ranked),
            "grpc": call(RANK, "as_grpc", read_rank_call, suffix),
        }
        kinds = {name.removesuffix(suffix) for name in served}
        yield Server(
            f"recserve :rank {precision}",
            pid,
            {"json": http, "grpc": grpc},
            wires,
            set_ups=tuple((kind, rows) for kind, rows in RANK_SET_UPS if kind in kinds),
            draw=make_rank_task,
            is_exact=precision == "fp32",
            metrics=http + "/metrics",
        )


@contextmanager
def start_recserve(
    models: Sequence[str], dialects: Sequence[str], options: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    """Process id and addresses of `recserve serve` on core 0."""
    ports = [word for dialect in dialects for word in ("--dialect", f"{dialect}:0")]
    command = [sys.executable, "-c", PROGRAM, "serve", *models, *ports, "--max-body-bytes", str(256 << 20), *options]
    with subprocess.Popen(  # noqa: S603 - ours
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=on_core(0),  # noqa: PLW1509
    ) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("there is no output to read")
            lines = [process.stdout.readline().split() for _ in dialects]
            if not all(lines):
                raise SystemExit("recserve did not start; see above")
            yield process.pid, [line[-1] for line in lines]
        finally:
            process.terminate()


@contextmanager
def serve_peer(name: str, python: Path, models: Path) -> Iterator[Server]:
    """A peer: `peers/serve_<name>.py MODELS PORT...` under the interpreter of its environment."""
    peer = KNOWN_PEERS[name]
    ports = free_ports(peer.ports)
    script = PEERS / f"serve_{peer.environment or name}.py"
    command = [str(python), str(script), str(models.absolute()), *map(str, ports), *peer.options]
    path = f"{python.parent}:{os.environ['PATH']}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path, "PYTHONUNBUFFERED": "1"}
    with (models.parent / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - ours
            command,
            env=environment,
            stdout=log,
            stderr=log,
            cwd=models.parent,
            preexec_fn=on_core(0),  # noqa: PLW1509
            start_new_session=True,
        )
        try:
            for port in ports[: 2 if "grpc" in peer.wires else 1]:
                wait_for_port(port, peer.starts_in_s)
            http = f"http://127.0.0.1:{ports[0]}"
            addresses = {wire: f"127.0.0.1:{ports[1]}" if wire == "grpc" else http for wire in peer.wires}
            yield Server(name, process.pid, addresses, peer.wires, peer.is_tall)
        finally:
            end_session(process)


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports


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


def prepare_peer(name: str, cache: Path) -> Path | str:
    """The interpreter of a peer's environment, made in the cache folder where it is not there; or why there is none."""
    name = KNOWN_PEERS[name].environment or name
    folder = cache / name
    python = folder / "bin" / "python"
    done = folder / "installed"
    requirements = PEERS / f"requirements-{name}.txt"
    if done.exists() and done.read_text() == requirements.read_text():
        return python
    base = KNOWN_PEERS[name].python or sys.executable
    if shutil.which(base) is None:
        return f"{name}: there is no {base}"
    print(f"Installing {name} in {folder} ...", file=sys.stderr)
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "-r", str(requirements)]
    for command in ([base, "-m", "venv", "--without-pip", str(folder)], install):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if ended.returncode:
            last = ended.stderr.strip().splitlines()[-1:] or ["no reason is told"]
            return f"{name} cannot be installed: {last[0]}"
    done.write_text(requirements.read_text())
    return python
