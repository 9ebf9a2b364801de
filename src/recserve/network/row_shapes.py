"""The shapes of all values of a graph for one row, as ONNX infers them.

ONNX knows no shapes of the ops that ONNX Runtime fuses, so that plain ops of the same shape stand in for these first.
It knows none of what a loop carries either: one turn of its body stands in, whose state keeps its shape. A size that
the request part tells the candidate part counts `ASSUMED_SIZE`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recserve.network.cut import ASSUMED_SIZE
from recserve.network.parts import SIZE_PREFIX

Shape = tuple[int, ...]

_LARGEST_CONTENT: Final = 1024
"""Elements of a weight that may be a shape; of larger ones the dims do."""
_MOST_TURNS: Final = 1_000_000
_FUSED: Final = "com.microsoft"


def infer_row_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """The shape of each value, those of subgraphs included, by name; what ONNX cannot tell is left out.

    Axis 0 of an input counts 1, and so does any other axis with its symbol; another dynamic axis counts
    `ASSUMED_SIZE`.

    Args:
        model: left as it is.
    """
    slim = _without_weights(model)
    for value in slim.graph.input:
        _fix_rows(value)
    inferred = onnx.shape_inference.infer_shapes(slim, data_prop=True).graph
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    _collect(inferred, shapes)
    return shapes


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large weights are inputs, without types of other values, and with stand-ins for fused ops."""
    slim = onnx.ModelProto(ir_version=model.ir_version)
    slim.opset_import.extend(model.opset_import)
    graph, old = slim.graph, model.graph
    graph.name = old.name
    graph.input.extend(old.input)
    weights = {weight.name: weight for weight in old.initializer}
    for weight in old.initializer:
        if math.prod(weight.dims) <= _LARGEST_CONTENT:
            graph.initializer.append(weight)
        else:
            graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
    for node in old.node:
        if node.op_type == "Reshape" and node.input[0].startswith(SIZE_PREFIX):
            told = np.full(1, ASSUMED_SIZE, np.int64)
            graph.initializer.append(numpy_helper.from_array(told, node.output[0]))
            continue
        graph.node.extend(_stand_ins(_Original(node, weights, graph)))
    for value in old.output:
        graph.output.append(value)
        graph.output[-1].type.tensor_type.ClearField("shape")
    return slim


def _fix_rows(value: onnx.ValueInfoProto) -> None:
    dims = value.type.tensor_type.shape.dim
    rows = dims[0].dim_param if dims else ""
    for axis, dim in enumerate(dims):
        if dim.WhichOneof("value") != "dim_value":
            is_row = axis == 0 or (rows != "" and dim.dim_param == rows)
            dim.dim_value = 1 if is_row else ASSUMED_SIZE


def _collect(graph: onnx.GraphProto, shapes: dict[str, Shape]) -> None:
    for value in [*graph.input, *graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        has_shape = value.type.tensor_type.HasField("shape")
        if has_shape and all(dim.WhichOneof("value") == "dim_value" for dim in dims):
            shapes[value.name] = tuple(int(dim.dim_value) for dim in dims)
    for weight in graph.initializer:
        shapes[weight.name] = tuple(weight.dims)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
                _collect(inner, shapes)


@dataclass(frozen=True)
class _Original:
    """An op, the weights, and the graph that its stand-in is for."""

    node: onnx.NodeProto
    weights: dict[str, TensorProto]
    graph: onnx.GraphProto

    def dims(self, index: int) -> Shape:
        """Of an input that is a weight; () for any other."""
        weight = self.weights.get(self.node.input[index])
        return () if weight is None else tuple(weight.dims)

    def number(self, name: str) -> int:
        """An integer attribute; 0 where it is absent."""
        return next((int(a.i) for a in self.node.attribute if a.name == name), 0)


def _stand_ins(original: _Original) -> list[onnx.NodeProto]:
    """The node itself, or ops of ONNX whose first output has the shape of its first output."""
    node = original.node
    made: list[onnx.NodeProto] | None = None
    if node.domain == _FUSED and node.op_type in _STAND_INS:
        made = _STAND_INS[node.op_type](original)
    elif node.op_type == "Loop":
        made = _one_turn(original)
    return [node] if made is None else made


def _one_turn(loop: _Original) -> list[onnx.NodeProto]:
    """The body of a loop, run once; what each turn emits is stacked so often as the loop turns."""
    node, graph = loop.node, loop.graph
    body = next(a.g for a in node.attribute if a.name == "body")
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.int64), body.input[0].name))
    graph.initializer.append(numpy_helper.from_array(np.ones((), np.bool_), body.input[1].name))
    graph.initializer.extend(body.initializer)
    limit = loop.weights.get(node.input[0])
    turns = ASSUMED_SIZE if limit is None else int(numpy_helper.to_array(limit).reshape(-1)[0])
    axis, picks = f"{body.input[0].name}.axis", f"{body.input[0].name}.picks"
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), axis))
    graph.initializer.append(numpy_helper.from_array(np.zeros(min(max(turns, 0), _MOST_TURNS), np.int64), picks))
    made = [
        helper.make_node("Identity", [start], [inner.name])
        for start, inner in zip(node.input[2:], body.input[2:], strict=True)
    ]
    for inner in body.node:
        made += _stand_ins(_Original(inner, loop.weights, graph))
    for index, (name, end) in enumerate(zip(node.output, body.output[1:], strict=False)):
        if name and index < len(node.input) - 2:
            made.append(helper.make_node("Identity", [end.name], [name]))
        elif name:
            made.append(helper.make_node("Unsqueeze", [end.name, axis], [f"{name}.one"]))
            made.append(helper.make_node("Gather", [f"{name}.one", picks], [name], axis=0))
    return made


_Maker = Callable[[_Original], list[onnx.NodeProto] | None]


def _as_first(fused: _Original) -> list[onnx.NodeProto]:
    """An op whose result is shaped like what it reads first."""
    return [helper.make_node("Identity", fused.node.input[:1], fused.node.output[:1])]


def _as_query(fused: _Original) -> list[onnx.NodeProto] | None:
    """Attention of separate queries, keys and values, whose heads are as wide as each other."""
    return _as_first(fused) if len(fused.node.input) > 1 and fused.node.input[1] else None


def _as_product(fused: _Original) -> list[onnx.NodeProto]:
    left = "...ki" if fused.number("transA") else "...ik"
    right = "jk" if fused.number("transB") else "kj"
    is_matrix = len(fused.dims(1)) == 2
    right = right if is_matrix else f"...{right}"
    return [helper.make_node("Einsum", fused.node.input[:2], fused.node.output[:1], equation=f"{left},{right}->...ij")]


def _as_plain(op: str, *attributes: str) -> _Maker:
    """An op with an activation behind, as the op alone."""

    def make(fused: _Original) -> list[onnx.NodeProto]:
        plain = helper.make_node(op, fused.node.input[: 2 if op == "MatMul" else 3], fused.node.output[:1])
        plain.attribute.extend(a for a in fused.node.attribute if a.name in attributes)
        return [plain]

    return make


def _as_packed(fused: _Original) -> list[onnx.NodeProto]:
    return _times(fused, (fused.number("K"), fused.number("N")))


def _as_projected(fused: _Original) -> list[onnx.NodeProto] | None:
    """Attention that multiplies with the weights of queries, keys and values first."""
    weight = fused.dims(1)
    if not weight:
        return None
    sizes = next((list(a.ints) for a in fused.node.attribute if a.name == "qkv_hidden_sizes"), None)
    return _times(fused, (weight[0], sizes[2] if sizes else weight[1] // 3))


def _times(fused: _Original, shape: Shape) -> list[onnx.NodeProto]:
    """The first input times a matrix of some shape."""
    name = f"{fused.node.output[0]}.stand_in"
    fused.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
    return [helper.make_node("MatMul", [fused.node.input[0], name], fused.node.output[:1])]


_WINDOW: Final = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_STAND_INS: Final[dict[str, _Maker]] = {
    **dict.fromkeys(
        (
            "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "BiasSoftmax", "BiasDropout", "SkipLayerNormalization",
            "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization", "RotaryEmbedding", "Inverse",
        ),
        _as_first,
    ),
    **dict.fromkeys(("MultiHeadAttention", "GroupQueryAttention"), _as_query),
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation"), _as_product),
    "GemmFastGelu": _as_plain("MatMul"),
    "FusedGemm": _as_plain("Gemm", "transA", "transB"),
    "FusedConv": _as_plain("Conv", *_WINDOW),
    "MatMulNBits": _as_packed,
    "Attention": _as_projected,
}  # fmt: skip
