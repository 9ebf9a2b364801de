"""The Dockerfile, run without Docker: its lines one by one in copies of a root folder, then its entry point.

It stands in for `docker build` where there is no engine. RECSERVE_IMAGE_ROOT names a root folder of the base image's
kind, such as one made by

    debootstrap --variant=minbase --include=ca-certificates,python3.11,python3-venv,python3-distutils bookworm ROOT

and a run needs root, the network and some minutes, so that it is skipped where the variable is not set.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

CHECKOUT = Path(__file__).resolve().parents[2]
ROOT = os.environ.get("RECSERVE_IMAGE_ROOT", "")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not ROOT, reason="RECSERVE_IMAGE_ROOT names no root folder to run the Dockerfile in"),
]
KNOWN = {"FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "LABEL", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


@dataclass
class Stage:
    """A stage of the Dockerfile as far as it has been run."""

    root: Path
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"})
    user: str = "root"
    folder: str = "/"
    command: dict[str, list[str]] = field(default_factory=dict)

    def arguments(self, command: list[str]) -> list[str]:
        """What runs a command in the stage: as its user, in its folder, with its variables and no others."""
        variables = [f"{name}={value}" for name, value in self.variables.items()]
        inner = f"cd {shlex.quote(self.folder)} && exec {shlex.join(['env', '-i', *variables, *command])}"
        enter = shlex.join(["chroot", f"--userspec={self.user}", str(self.root), "/bin/sh", "-c", inner])
        mount = f"mount -t proc proc {shlex.quote(str(self.root / 'proc'))}"
        return ["unshare", "--mount", "/bin/sh", "-c", f"{mount} && exec {enter}"]

    def run(self, command: list[str]) -> None:
        done = subprocess.run(self.arguments(command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def read_lines(text: str) -> Iterator[tuple[str, str]]:
    """(instruction, the rest), continued lines joined."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            assert word in KNOWN, f"the test does not know {word}"
            yield word, rest.strip()


def context_paths() -> set[str]:
    """Top-level names that .dockerignore lets through."""
    lines = (CHECKOUT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    return {line[1:] for line in lines if line.startswith("!")}


def copy_in(stage: Stage, stages: dict[str, Stage], rest: str) -> None:
    words = rest.split()
    source_root = CHECKOUT
    if words[0].startswith("--from="):
        source_root = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    out = stage.root / target.lstrip("/")
    for source in sources:
        path = source_root / source.lstrip("/")
        if source_root == CHECKOUT:
            assert source.split("/")[0] in context_paths(), f".dockerignore leaves {source} out"
        if path.is_dir():
            shutil.copytree(path, out, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to = out / path.name if target.endswith("/") else out
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to)


def prepare(root: Path) -> None:
    """Make the base image of a bare Debian: `python` in /usr/local, and this machine's way to the network."""
    subprocess.run(["cp", "-a", "--reflink=auto", ROOT, str(root)], check=True)
    for name in ("python", "python3"):
        link = root / "usr/local/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/usr/bin/python3.11")
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(name).exists():
            (root / name.lstrip("/")).unlink(missing_ok=True)
            shutil.copy(name, root / name.lstrip("/"))


def build(folder: Path) -> Stage:
    """Run the Dockerfile; returns its last stage."""
    stages: dict[str, Stage] = {}
    stage = Stage(folder)
    for word, rest in read_lines((CHECKOUT / "Dockerfile").read_text()):
        match word:
            case "FROM":
                name = rest.partition(" AS ")[2] or "last"
                stage = stages[name] = Stage(folder / name)
                prepare(stage.root)
            case "ENV":
                for pair in shlex.split(rest):
                    key, _, value = pair.partition("=")
                    value = re.sub(r"\$(\w+)", lambda found: stage.variables.get(found[1], ""), value)  # noqa: B023
                    stage.variables[key] = value
            case "RUN":
                stage.run(["PIP_CERT=/etc/ssl/certs/ca-certificates.crt", "/bin/sh", "-c", rest])
            case "COPY":
                copy_in(stage, stages, rest)
            case "USER":
                stage.user = rest
                home = subprocess.run(
                    ["chroot", str(stage.root), "getent", "passwd", rest], capture_output=True, text=True, check=True
                )
                stage.variables["HOME"] = home.stdout.split(":")[5]
            case "WORKDIR":
                (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
                stage.folder = rest
            case "ENTRYPOINT" | "CMD":
                stage.command[word] = json.loads(rest)
    return stage


def write_model(path: Path) -> None:
    """y = x w, for one row of 2 numbers after the other."""
    weight = numpy_helper.from_array(np.array([[1.0], [10.0]], np.float32), "w")
    slots = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n]) for name, n in (("x", 2), ("y", 1))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", slots[:1], slots[1:], [weight])
    path.parent.mkdir(parents=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))


def test_the_image_serves_what_lies_in_opt_ml_model(tmp_path: Path) -> None:
    stage = build(tmp_path)
    write_model(stage.root / "opt/ml/model/ctr/1/model.onnx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stage.variables["SAGEMAKER_BIND_TO_PORT"] = str(port)
    command = stage.arguments(stage.command["ENTRYPOINT"] + stage.command["CMD"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            answer = ask(f"http://127.0.0.1:{port}", server)
        finally:
            server.send_signal(signal.SIGTERM)
        assert json.loads(answer) == {"predictions": [[21.0]]}
        assert server.wait(30) == 0


def ask(address: str, server: subprocess.Popen[str]) -> bytes:
    """Wait for /ping, then ask for the scores of a row."""
    end_s = time.monotonic() + 300  # kernels are compiled at the first start
    while True:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5) as answer:
                assert answer.status == 200
                break
        except OSError:
            assert time.monotonic() < end_s, "no /ping"
            assert server.poll() is None, server.stdout and server.stdout.read()
            time.sleep(0.2)
    request = urllib.request.Request(
        f"{address}/invocations", b'{"instances": [[1, 2]]}', {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())
