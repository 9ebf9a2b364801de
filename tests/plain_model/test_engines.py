from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.errors import ConfigError, RequestError
from recserve.plain_model import has_plain_model, open_plain_model
from recserve.plain_model.engines import find_saved_model


def times(factor: float) -> bytes:
    """y = factor · x."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.float32(factor), "factor")])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return data


def test_each_signature_may_have_a_graph_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(times(2))
    (tmp_path / "thrice.onnx").write_bytes(times(3))
    declared = {"signatures": {"serving_default": {}, "thrice": {"graph": "thrice.onnx"}}}
    (tmp_path / "model.json").write_text(json.dumps(declared))
    model = open_plain_model(tmp_path)
    x = np.ones(2, np.float32)
    assert model.run("serving_default", {"x": x})["y"].tolist() == [2, 2]
    assert model.run("thrice", {"x": x})["y"].tolist() == [3, 3]


def test_an_absent_or_outside_graph_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(times(2))
    for graph, message in (
        ("other.onnx", r"there is no other\.onnx"),
        ("../m.onnx", "outside the version's directory"),
    ):
        (tmp_path / "model.json").write_text(json.dumps({"signatures": {"a": {"graph": graph}}}))
        with pytest.raises(ConfigError, match=message):
            open_plain_model(tmp_path)


def test_a_plain_model_is_known_by_its_files(tmp_path: Path) -> None:
    assert not has_plain_model(tmp_path)
    assert find_saved_model(tmp_path) is None
    (tmp_path / "saved_model.pb").touch()
    assert has_plain_model(tmp_path)
    assert find_saved_model(tmp_path) == tmp_path
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pbtxt").touch()
    assert find_saved_model(tmp_path) == tmp_path / "saved_model"


def dense() -> bytes:
    """y = relu(x · w), float32[n, 64] → float32[n, 32]."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", size]) for n, size in (("x", 64), ("y", 32)))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    weights = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weights, "w")])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return data


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_openvino_answers_as_onnx_runtime_does(tmp_path: Path, precision: str, tolerance: float) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "model.onnx").write_bytes(dense())
    exact = open_plain_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"engine": "openvino", "precision": precision}))
    fast = open_plain_model(tmp_path)
    assert fast.signatures == exact.signatures
    rng = np.random.default_rng(1)
    for rows in (1, 5, 5, 17):
        x = rng.normal(size=(rows, 64)).astype(np.float32)
        x.flags.writeable = rows != 5
        expected, found = (model.run("serving_default", {"x": x})["y"] for model in (exact, fast))
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * 8)


def test_openvino_refuses_what_does_not_fit(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "model.onnx").write_bytes(dense())
    (tmp_path / "model.json").write_text(json.dumps({"engine": "openvino"}))
    model = open_plain_model(tmp_path)
    with pytest.raises(RequestError, match="the model refuses the inputs"):
        model.run("serving_default", {"x": np.ones((2, 63), np.float32)})
    with pytest.raises(RequestError, match="the model refuses the inputs: 'x' is missing"):
        model.run("serving_default", {})
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="the file is no ONNX model that can be read"):
        open_plain_model(tmp_path)


def test_bf16_needs_an_engine_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(times(2))
    (tmp_path / "model.json").write_text(json.dumps({"precision": "bf16"}))
    with pytest.raises(ConfigError, match="engine 'onnxruntime' does not compute in bf16; the engine 'openvino' does"):
        open_plain_model(tmp_path)


@pytest.mark.parametrize("outputs", [None, ["y"], ["y", "z"], ["z", "y"]])
def test_tensors_that_pass_as_they_are_equal_converted_ones(tmp_path: Path, outputs: list[str] | None) -> None:
    x, *given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y", "z"))
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])]
    graph = helper.make_graph(nodes, "g", [x], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    entry = {"tensor": "x", "dtype": "float64"}
    declared = {"signatures": {"same": {}, "converted": {"inputs": {"x": entry}, "outputs": {"y": "y", "z": "z"}}}}
    (tmp_path / "model.json").write_text(json.dumps(declared))
    plain = open_plain_model(tmp_path)
    values = np.array([1.5, -2.5, 0.0])
    same = plain.run("same", {"x": values.astype(np.float32)}, outputs)
    converted = plain.run("converted", {"x": values}, outputs)
    assert list(same) == list(converted) == (outputs or ["y", "z"])
    for name in same:
        np.testing.assert_array_equal(same[name], converted[name])
    np.testing.assert_array_equal(plain.run("same", {"x": values}, outputs)["y"], -values)  # dtypes are mended
