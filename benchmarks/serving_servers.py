"""The servers of the serving benchmark: recserve, and the peers that could be installed, each pinned to core 0."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from serving_load import Target, make_call, make_target
from serving_models import SetUp

PROGRAM: Final = "from recserve.cli import main; main()"
PEERS: Final = Path(__file__).with_name("peers")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
Request = Callable[[str, SetUp, dict[str, str]], Target]


def _post(path: str, form: str) -> Request:
    """A request of a set-up: `path` has `{name}` and `{rows}`, `form` names the method of `SetUp` for the body."""

    def make(address: str, set_up: SetUp, headers: dict[str, str]) -> Target:
        body = getattr(set_up, form)()
        content, own = body if isinstance(body, tuple) else (body, {"Content-Type": "application/json"})
        where = path.format(name=set_up.name, rows=set_up.rows)
        return make_target(address, where, content, own | headers, set_up.rows)

    return make


def _infer_call(address: str, set_up: SetUp, headers: dict[str, str]) -> Target:  # noqa: ARG001 - gRPC has none of them
    return make_call(address, _INFER, set_up.as_grpc(), set_up.rows)


@dataclass(frozen=True)
class Peer:
    """A server to compare with.

    Attributes:
        wires: wire → how its requests are made.
        python: the interpreter that its environment is made of; None for the one that runs this.
        ports: how many the script takes: HTTP, then gRPC.
        starts_in_s: seconds that it may take until it answers.
        is_tall: its tensors have at least two axes.
    """

    wires: dict[str, Request]
    python: str | None = None
    ports: int = 1
    starts_in_s: float = 90
    is_tall: bool = False


_V2: Final = "/v2/models/{name}/infer"
_RAW: Final = _post("/{name}/raw/{rows}", "as_raw")
_COLUMNS: Final = _post("/{name}/json", "as_json")
KNOWN_PEERS: Final = {
    "fastapi": Peer({"json": _COLUMNS, "binary": _RAW}),
    "litserve": Peer({"json": _COLUMNS, "binary": _post("/{name}/multipart", "as_multipart")}),
    "mlserver": Peer({"json": _post(_V2, "as_open_inference_json"), "grpc": _infer_call}, ports=2),
    "bentoml": Peer({"json": _post("/{name}_json", "as_json"), "binary": _post("/{name}_raw", "as_octets")}),
    "rayserve": Peer({"json": _COLUMNS, "binary": _RAW}),
    "torchserve": Peer(
        {"json": _post("/predictions/{name}", "as_json"), "binary": _post("/predictions/{name}", "as_octets")}, ports=3
    ),
    "pytriton": Peer(
        {
            "json": _post(_V2, "as_open_inference_json"),
            "binary": _post(_V2, "as_open_inference"),
            "grpc": _infer_call,
        },
        python="/usr/bin/python3.11",  # its own Python stub does not start under newer builds of 3.11
        ports=2,
        is_tall=True,
    ),
}
_RECSERVE: Final = {
    "json": _post("/v1/models/{name}:predict", "as_json"),
    "binary": _post(_V2, "as_open_inference"),
    "grpc": _infer_call,
}


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        name: of the product.
        pid: of its first process.
        addresses: wire → `http://host:port`, or `host:port` for gRPC.
        wires: wire → how its requests are made.
        is_tall: its tensors have at least two axes.
    """

    name: str
    pid: int
    addresses: dict[str, str]
    wires: dict[str, Request]
    is_tall: bool = False

    def target(self, set_up: SetUp, wire: str, headers: dict[str, str] | None = None) -> Target:
        """The request of a set-up on a wire."""
        return self.wires[wire](self.addresses[wire], set_up.tall() if self.is_tall else set_up, headers or {})

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
    ports = [word for dialect in ("tfs:0", "oip:0", "oip-grpc:0") for word in ("--dialect", dialect)]
    command = [sys.executable, "-c", PROGRAM, "serve", str(models), *ports, "--max-body-bytes", str(256 << 20)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(  # noqa: S603 - ours
        [*command, *options],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=on_core(0),  # noqa: PLW1509
    ) as process:
        if process.stdout is None:
            raise RuntimeError("there is no output to read")
        lines = [process.stdout.readline().split() for _ in range(3)]
        try:
            addresses = {wire: line[-1] for wire, line in zip(("json", "binary", "grpc"), lines, strict=True)}
            yield Server("recserve", process.pid, addresses, dict(_RECSERVE))
        finally:
            process.terminate()


@contextmanager
def serve_peer(name: str, python: Path, models: Path) -> Iterator[Server]:
    """A peer: `peers/serve_<name>.py MODELS PORT...` under the interpreter of its environment."""
    peer = KNOWN_PEERS[name]
    ports = free_ports(peer.ports)
    command = [str(python), str(PEERS / f"serve_{name}.py"), str(models.absolute()), *map(str, ports)]
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
