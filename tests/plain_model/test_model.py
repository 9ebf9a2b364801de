from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.errors import ConfigError, RequestError
from recserve.plain_model import PlainModel, open_plain_model

FLOAT, STRING, INT64 = TensorProto.FLOAT, TensorProto.STRING, TensorProto.INT64
Write = Callable[..., PlainModel]


def graph(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], weights: dict[str, Any]) -> bytes:
    def slots(kinds: dict[str, Any]) -> list[Any]:
        return [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]

    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "g", slots(inputs), slots(outputs), constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def line(shape: Any = ("n", 2)) -> bytes:
    """y = 2x; t = the strings of s."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"]), helper.make_node("Identity", ["s"], ["t"])]
    inputs = {"x": (FLOAT, shape), "s": (STRING, None)}
    return graph(nodes, inputs, {"y": (FLOAT, shape), "t": (STRING, None)}, {"two": np.float32(2)})


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes and opens a model."""

    def build(data: bytes, declared: Any = None, version: str = "0012", **options: Any) -> PlainModel:
        folder = tmp_path / "m" / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(data)
        if declared is not None:
            (folder / "model.json").write_text(declared if isinstance(declared, str) else json.dumps(declared))
        return open_plain_model(folder, **options)

    return build


def strings(*values: bytes) -> Any:
    return np.array(values, object)


def test_a_graph_serves_as_it_is(write: Write) -> None:
    model = write(line())
    assert (model.name, model.version, model.version_labels) == ("m", 12, ())
    x = model.signatures["serving_default"].inputs["x"]
    assert (x.dtype, x.shape, x.tensor_name, x.is_optional) == ("float32", (None, 2), "x", False)
    answer = model.run("serving_default", {"x": np.ones((1, 2), np.float32), "s": strings(b"\xff", "é".encode())})
    assert answer["y"].tolist() == [[2, 2]]
    assert answer["t"].tolist() == [b"\xff", "é".encode()]
    assert list(model.run("serving_default", {"x": np.ones((1, 2), np.float32), "s": strings()}, ["t"])) == ["t"]
    assert model.describe()["signatures"]["serving_default"]["outputs"]["y"] == {"dtype": "float32", "shape": (None, 2)}


def test_a_model_can_have_another_name_and_a_directory_without_number(write: Write) -> None:
    model = write(line(), version="latest", name="other")
    assert (model.name, model.version) == ("other", 1)


def test_shapes_that_the_graph_refuses_are_the_callers_error(write: Write) -> None:
    model = write(line())
    with pytest.raises(RequestError, match="the model refuses the inputs: ") as caught:
        model.run("serving_default", {"x": np.ones(3, np.float32), "s": strings()})
    assert caught.value.code == "model_refuses"
    model.close()
    with pytest.raises(RequestError, match="model 'm' version 12 is closed"):
        model.run("serving_default", {"x": np.ones((1, 2), np.float32), "s": strings()})


def test_an_input_with_a_value_is_optional(write: Write) -> None:
    node = helper.make_node("Add", ["x", "bias"], ["y"])
    slots: dict[str, Any] = {"x": (FLOAT, ("n",)), "bias": (FLOAT, (1,))}
    model = write(graph([node], slots, {"y": (FLOAT, ("n",))}, {"bias": np.array([5], np.float32)}))
    assert model.signatures["serving_default"].inputs["bias"].is_optional
    x = np.array([1], np.float32)
    assert model.run("serving_default", {"x": x})["y"].tolist() == [6]
    assert model.run("serving_default", {"x": x, "bias": np.array([1], np.float32)})["y"].tolist() == [2]


def test_signatures_rename_convert_and_label(write: Write) -> None:
    declared = {
        "signatures": {
            "serving_default": {"inputs": {"a": "x", "b": "s"}, "outputs": {"z": {"tensor": "y", "dtype": "float64"}}},
            "judge": {
                "method": "classify",
                "inputs": {"a": {"tensor": "x", "shape": [None, 2]}, "s": "s"},
                "outputs": {"scores": "y"},
                "class_labels": ["up", "down"],
            },
        },
        "any_signature": "judge",
        "version_labels": ["stable"],
    }
    model = write(line(None), declared)
    assert model.version_labels == ("stable",)
    x = np.array([[1, 2]], np.float32)
    answer = model.run("serving_default", {"a": x, "b": strings()})
    assert answer["z"].dtype == np.float64
    assert list(model.signatures) == ["serving_default", "judge"]
    assert model.signatures["whatever"].name == "judge"
    answer = model.run("whatever", {"a": x, "s": strings()})
    assert (answer["scores"].tolist(), answer["classes"].tolist()) == ([[2, 4]], [[b"up", b"down"]])
    only = model.run("judge", {"a": x, "s": strings()}, ["classes"])
    assert list(only) == ["classes"]
    with pytest.raises(RequestError, match=r"2 labels for scores of shape \[1, 3\]"):
        model.run("judge", {"a": np.ones((1, 3), np.float32), "s": strings()})


def test_an_unknown_signature_is_none_without_a_fallback(write: Write) -> None:
    with pytest.raises(KeyError):
        write(line()).signatures["x"]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_a_complex_dtype_stands_for_a_last_axis_of_two(write: Write, dtype: str) -> None:
    entry = {"tensor": "x", "dtype": dtype}
    declared = {"signatures": {"serving_default": {"inputs": {"x": entry}, "outputs": {"y": {**entry, "tensor": "y"}}}}}
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    model = write(graph([node], {"x": (FLOAT, None)}, {"y": (FLOAT, None)}, {"two": np.float32(2)}), declared)
    answer = model.run("serving_default", {"x": np.array([[1 + 2j], [3j]], dtype)})["y"]
    assert (answer.dtype, answer.tolist()) == (np.dtype(dtype), [[2 + 4j], [6j]])


def test_a_complex_output_needs_both_parts(write: Write) -> None:
    declared = {"signatures": {"serving_default": {"outputs": {"y": {"tensor": "y", "dtype": "complex64"}}}}}
    node = helper.make_node("Identity", ["x"], ["y"])
    model = write(graph([node], {"x": (FLOAT, None)}, {"y": (FLOAT, None)}, {}), declared)
    with pytest.raises(RequestError, match=r"output 'y' has shape \[3\], not real and imaginary parts"):
        model.run("serving_default", {"x": np.ones(3, np.float32)})


SIGNATURE = "signatures.serving_default"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("{", "Invalid JSON"),
        ({"signature": {}}, "model.json: signature: Extra inputs are not permitted"),
        ({"any_signature": "serving"}, "any_signature names no signature: 'serving'. Did you mean 'serving_default'?"),
        ({"signatures": {"serving_default": {"inputs": {"a": "xx", "b": "s"}}}},
            f"{SIGNATURE}.inputs.a: the graph has no 'xx'. Did you mean 'x'?"),
        ({"signatures": {"serving_default": {"inputs": {"b": "s"}}}},
            f"{SIGNATURE}: the graph's input 'x' is not bound"),
        ({"signatures": {"serving_default": {"outputs": {"t": {"dtype": "int64"}}}}},
            "'t' is string in the graph, not int64"),
        ({"signatures": {"serving_default": {"outputs": {"y": {"dtype": "float23"}}}}}, "there is no dtype 'float23'"),
        ({"signatures": {"s": {"method": "regress"}}}, "a regress signature names its output 'outputs'"),
        ({"signatures": {"s": {"class_labels": ["a"]}}}, "class_labels go with a classify signature"),
        ({"signatures": {"s": {"method": "classify", "outputs": {"scores": "y"}, "class_labels": ["a"]}}},
            "1 class_labels for 2 scores"),
    ],
)  # fmt: skip
def test_a_declaration_that_does_not_fit_is_told(write: Write, declared: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write(line(), declared)
    assert message in str(caught.value)
    assert "model.json" in str(caught.value)


def test_a_missing_or_broken_graph_is_told(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no model\.onnx\. Export the model to ONNX into it\."):
        open_plain_model(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.onnx: ONNX Runtime .* cannot load the graph: "):
        write(b"no graph")


def test_a_dtype_that_cannot_be_served_is_told(write: Write) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    kind = (TensorProto.BFLOAT16, None)
    with pytest.raises(ConfigError, match=r"'x' is a tensor\(bfloat16\), which cannot be served\. Cast it inside"):
        write(graph([node], {"x": kind}, {"y": kind}, {}))
