"""What the parts of a split network do, node by node: operations, bytes, what feeds what.

Sizes known at run time only count as `ASSUMED_SIZE`; operations and bytes are those of one item, one request and one
candidate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recserve.network.cost import FREE_OPS, VIEWS
from recserve.network.cut import ASSUMED_SIZE
from recserve.network.item_side import StorePlan
from recserve.network.model import TensorSpec
from recserve.network.session import Session
from recserve.network.split import Part, SplitNetwork
from recserve.rates import Rate

_BYTES: Final = 4
_SIDE: Final = 512
_COPY: Final = 2**24
_REPEATS: Final = 5


@dataclass(frozen=True)
class Node:
    """One node of a part.

    Attributes:
        name: of its first output.
        op: its op type.
        rate: of its part.
        flops: floating-point operations of one evaluation; 0 for ops that move elements only, or of unknown shape.
        bytes: of the weights it reads.
        shape: of its first output, for one row; None where ONNX cannot infer it.
        sources: names of the nodes and inputs of the same part that it reads.
    """

    name: str
    op: str
    rate: Rate
    flops: int
    bytes: int
    shape: tuple[int, ...] | None
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Anatomy:
    """The parts of a split network, taken apart.

    Attributes:
        nodes: by rate, in topological order.
        inputs: of each part, by rate.
        outputs: of the candidate part: the goals.
        crossings: {input of the candidate part: the rate that it comes from}.
        item_bytes: stored for each item.
        storing: why those are stored; None in what an older recserve built.
    """

    nodes: dict[Rate, tuple[Node, ...]]
    inputs: dict[Rate, dict[str, TensorSpec]]
    outputs: dict[str, TensorSpec]
    crossings: dict[str, Rate]
    item_bytes: int
    storing: StorePlan | None = None

    def flops(self, rate: Rate) -> int:
        """Operations of one evaluation of a part."""
        return sum(node.flops for node in self.nodes.get(rate, ()))

    def weight_bytes(self, rate: Rate) -> int:
        """Bytes of the weights that a part reads."""
        return sum(node.bytes for node in self.nodes.get(rate, ()))

    def activation_bytes(self, rate: Rate) -> int:
        """Bytes that the nodes of a part write for one row, as far as shapes are known; views write nothing."""
        shapes = [node.shape for node in self.nodes.get(rate, ()) if node.op not in VIEWS and node.shape is not None]
        return _BYTES * sum(math.prod(shape) for shape in shapes)


@dataclass(frozen=True)
class Ceilings:
    """What one core does at best, measured.

    Attributes:
        flops: float32 operations a second, of a product of matrices.
        bytes: a second, copied.
    """

    flops: float
    bytes: float

    def floor_us(self, anatomy: Anatomy, candidates: int) -> float:
        """Microseconds that the candidate part cannot beat, for so many candidates: operations or bytes, the slower."""
        return max(self.compute_us(anatomy, Rate.CANDIDATE, candidates), self.bytes_us(anatomy, candidates))

    def compute_us(self, anatomy: Anatomy, rate: Rate, rows: int) -> float:
        """Microseconds of the operations of a part for so many rows, at the ceiling."""
        return 1e6 * anatomy.flops(rate) * rows / self.flops

    def bytes_us(self, anatomy: Anatomy, candidates: int) -> float:
        """Microseconds to read the weights of the candidate part once and what is stored of each candidate."""
        moved = anatomy.weight_bytes(Rate.CANDIDATE) + anatomy.item_bytes * candidates
        return 1e6 * moved / self.bytes


def dissect(split: SplitNetwork) -> Anatomy:
    """Take the parts of a split network apart."""
    parts = {part.rate: part for part in (split.item, split.request, split.candidate) if part is not None}
    return Anatomy(
        {rate: _nodes(part) for rate, part in parts.items()},
        {rate: part.inputs for rate, part in parts.items()},
        split.candidate.outputs,
        split.crossings,
        split.report.item_bytes,
        split.report.storing,
    )


def measure_ceilings() -> Ceilings:
    """Time a product of matrices in ONNX Runtime on one core, and a copy of 16 M floats."""
    side = helper.make_tensor_value_info("x", TensorProto.FLOAT, [_SIDE, _SIDE])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [_SIDE, _SIDE])
    weight = numpy_helper.from_array(np.full((_SIDE, _SIDE), 0.5, np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "ceiling", [side], [out], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = Session(model.SerializeToString(), threads=1)
    feeds = {"x": np.full((_SIDE, _SIDE), 0.5, np.float32)}
    source = np.zeros(_COPY, np.float32)
    target = np.ones_like(source)
    return Ceilings(
        2 * _SIDE**3 / _best(lambda: session.run(feeds)), 2 * source.nbytes / _best(lambda: np.copyto(target, source))
    )


def _best(work: Any) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _nodes(part: Part) -> tuple[Node, ...]:
    model = onnx.load_model_from_string(part.model)
    weights = {w.name: math.prod(w.dims) * _BYTES for w in model.graph.initializer}
    shapes = _shapes(model)
    known = set(part.inputs) | {name for node in model.graph.node for name in node.output}
    maker = {name: _first(node) for node in model.graph.node for name in node.output}
    nodes = []
    for node in model.graph.node:
        sources = dict.fromkeys(maker.get(name, name) for name in node.input if name and name in known)
        size = sum(weights.get(name, 0) for name in node.input)
        shape = shapes.get(_first(node))
        flops = _flops(node, shapes)
        nodes.append(Node(_first(node), node.op_type, part.rate, flops, size, shape, tuple(sources)))
    return tuple(nodes)


def _first(node: Any) -> str:
    """The name of the first output that is there."""
    return next((name for name in node.output if name), "")


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every value for one row, where ONNX can tell."""
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") != "dim_value":
                dim.dim_value = 1 if axis == 0 else ASSUMED_SIZE
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {w.name: tuple(w.dims) for w in model.graph.initializer}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        dims = value.type.tensor_type.shape.dim
        has_shape = value.type.tensor_type.HasField("shape")
        if has_shape and all(dim.WhichOneof("value") == "dim_value" for dim in dims):
            shapes[value.name] = tuple(int(dim.dim_value) for dim in dims)
    return shapes


def _flops(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """As `cost.flops`, from shapes of one row."""
    out = shapes.get(_first(node))
    if node.op_type in FREE_OPS or out is None:
        return 0
    operands = [shapes[name] for name in node.input if name in shapes]
    if node.op_type in ("MatMul", "Gemm") and operands:
        is_turned = any(a.name == "transA" and a.i for a in node.attribute)
        return 2 * math.prod(out) * operands[0][0 if is_turned else -1]
    if node.op_type in ("GRU", "LSTM", "RNN") and len(operands) > 2:
        return 2 * operands[0][0] * (math.prod(operands[1]) + math.prod(operands[2]))
    return max(math.prod(shape) for shape in [out, *operands])
