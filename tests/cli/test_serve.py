from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
from onnx import TensorProto, helper, numpy_helper

PROGRAM = "from recserve.cli import main; main()"


def recserve(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def write_model(folder: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y"))
    two = numpy_helper.from_array(np.float32(2), "two")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "g", [x], [y], [two])
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def test_plain_models_are_served_in_several_dialects(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "a" / "1")
    write_model(tmp_path / "models" / "b" / "0002")
    dialects = ("--dialect", "tfs:0", "--dialect", "vertex:0=b", "--cors")
    process = recserve("serve", str(tmp_path / "models"), *dialects)
    try:
        assert process.stdout is not None
        urls = {}
        for line in (process.stdout.readline(), process.stdout.readline()):
            name, _, url = line.removeprefix("Serving ").strip().partition(" on ")
            urls[name] = url
        for name in ("a", "b"):
            reply = httpx.post(f"{urls['tfs']}/v1/models/{name}:predict", json={"instances": [1.5]})
            assert reply.json() == {"predictions": [3.0]}
        assert reply.headers["access-control-allow-origin"] == "*"
        assert httpx.post(f"{urls['vertex']}/predict", json={"instances": [2]}).json() == {"predictions": [4.0]}
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    said = [line.partition("recserve.serving: ")[2].split(", after")[0] for line in errors.splitlines()]
    assert said == [
        *("Model 'a' version 1 is served", "Model 'b' version 2 is served"),
        *("Model 'a' version 1 is served no longer", "Model 'b' version 2 is served no longer"),
    ]


def test_an_unknown_dialect_ends_the_command(tmp_path: Path) -> None:
    write_model(tmp_path / "a" / "1")
    process = recserve("serve", str(tmp_path / "a"), "--dialect", "tsf:0")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "there is no dialect 'tsf'. Did you mean 'tfs'?" in " ".join(errors.split())
