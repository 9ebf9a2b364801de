"""Makes the large products of a candidate part run in 8-bit integers.

A product `x @ W` with a constant matrix W becomes one of integers. W has one scale a column (symmetric, so that
-127 .. 127 span its largest element); x has one scale and one zero point, from the range that was observed on requests
of calibration. That range is fixed: one of each call would make the score of a candidate depend on the others of its
request.

All else (sums, activation functions, softmax, normalisation, small products, products whose input has no range) stays
floating-point. There are two forms of the same numbers:

- of standard ops: a product of a DequantizeLinear of x, behind its QuantizeLinear, and of one of W, which engines fuse;
- fused: one MatMulIntegerToFloat of ONNX Runtime with the sum of a constant bias. ONNX Runtime leaves a fourth of the
  products of the other form in float32, between conversions, where a bias and an activation function follow.

Axis letters: K summed, M columns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from recserve.dtypes import F32
from recserve.errors import ConfigError
from recserve.network.session import Session

Range = tuple[str, float, float]
"""A tensor, and the least and the largest value that it took."""

_FUSED_DOMAIN: Final = "com.microsoft"
_LEAST_SIDE: Final = 32
"""K and M of a product that is worth it: a smaller one costs less than the conversion of its input."""


def quantisable(model: bytes) -> tuple[str, ...]:
    """The tensors that large products with constant matrices read, in the order of the graph.

    Args:
        model: a serialised ONNX model.
    """
    graph = onnx.load_model_from_string(model).graph
    return tuple(dict.fromkeys(node.input[0] for node in _products(graph, _weights(graph))))


def count_products(model: bytes) -> dict[str, int]:
    """{quantisable tensor: multiply-adds of the products that read it, for one row of it}."""
    graph = onnx.load_model_from_string(model).graph
    weights = _weights(graph)
    found: Counter[str] = Counter()
    for node in _products(graph, weights):
        found[node.input[0]] += math.prod(weights[node.input[1]].dims)
    return dict(found)


def expose(model: bytes, tensors: Iterable[str]) -> bytes:
    """The model with float32 tensors as further outputs, unless they are inputs or outputs already."""
    proto = onnx.load_model_from_string(model)
    known = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    for name in tensors:
        if name not in known:
            proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    data: bytes = proto.SerializeToString()
    return data


class RangeObserver:
    """Sees the inputs of a part, and keeps the ranges of its quantisable tensors.

    Args:
        model: a serialised ONNX model.

    Raises:
        ConfigError: it has no product that is worth it.
    """

    def __init__(self, model: bytes) -> None:
        self._tensors: Final = quantisable(model)
        if not self._tensors:
            raise ConfigError(
                f"the candidate network has no product with a matrix of {_LEAST_SIDE} × {_LEAST_SIDE} or more",
                code="nothing_to_quantise",
                where="precision int8",
                hint="Leave the precision at fp32: there is nothing to gain",
            )
        self._session: Final = Session(expose(model, self._tensors))
        self._seen: dict[str, tuple[float, float]] = {}

    def observe(self, feeds: Mapping[str, npt.NDArray[Any]]) -> None:
        """Run the part on `feeds`, and widen the ranges by what its tensors hold."""
        needed = {name: feeds[name] for name in self._session.inputs}
        found = needed | self._session.run(needed)
        for name in self._tensors:
            values = found[name]
            values = values[np.isfinite(values)]
            low, high = self._seen.get(name, (0.0, 0.0))
            self._seen[name] = (float(values.min(initial=low)), float(values.max(initial=high)))

    @property
    def ranges(self) -> tuple[Range, ...]:
        """(tensor, least, largest) of what was seen; 0 is within."""
        return tuple((name, *bounds) for name, bounds in self._seen.items())


def quantise(model: bytes, ranges: Sequence[Range], *, is_fused: bool = False) -> bytes:
    """The model with its large products in 8-bit integers.

    Args:
        model: a serialised ONNX model.
        ranges: of the tensors that they read. A product whose tensor has none stays floating-point.
        is_fused: with ops that only ONNX Runtime's CPU provider has.

    Raises:
        ConfigError: no product reads a tensor of `ranges`: they are those of another model.
    """
    proto = onnx.load_model_from_string(model)
    bounds = {name: (low, high) for name, low, high in ranges}
    chosen = {node.output[0] for node in _products(proto.graph, _weights(proto.graph)) if node.input[0] in bounds}
    if not chosen:
        raise ConfigError(
            f"no product of the network reads one of the calibrated tensors {', '.join(sorted(bounds))}",
            code="wrong_ranges",
            where="precision int8",
            hint="Build the bundle again",
        )
    rounding = _Rounding(proto.graph, bounds)
    biases = _constant_biases(proto.graph, chosen) if is_fused else {}
    summed = {bias.node for bias in biases.values()}
    for node in proto.graph.node:
        if node.output[0] in chosen and is_fused and not _is_scaled(node):
            rounding.fuse(node, biases.get(node.output[0]))
        elif node.output[0] in chosen:
            rounding.wrap(node)
        elif node.output[0] not in summed:
            rounding.nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in rounding.nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
    _drop_unread(proto.graph)
    if is_fused and all(entry.domain != _FUSED_DOMAIN for entry in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(_FUSED_DOMAIN, 1))
    data: bytes = proto.SerializeToString()
    return data


@dataclass(frozen=True)
class _Bias:
    """A sum of a product and a constant vector: the output of its node, which is also its name, and the vector's."""

    node: str
    vector: str


class _Rounding:
    """Writes the nodes of the rounded graph, in order."""

    def __init__(self, graph: Any, bounds: Mapping[str, tuple[float, float]]) -> None:
        self.nodes: list[Any] = []
        self._graph: Final = graph
        self._bounds: Final = bounds
        self._weights: Final = _weights(graph)
        self._tensors: dict[str, list[str]] = {}
        self._matrices: dict[tuple[str, int], list[str]] = {}
        self._widened: dict[str, str] = {}

    def wrap(self, node: Any) -> None:
        """A product of what the rounded factors stand for."""
        name, axis = node.input[0], _column_axis(node)
        tensor, matrix = self._tensor(name), self._matrix(node.input[1], axis)
        for parts, attributes in ((tensor, {}), (matrix, {"axis": axis})):
            if parts[0] not in self._widened:
                self._widened[parts[0]] = parts[0].removesuffix("8")
                wide = helper.make_node("DequantizeLinear", parts, [self._widened[parts[0]]], **attributes)
                self.nodes.append(wide)
        node.input[0], node.input[1] = self._widened[tensor[0]], self._widened[matrix[0]]
        self.nodes.append(node)

    def fuse(self, node: Any, bias: _Bias | None) -> None:
        """One node for the product of integers, its scales, and the sum of a constant bias."""
        tensor, matrix = self._tensor(node.input[0]), self._matrix(node.input[1], _column_axis(node), is_turned=True)
        (x, x_scale, x_zero), (w, w_scale, w_zero) = tensor, matrix
        rest = [] if node.op_type == "MatMul" or len(node.input) < 3 else [node.input[2]]
        output = node.output[0] if bias is None else bias.node
        inner = f"{output}~product" if rest else output
        inputs = [x, w, x_scale, w_scale, x_zero, w_zero, *([] if bias is None else [bias.vector])]
        self.nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [inner], domain=_FUSED_DOMAIN))
        if rest:
            self.nodes.append(helper.make_node("Add", [inner, *rest], [output]))

    def _tensor(self, name: str) -> list[str]:
        """Names of a tensor in integers, of its scale and of its zero point."""
        if name not in self._tensors:
            scale, zero = scale_of(*self._bounds[name])
            names = [f"{name}~x_scale", f"{name}~x_zero"]
            arrays = zip((scale, zero), names, strict=True)
            self._graph.initializer.extend(numpy_helper.from_array(np.array(value), at) for value, at in arrays)
            self.nodes.append(helper.make_node("QuantizeLinear", [name, *names], [f"{name}~x8"]))
            self._tensors[name] = [f"{name}~x8", *names]
        return self._tensors[name]

    def _matrix(self, name: str, axis: int, *, is_turned: bool = False) -> list[str]:
        """Names of a matrix in integers, of its scales and of its zero points; `is_turned`: always as [K, M]."""
        if (name, axis) not in self._matrices:
            integers, scales = round_columns(numpy_helper.to_array(self._weights[name]), axis)
            integers = np.ascontiguousarray(integers.T) if is_turned and axis == 0 else integers
            base = f"{name}~w{axis}"
            arrays = {f"{base}_8": integers, f"{base}_scale": scales, f"{base}_zero": np.zeros(len(scales), np.int8)}
            self._graph.initializer.extend(numpy_helper.from_array(array, at) for at, array in arrays.items())
            self._matrices[name, axis] = list(arrays)
        return self._matrices[name, axis]


def _constant_biases(graph: Any, chosen: Collection[str]) -> dict[str, _Bias]:
    """{product: the sum of it and a constant float32[M] that alone reads it}."""
    vectors = {
        t.name: tuple(t.dims) for t in graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 1
    }
    columns = {name: tuple(tensor.dims) for name, tensor in _weights(graph).items()}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    widths = {
        node.output[0]: columns[node.input[1]][_column_axis(node)]
        for node in graph.node
        if node.output[0] in chosen and (node.op_type == "MatMul" or len(node.input) < 3)
    }
    found: dict[str, _Bias] = {}
    for node in graph.node:
        if node.op_type != "Add" or node.domain:
            continue
        for product, vector in (tuple(node.input), tuple(node.input)[::-1]):
            if product in widths and uses[product] == 1 and vectors.get(vector) == (widths[product],):
                found[product] = _Bias(node.output[0], vector)
    return found


def round_columns(weight: F32, axis: int) -> tuple[npt.NDArray[np.int8], F32]:
    """A matrix in integers, and the scale of each of its columns.

    Args:
        weight: float32[K, M], or [M, K].
        axis: that of M.

    Returns:
        int8 of the same shape in -127 .. 127, rounded to nearest even; float32[M], such that integer · scale is within
        half a scale of the weight.
    """
    scales = np.abs(weight).max(axis=1 - axis) / np.float32(127)
    scales = np.where(scales > 0, scales, np.float32(1)).astype(np.float32)
    wide = np.rint(weight / (scales if axis == 1 else scales[:, None]))
    return np.clip(wide, -127, 127).astype(np.int8), scales


def scale_of(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """(scale, zero point) of 8 bits over a range that holds 0, which is represented exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    if not math.isfinite(scale) or scale <= np.finfo(np.float32).tiny:
        return np.float32(1), np.uint8(0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def _weights(graph: Any) -> dict[str, Any]:
    """Constant float32 matrices by name."""
    return {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2}


def _products(graph: Any, weights: Mapping[str, Any]) -> Iterator[Any]:
    for node in graph.node:
        if node.domain or node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights:
            continue
        is_turned = any(a.name == "transA" and a.i for a in node.attribute)
        if not is_turned and node.input[0] not in weights and min(weights[node.input[1]].dims) >= _LEAST_SIDE:
            yield node


def _is_scaled(node: Any) -> bool:
    """A Gemm with factors besides its matrices."""
    return any(a.name in ("alpha", "beta") and a.f != 1 for a in node.attribute)


def _column_axis(node: Any) -> int:
    return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1


def _drop_unread(graph: Any) -> None:
    """The float weights that no node reads any more."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)
