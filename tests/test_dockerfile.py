"""The Dockerfile, without Docker: what it names exists, and its entry point serves what a container would be given."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import httpx
import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parent.parent


def steps() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines if line and not line.startswith("#")]


def is_sent(path: str) -> bool:
    """Whether .dockerignore leaves a path in the context; its last matching line decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").replace("**/", "*")
        parents = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
        if any(fnmatch(candidate, pattern) for candidate in parents):
            sent = line.startswith("!")
    return sent


def test_what_is_copied_is_there_and_sent() -> None:
    for instruction, arguments in steps():
        if instruction == "COPY" and "--from=" not in arguments:
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert is_sent(source), source
    assert not is_sent(".git/config")
    assert not is_sent("tests/test_dockerfile.py")
    assert not is_sent("src/recserve/__pycache__/x.pyc")
    assert is_sent("src/recserve/cli/serve.py")


def test_the_lock_has_hashes_and_the_entry_point_is_the_package_s() -> None:
    lock = (ROOT / "requirements" / "serve.lock").read_text()
    assert re.search(r"^\S+==\S+ \\\n    --hash=sha256:", lock, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entry = json.loads(dict(steps())["ENTRYPOINT"])
    assert entry == ["recserve"]
    assert entry[0] in project["scripts"]
    base = re.search(r"python:(\d+\.\d+)", (ROOT / "Dockerfile").read_text())
    assert base is not None
    assert project["requires-python"].startswith(f">={base.group(1)}")
    for instruction, arguments in steps():
        if instruction == "RUN":
            assert shlex.split(arguments)[0] in ("python", "/venv/bin/pip", "useradd")


def test_the_entry_point_serves_a_container_s_model_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model" / "1"
    folder.mkdir(parents=True)
    slots = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", slots[:1], slots[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "model.onnx"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("recserve")), *json.loads(dict(steps())["CMD"])]
    given = {"SAGEMAKER_BIND_TO_PORT": str(port), "RECSERVE_OPT_ML": str(tmp_path)}
    process = subprocess.Popen(command, env=os.environ | given)
    try:
        wait_for_ping(f"http://127.0.0.1:{port}/ping", process)
        answer = httpx.post(f"http://127.0.0.1:{port}/invocations", json={"instances": [1.0, 2.0]})
        assert answer.json() == {"predictions": [-1.0, -2.0]}
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def wait_for_ping(url: str, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        assert process.poll() is None
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(url)
