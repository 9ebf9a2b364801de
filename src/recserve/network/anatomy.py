"""What the parts of a split network do, node by node: operations, bytes, what feeds what.

Sizes known at run time only count as `ASSUMED_SIZE`; operations and bytes are those of one item, one request and one
candidate.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from recserve.network.cost import VIEWS
from recserve.network.cut import ASSUMED_SIZE
from recserve.network.facts import sources
from recserve.network.item_side import StorePlan
from recserve.network.model import TensorSpec
from recserve.network.operations import count_operations
from recserve.network.row_independence import infer_facts
from recserve.network.row_shapes import infer_row_shapes
from recserve.network.session import Session
from recserve.network.sizes import elements
from recserve.network.split import Part, SplitNetwork
from recserve.network.unhandled import Unhandled
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
        flops: floating-point operations of one evaluation; 0 for ops that move elements only, None where ONNX cannot
            infer the shapes that tell.
        bytes: of the weights it reads.
        shape: of its first output, for one row; None where ONNX cannot infer it.
        sources: names of the nodes and inputs of the same part that it reads.
    """

    name: str
    op: str
    rate: Rate
    flops: int | None
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
        flat_flops: operations of the flat network for one candidate.
        unhandled: what stays whole at candidate rate because no rule handles it.
    """

    nodes: dict[Rate, tuple[Node, ...]]
    inputs: dict[Rate, dict[str, TensorSpec]]
    outputs: dict[str, TensorSpec]
    crossings: dict[str, Rate]
    item_bytes: int
    storing: StorePlan | None = None
    flat_flops: int = 0
    unhandled: tuple[Unhandled, ...] = ()

    def flops(self, rate: Rate) -> int:
        """Operations of one evaluation of a part, as far as they are known."""
        return sum(node.flops or 0 for node in self.nodes.get(rate, ()))

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
        split.report.flat_flops,
        split.report.unhandled,
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
    proto = onnx.load_model_from_string(part.model)
    shapes = _shapes(part, proto)
    weights = {w.name: math.prod(w.dims) * helper.tensor_dtype_to_np_dtype(w.data_type).itemsize
               for w in proto.graph.initializer}  # fmt: skip
    graph = ir.serde.deserialize_model(proto).graph
    known = set(part.inputs) | {str(value.name) for node in graph for value in node.outputs}
    maker = {str(value.name): _first(node) for node in graph for value in node.outputs}
    nodes = []
    for node in graph:
        read = dict.fromkeys(str(value.name) for value in sources(node))
        before = dict.fromkeys(maker.get(name, name) for name in read if name in known)
        flops = count_operations(node, lambda value: shapes.get(str(value.name)), ASSUMED_SIZE)
        size = sum(weights.get(name, 0) for name in read)
        name = _first(node)
        nodes.append(Node(name, node.op_type, part.rate, flops, size, shapes.get(name), tuple(before)))
    return tuple(nodes)


def _shapes(part: Part, proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of each value for one row, as ONNX infers it, or else as the rules that rates come from do."""
    shapes = infer_row_shapes(proto)
    if part.rate is Rate.ITEM or all(name in shapes for node in proto.graph.node for name in node.output if name):
        return shapes
    known = infer_facts(part)[1].by_name
    told = {name: fact.dims for name, fact in known.items() if name not in shapes}
    return shapes | {
        n: tuple(elements((d,), ASSUMED_SIZE) for d in dims) for n, dims in told.items() if dims is not None
    }


def _first(node: ir.Node) -> str:
    """The name of the first output that is there."""
    return next((str(value.name) for value in node.outputs if value.name), "")
