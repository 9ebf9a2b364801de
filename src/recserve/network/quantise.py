"""Makes the large products of a candidate part run in 8-bit integers.

A product `x @ W` with a constant matrix W becomes one of integers between a QuantizeLinear of x and a DequantizeLinear
of W, which the engines fuse. W has one scale a column (symmetric, so that -127 .. 127 span its largest element); x has
one scale and one zero point, from the range that was observed on requests of calibration. That range is fixed: one of
each call would make the score of a candidate depend on the others of its request.

All else (sums, activation functions, softmax, normalisation, small products) stays floating-point.

Axis letters: K summed, M columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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

_LEAST_SIDE: Final = 32
"""K and M of a product that is worth it: a smaller one costs less than the conversion of its input."""


def quantisable(model: bytes) -> tuple[str, ...]:
    """The tensors that large products with constant matrices read, in the order of the graph.

    Args:
        model: a serialised ONNX model.
    """
    graph = onnx.load_model_from_string(model).graph
    return tuple(dict.fromkeys(node.input[0] for node in _products(graph, _weights(graph))))


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
        proto = onnx.load_model_from_string(model)
        known = {value.name for value in (*proto.graph.input, *proto.graph.output)}
        for name in self._tensors:
            if name not in known:
                proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        self._session: Final = Session(proto.SerializeToString())
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


def quantise(model: bytes, ranges: Sequence[Range]) -> bytes:
    """The model with its large products in 8-bit integers.

    Args:
        model: a serialised ONNX model.
        ranges: of the tensors that they read. A product whose tensor has none stays floating-point.

    Raises:
        ConfigError: no product reads a tensor of `ranges`: they are those of another model.
    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    weights = _weights(graph)
    bounds = {name: (low, high) for name, low, high in ranges}
    chosen = {node.output[0] for node in _products(graph, weights) if node.input[0] in bounds}
    if not chosen:
        raise ConfigError(
            f"no product of the network reads one of the calibrated tensors {', '.join(sorted(bounds))}",
            code="wrong_ranges",
            where="precision int8",
            hint="Build the bundle again",
        )
    nodes: list[onnx.NodeProto] = []
    made: dict[str, str] = {}
    for node in graph.node:
        if node.output[0] in chosen:
            name, axis = node.input[0], _column_axis(node)
            weight = f"{node.input[1]}/{axis}"
            if f"{name}/x" not in made:
                made[f"{name}/x"] = _round_tensor(graph, nodes, name, bounds[name])
            if weight not in made:
                made[weight] = _round_weight(graph, nodes, weights[node.input[1]], axis)
            node.input[0], node.input[1] = made[f"{name}/x"], made[weight]
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    _drop_unread(graph)
    data: bytes = proto.SerializeToString()
    return data


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


def _column_axis(node: Any) -> int:
    return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1


def _round_tensor(graph: Any, nodes: list[Any], name: str, bounds: tuple[float, float]) -> str:
    scale, zero = scale_of(*bounds)
    names = [f"{name}~x_scale", f"{name}~x_zero"]
    graph.initializer.extend(numpy_helper.from_array(np.array(v), n) for v, n in zip((scale, zero), names, strict=True))
    nodes += [
        helper.make_node("QuantizeLinear", [name, *names], [f"{name}~x8"]),
        helper.make_node("DequantizeLinear", [f"{name}~x8", *names], [f"{name}~x"]),
    ]
    return f"{name}~x"


def _round_weight(graph: Any, nodes: list[Any], tensor: Any, axis: int) -> str:
    integers, scales = round_columns(numpy_helper.to_array(tensor), axis)
    base = f"{tensor.name}~w{axis}"
    arrays = {f"{base}_8": integers, f"{base}_scale": scales, f"{base}_zero": np.zeros(len(scales), np.int8)}
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    nodes.append(helper.make_node("DequantizeLinear", list(arrays), [base], axis=axis))
    return base


def _drop_unread(graph: Any) -> None:
    """The float weights that no node reads any more."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)
