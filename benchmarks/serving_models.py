"""The models of the serving benchmark, as ONNX files, and requests for them on every wire.

A: y = 0.5 x + 2 on 3 values. B: a ranking net of 608-512-256-128-1 on user, item and cross columns. C: target attention
over a history of 50 with vectors of 96, and a net of 512-256-128-1. Weights are drawn from a fixed seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from onnx import TensorProto, helper, numpy_helper, save

from recserve.wire.open_inference import ModelInferRequest
from recserve.wire.tensor_proto import encode_tensor
from recserve.wire.tensorflow_serving import PredictRequest

Array = np.ndarray[Any, Any]
STEPS: Final = 50
USED_STEPS: Final = 40
DIM: Final = 96
_OPEN_INFERENCE: Final = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}


@dataclass(frozen=True)
class SetUp:
    """A model and the tensors of one request.

    Attributes:
        name: of the model.
        rows: candidates of the request.
        inputs: tensor by input name, in the order of the graph.
    """

    name: str
    rows: int
    inputs: Mapping[str, Array]

    def flat_inputs(self) -> Mapping[str, Array]:
        """What the network takes for the same scores."""
        return self.inputs

    def tall(self) -> SetUp:
        """The same with [N, 1] in place of [N], for servers whose tensors have a batch axis and another one."""
        shaped = {name: tensor if tensor.ndim > 1 else tensor[:, None] for name, tensor in self.inputs.items()}
        return SetUp(self.name, self.rows, shaped)

    def as_json(self) -> bytes:
        """The body of a TensorFlow Serving predict request, in columns."""
        return orjson.dumps({"inputs": dict(self.inputs)}, option=orjson.OPT_SERIALIZE_NUMPY)

    def as_raw(self) -> bytes:
        """The tensors one after the other, little-endian."""
        return b"".join(np.ascontiguousarray(tensor).tobytes() for tensor in self.inputs.values())

    def as_octets(self) -> tuple[bytes, dict[str, str]]:
        """As `as_raw`, after the number of rows as an int64, with the content type of any bytes."""
        return np.int64(self.rows).tobytes() + self.as_raw(), {"Content-Type": "application/octet-stream"}

    def as_multipart(self) -> tuple[bytes, dict[str, str]]:
        """A form with one file, which holds what `as_octets` has."""
        head = b'--cut\r\nContent-Disposition: form-data; name="data"; filename="data"\r\n\r\n'
        return head + self.as_octets()[0] + b"\r\n--cut--\r\n", {"Content-Type": "multipart/form-data; boundary=cut"}

    def as_open_inference_json(self) -> tuple[bytes, dict[str, str]]:
        """An Open Inference request with numbers as text."""
        described = [self._describe(name) | {"data": tensor.ravel()} for name, tensor in self.inputs.items()]
        body = orjson.dumps({"inputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
        return body, {"Content-Type": "application/json"}

    def as_predict(self, model: str) -> bytes:
        """TensorFlow Serving's `PredictRequest` with tensors as bytes."""
        request = PredictRequest()
        request.model_spec.name = model
        for name, tensor in self.inputs.items():
            request.inputs[name].CopyFrom(encode_tensor(tensor, as_content=True))
        return bytes(request.SerializeToString())

    def as_infer(self, model: str) -> bytes:
        """A `ModelInferRequest` with raw tensors."""
        request = ModelInferRequest(model_name=model)
        for name, tensor in self.inputs.items():
            request.inputs.add(**self._describe(name))
            request.raw_input_contents.append(np.ascontiguousarray(tensor).tobytes())
        return bytes(request.SerializeToString())

    def _describe(self, name: str) -> dict[str, Any]:
        tensor = self.inputs[name]
        return {"name": name, "shape": list(tensor.shape), "datatype": _OPEN_INFERENCE[tensor.dtype]}

    def as_open_inference(self) -> tuple[bytes, dict[str, str]]:
        """Body and headers of an Open Inference request with binary tensors."""
        described = [
            self._describe(name) | {"parameters": {"binary_data_size": tensor.nbytes}}
            for name, tensor in self.inputs.items()
        ]
        head = orjson.dumps({"inputs": described, "parameters": {"binary_data_output": True}})
        return head + self.as_raw(), {"Inference-Header-Content-Length": str(len(head))}


class _Graph:
    """Nodes and weights, as they are added."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.slots: list[Any] = []
        self._rng = np.random.default_rng(seed)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: Array) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def layers(self, prefix: str, x: str, sizes: list[int]) -> str:
        """Dense layers with ReLU between them."""
        for n, (rows, columns) in enumerate(itertools.pairwise(sizes)):
            weight = self._rng.normal(size=(rows, columns), scale=(2 / rows) ** 0.5).astype(np.float32)
            bias = self._rng.normal(size=columns, scale=0.01).astype(np.float32)
            w, b = self.constant(f"{prefix}w{n}", weight), self.constant(f"{prefix}b{n}", bias)
            x = self.add("Add", [self.add("MatMul", [x, w], f"{prefix}m{n}"), b], f"{prefix}a{n}")
            if n < len(sizes) - 2:
                x = self.add("Relu", [x], f"{prefix}r{n}")
        return x

    def input(self, name: str, parts: Sequence[str], kind: int, dims: list[Any]) -> str:
        """An input of the graph; where it has parts, each of them is one, and they are joined."""
        widths = [*dims[:-1], dims[-1] // len(parts)] if len(parts) > 1 else dims
        self.slots += [helper.make_tensor_value_info(part, kind, widths) for part in parts]
        return self.add("Concat", list(parts), name, axis=len(dims) - 1) if len(parts) > 1 else parts[0]

    def save(self, path: Path, output: str, dims: Sequence[Any] = ("N", 1)) -> None:
        self.add("Identity", [output], "y")
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, list(dims))
        graph = helper.make_graph(self.nodes, "g", self.slots, [y], self.weights)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))


def build_models(base: Path) -> None:
    """Write `<base>/{a,b,c}/1/model.onnx`."""
    for name, build in (("a", save_a), ("b", save_b), ("c", save_c)):
        build(base / name / "1" / "model.onnx")


Parts = Mapping[str, Sequence[str]]
"""Input of a graph → the inputs that are joined in its place; those that are not named stay."""


def save_a(path: Path) -> None:
    """Write model A."""
    graph = _Graph()
    half, two = graph.constant("half", np.float32(0.5)), graph.constant("two", np.float32(2))
    graph.slots.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"]))
    graph.save(path, graph.add("Add", [graph.add("Mul", ["x", half], "scaled"), two], "moved"), ["N"])


def save_b(path: Path, parts: Parts | None = None) -> None:
    """Write model B."""
    graph, parts = _Graph(), parts or {}
    widths = {"user": 352, "item": 192, "cross": 64}
    joined = [
        graph.input(name, parts.get(name, (name,)), TensorProto.FLOAT, ["N", width]) for name, width in widths.items()
    ]
    graph.save(path, graph.layers("l", graph.add("Concat", joined, "all", axis=1), [608, 512, 256, 128, 1]))


def save_c(path: Path, parts: Parts | None = None) -> None:
    """Write model C; with parts, the steps of the history are as many as come."""
    graph, parts = _Graph(), parts or {}
    any_steps = "L" if parts else STEPS
    shapes: dict[str, list[Any]] = {"q": ["N", DIM], "k": ["N", any_steps, DIM], "lengths": ["N"], "fields": ["N", 320]}
    kinds = dict.fromkeys(shapes, TensorProto.FLOAT) | {"lengths": TensorProto.INT64}
    q, k, lengths, fields = (
        graph.input(name, parts.get(name, (name,)), kinds[name], shape) for name, shape in shapes.items()
    )
    one = graph.constant("one", np.array([1], np.int64))
    shape = graph.add("Shape", [k], "shape")
    wide = graph.add("Expand", [graph.add("Unsqueeze", [q, one], "q1"), shape], "wide")
    pairs = [wide, k, graph.add("Sub", [wide, k], "less"), graph.add("Mul", [wide, k], "product")]
    weights = graph.layers("t", graph.add("Concat", pairs, "pairs", axis=2), [4 * DIM, 512, 256, 1])
    mask = graph.add("Less", [_steps(graph, shape, parts), graph.add("Unsqueeze", [lengths, one], "long")], "mask")
    two = graph.constant("two", np.array([2], np.int64))
    real = graph.add("Unsqueeze", [graph.add("Cast", [mask], "as_float", to=TensorProto.FLOAT), two], "real")
    weighted = graph.add("Mul", [graph.add("Mul", [weights, real], "kept"), k], "weighted")
    pooled = graph.add("ReduceSum", [weighted, one], "pooled", keepdims=0)
    joined = graph.add("Concat", [q, pooled, fields], "joined", axis=1)
    graph.save(path, graph.layers("l", joined, [2 * DIM + 320, 256, 128, 1]))


def _steps(graph: _Graph, shape: str, parts: Parts) -> str:
    """int64[1, L]: the numbers of the steps."""
    if not parts:
        return graph.constant("steps", np.arange(STEPS, dtype=np.int64).reshape(1, STEPS))
    axis, zero = graph.constant("axis", np.int64(1)), graph.constant("zero", np.int64(0))
    count = graph.add("Gather", [shape, axis], "count", axis=0)
    counted = graph.add("Range", [zero, count, graph.constant("step", np.int64(1))], "counted")
    return graph.add("Unsqueeze", [counted, graph.constant("first", np.array([0], np.int64))], "steps")


def make_set_up(name: str, rows: int) -> SetUp:
    """A request of so many rows; what is the user's is the same in each."""
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    match name:
        case "a":
            inputs: dict[str, Array] = {"x": np.array([1.0, 2.0, 5.0], np.float32)}
        case "b":
            user = np.repeat(draw(1, 352), rows, axis=0)
            inputs = {"user": user, "item": draw(rows, 192), "cross": draw(rows, 64)}
        case _:
            history = np.repeat(draw(1, STEPS, DIM), rows, axis=0)
            lengths = np.full(rows, USED_STEPS, np.int64)
            inputs = {"q": draw(rows, DIM), "k": history, "lengths": lengths, "fields": draw(rows, 320)}
    return SetUp(name, rows, inputs)


def rank_body() -> bytes:
    """A request of 100 candidates."""
    return orjson.dumps({"user": {"user_id": 7}, "candidates": [f"i{n}" for n in range(100)]})
