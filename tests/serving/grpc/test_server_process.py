"""The gRPC ports of a real process, started as users start it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import tritonclient.grpc as triton
from onnx import TensorProto, helper

from recserve.client import Client


def write_model(folder: Path) -> None:
    """`halve`: y = x / 2."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    half = helper.make_node("Constant", [], ["half"], value_float=0.5)
    graph = helper.make_graph([half, helper.make_node("Mul", ["x", "half"], ["y"])], "halve", [x], [y])
    folder.mkdir(parents=True)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "model.onnx")


def test_the_command_serves_grpc_and_drains(tmp_path: Path) -> None:
    write_model(tmp_path / "halve" / "1")
    command = ["-c", "from recserve.cli import main; main()", "serve", str(tmp_path / "halve")]
    command += ["--dialect", "grpc:0", "--dialect", "oip-grpc:0"]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().split() for _ in range(2)]
            addresses = {line[1]: line[3] for line in lines}
            with Client(f"grpc://{addresses['grpc']}") as client:
                assert client.predict("halve", {"x": np.ones(2, np.float32)})["y"].tolist() == [0.5, 0.5]
            with triton.InferenceServerClient(addresses["oip-grpc"]) as theirs:
                assert theirs.is_server_ready()
                given = triton.InferInput("x", [2], "FP32")
                given.set_data_from_numpy(np.ones(2, np.float32))
                assert theirs.infer("halve", [given]).as_numpy("y").tolist() == [0.5, 0.5]
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
