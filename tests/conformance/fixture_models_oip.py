"""The fixture models of the Open Inference, SageMaker and MLflow dialects, written as ONNX.

`build` writes those that the common server process serves and says which ports it needs; `commands` gives the argument
lists of servers that run on their own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

OPSET = 17
IR_VERSION = 8
Shape = Sequence[int | str | None]

PORTS = (
    "oip:0",
    "sagemaker-tfs:0=half_plus_three",
    "sagemaker-triton:0=simple",
    "mlflow:0=pyfunc_sum_ab",
)


def build(base: Path) -> list[str]:
    """Write the models below `base/<name>/<version>/`; returns the values of `--dialect` that show them."""
    _write_simple(base / "simple" / "1")
    _write_identity(base / "identity_fp32" / "1", TensorProto.FLOAT, ["batch", "n"])
    _write_identity(base / "identity_int64" / "1", TensorProto.INT64, ["batch", "n"])
    _write_identity(base / "identity_bytes_1" / "1", TensorProto.STRING, [1])
    _write_identity(base / "identity_bytes" / "1", TensorProto.STRING, ["n"])
    _write_identity(base / "identity_fp16_2var" / "1", TensorProto.FLOAT16, ["batch", "n", "m"])
    _write_identity(base / "identity_fp32_3in" / "1", TensorProto.FLOAT, ["batch", "n"], inputs=3)
    _write_sum_ab(base / "pyfunc_sum_ab" / "1")
    return list(PORTS)


def commands(base: Path) -> list[list[str]]:
    """Argument lists of `recserve serve` for servers with a process of their own: the multi-model one starts empty."""
    root = base.with_name(base.name + "-opt-ml")
    build_multi_model_directory(root / "models")
    os.environ["RECSERVE_OPT_ML"] = str(root)
    return [["--dialect", "sagemaker-mme:0"]]


def build_multi_model_directory(models: Path) -> None:
    """What a SageMaker multi-model endpoint finds below /opt/ml/models."""
    write_half_plus(models / "half_plus_two" / "00000123", 2.0)
    write_half_plus(models / "half_plus_three" / "00000123", 3.0)
    write_half_plus(models / "half_plus_three" / "00000124", 3.0)
    (models / "invalid_version" / "abcde").mkdir(parents=True, exist_ok=True)


def write_half_plus(directory: Path, offset: float) -> None:
    """y = 0.5 · x + offset, of any shape."""
    constants = [helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])]
    constants.append(helper.make_tensor("offset", TensorProto.FLOAT, [], [offset]))
    nodes = [helper.make_node("Mul", ["x", "half"], ["halved"]), helper.make_node("Add", ["halved", "offset"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    write_graph(directory, nodes, values[:1], values[1:], constants)
    shape = [None, 1]
    declaration = {"inputs": {"x": {"tensor": "x", "shape": shape}}, "outputs": {"y": {"tensor": "y", "shape": shape}}}
    (directory / "model.json").write_text(json.dumps({"signatures": {"serving_default": declaration}}))


def _write_simple(directory: Path) -> None:
    values = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", 16])
        for name in ("INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1")
    ]
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    write_graph(directory, nodes, values[:2], values[2:])


def _write_identity(directory: Path, dtype: int, shape: Shape, inputs: int = 1) -> None:
    """OUTPUTi = INPUTi, of one dtype and shape."""
    numbers = range(inputs)
    write_graph(
        directory,
        [helper.make_node("Identity", [f"INPUT{i}"], [f"OUTPUT{i}"]) for i in numbers],
        [helper.make_tensor_value_info(f"INPUT{i}", dtype, shape) for i in numbers],
        [helper.make_tensor_value_info(f"OUTPUT{i}", dtype, shape) for i in numbers],
    )


def _write_sum_ab(directory: Path) -> None:
    """a + b: of integers an integer, as NumPy has it."""
    for dtype, file in ((TensorProto.DOUBLE, "model.onnx"), (TensorProto.INT64, "integers.onnx")):
        values = [helper.make_tensor_value_info(name, dtype, None) for name in ("a", "b", "sum")]
        write_graph(directory, [helper.make_node("Add", ["a", "b"], ["sum"])], values[:2], values[2:], file=file)
    declared = {"serving_default": {}, "integers": {"graph": "integers.onnx"}}
    (directory / "model.json").write_text(json.dumps({"signatures": declared}))


def write_graph(
    directory: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    file: str = "model.onnx",
) -> None:
    """Write a graph into a version's directory."""
    graph = helper.make_graph(nodes, directory.parent.name, inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(model, directory / file)
