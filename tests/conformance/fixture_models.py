"""The models that the REST conformance cases ask for, as directories that `recserve serve` opens.

Each is an ONNX graph, with a model.json beside it where names, shapes or methods are not those of the graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET, IR_VERSION = 20, 10
FLOAT, INT32, INT64, STRING = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.STRING
Slots = Mapping[str, int]
Constants = Mapping[str, Any]


def value(name: str, kind: int) -> ValueInfoProto:
    """An input or output of any rank."""
    return helper.make_tensor_value_info(name, kind, None)


def graph(nodes: Sequence[NodeProto], inputs: Slots, outputs: Slots, constants: Constants | None = None) -> ModelProto:
    """A model of nodes; constants are initialisers by name."""
    weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    made: GraphProto = helper.make_graph(
        list(nodes),
        "fixture",
        [value(*slot) for slot in inputs.items()],
        [value(*slot) for slot in outputs.items()],
        weights,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def save(base: Path, name: str, version: str, model: ModelProto, declared: Mapping[str, Any] | None = None) -> Path:
    """Write a version; returns its directory."""
    folder = base / name / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    if declared is not None:
        (folder / "model.json").write_text(json.dumps(declared), encoding="utf-8")
    return folder


def line(slope: float, offset: float) -> ModelProto:
    """y = slope * x + offset, of any shape."""
    nodes = [helper.make_node("Mul", ["x", "slope"], ["scaled"]), helper.make_node("Add", ["scaled", "offset"], ["y"])]
    constants = {"slope": np.float32(slope), "offset": np.float32(offset)}
    return graph(nodes, {"x": FLOAT}, {"y": FLOAT}, constants)


def echo(kinds: Slots, outputs: Mapping[str, str] | None = None) -> ModelProto:
    """Each input as it is; `outputs` renames."""
    names = outputs or {name: f"{name}_out" for name in kinds}
    nodes = [helper.make_node("Identity", [name], [names[name]]) for name in kinds]
    return graph(nodes, kinds, {names[name]: kind for name, kind in kinds.items()})


def save_line(folder: Path, offset: float, extra: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
    """A model of the half-plus family, with its signatures."""
    x: dict[str, Any] = {"x": {"tensor": "x", "shape": [None, 1]}}
    y: dict[str, Any] = {"tensor": "y", "shape": [None, 1]}
    signatures = {"serving_default": {"inputs": x, "outputs": {"y": y}}}
    for key, method in extra.items():
        output = "scores" if method == "classify" else "outputs"
        signatures[key] = {"method": method, "inputs": x, "outputs": {output: y}}
    declared = {"signatures": signatures, "version_labels": list(labels)}
    save(folder.parent.parent, folder.parent.name, folder.name, line(0.5, offset), declared)


def save_echoes(base: Path) -> None:
    """Models that give back what they get."""
    kinds = {
        "int32": INT32,
        "int64": INT64,
        "bool": TensorProto.BOOL,
        "float": FLOAT,
        "double": TensorProto.DOUBLE,
        "string": STRING,
    }
    for name, kind in kinds.items():
        save(base, f"echo_{name}", "1", echo({"x": kind}, {"x": "y"}))
    save(base, "echo_bytes", "1", echo({"x": STRING}, {"x": "y_bytes"}))
    named: dict[str, dict[str, int]] = {
        "echo_named2": {"int_tensor": INT32, "str_tensor": STRING},
        "echo_named4": {
            "int_tensor": INT32,
            "str_tensor": STRING,
            "float_tensor": FLOAT,
            "dbl_tensor": TensorProto.DOUBLE,
        },
        "echo_col3": {"int_tensor": INT32, "str_tensor": STRING, "bin_tensor": STRING},
        "doc_tag_signal_sensor": {"tag": STRING, "signal": INT32, "sensor": INT32},
    }
    for name, inputs in named.items():
        outputs = {key: f"{key}_out" for key in inputs}
        signature = {"inputs": {key: key for key in inputs}, "outputs": outputs}
        save(base, name, "1", echo(inputs), {"signatures": {"serving_default": signature}})


def save_odd_outputs(base: Path) -> None:
    """Models whose types or shapes have no JSON, or none in rows."""
    one = {"signatures": {"serving_default": {"inputs": {"x": {"tensor": "x", "dtype": "complex64"}}}}}
    save(base, "in_complex64", "1", echo({"x": FLOAT}, {"x": "y"}), one)
    nodes = [
        helper.make_node("Unsqueeze", ["x", "last"], ["real"]),
        helper.make_node("Mul", ["real", "nothing"], ["imaginary"]),
        helper.make_node("Concat", ["real", "imaginary"], ["y"], axis=-1),
    ]
    constants = {"last": np.array([-1]), "nothing": np.float32(0)}
    declared = {"signatures": {"serving_default": {"outputs": {"y": {"tensor": "y", "dtype": "complex64"}}}}}
    save(base, "out_complex64", "1", graph(nodes, {"x": FLOAT}, {"y": FLOAT}, constants), declared)
    total = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    save(base, "out_scalar", "1", graph([total], {"x": FLOAT}, {"y": FLOAT}))
    save_constants(base, "out_mismatched_batch", {"x": FLOAT}, {"a": np.zeros(2, "f4"), "b": np.zeros(1, "f4")})
    save_constants(base, "out_zero_batch", {"x": FLOAT}, {"y": np.zeros((0, 2), "f4")})


def save_constants(
    base: Path, name: str, inputs: Slots, outputs: Constants, declared: Mapping[str, Any] | None = None
) -> None:
    """A model that answers the same whatever it is asked."""
    nodes = [helper.make_node("Identity", [f"{key}_value"], [key]) for key in outputs]
    slots = {key: helper.np_dtype_to_tensor_dtype(array.dtype) for key, array in outputs.items()}
    constants = {f"{key}_value": array for key, array in outputs.items()}
    save(base, name, "1", graph(nodes, inputs, slots, constants), declared)


def save_example_models(base: Path) -> None:
    """Models of classify and regress calls that take each example whole."""
    examples = {"inputs": {"tensor": "inputs", "shape": [None]}}
    nodes = [
        helper.make_node("Shape", ["inputs"], ["rows"]),
        helper.make_node("ConstantOfShape", ["rows"], ["outputs"]),
    ]
    regress = {"method": "regress", "inputs": examples, "outputs": {"outputs": {"tensor": "outputs", "shape": [None]}}}
    declared = {"signatures": {"serving_default": regress}, "any_signature": "serving_default"}
    save(base, "example_parser", "1", graph(nodes, {"inputs": STRING}, {"outputs": FLOAT}), declared)
    values = np.array([0.2, np.inf, 1, -np.inf, np.nan], np.float32)
    regress = {"method": "regress", "inputs": examples, "outputs": {"outputs": {"tensor": "outputs", "shape": [5]}}}
    declared = {"signatures": {"serving_default": regress}}
    save_constants(base, "const_regress_nonfinite", {"inputs": STRING}, {"outputs": values}, declared)
    scores = np.array([[0.2, 0.7, 0.1], [0.7, 0.1, 0.2]], np.float32)
    classify = {
        "method": "classify",
        "inputs": examples,
        "outputs": {"scores": {"tensor": "scores", "shape": [2, 3]}},
        "class_labels": ["car", "bike", "bus"],
    }
    declared = {"signatures": {"serving_default": classify}}
    save_constants(base, "const_classify", {"inputs": STRING}, {"scores": scores}, declared)


def save_iris(base: Path) -> None:
    """Four numbers in, three probabilities out."""
    names = ["sepal_len", "sepal_wid", "petal_len", "petal_wid"]
    classes = ["setosa", "versicolor", "virginica"]
    weights = np.array([[0.4, 0.1, -0.5], [1.2, -0.3, -0.9], [-2.1, 0.3, 1.8], [-1.0, -0.4, 1.4]], np.float32)
    nodes = [
        helper.make_node("Concat", [f"{name}_column" for name in names], ["row"], axis=1),
        helper.make_node("MatMul", ["row", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("Split", ["probabilities"], [f"{name}_column" for name in classes], axis=1, num_outputs=3),
    ]
    nodes[:0] = [helper.make_node("Unsqueeze", [name, "last"], [f"{name}_column"]) for name in names]
    nodes += [helper.make_node("Squeeze", [f"{name}_column", "last"], [name]) for name in classes]
    constants = {"weights": weights, "last": np.array([1])}
    model = graph(nodes, dict.fromkeys(names, FLOAT), dict.fromkeys(classes, FLOAT), constants)
    save(base, "iris_like", "1", model)


def build(base: Path) -> list[str]:
    """Write the models for TensorFlow Serving, KServe V1, Vertex AI and H2O below `base`.

    Returns:
        The values of `--dialect` that serve them.
    """
    both = {"regress_x_to_y": "regress", "classify_x_to_y": "classify"}
    save_line(base / "half_plus_two" / "00000123", 2, both, ["stable"])
    three = {"tensorflow/serving/regress": "regress"}
    for name in ("saved_model_half_plus_three", "half_plus_three"):
        save_line(base / name / "00000123", 3, three)
    save_echoes(base)
    save_odd_outputs(base)
    save_example_models(base)
    save_iris(base)
    return ["tfs:0", "kserve-v1:0", "vertex:0=half_plus_two", "h2o:0=iris_like"]
