"""Counts and prices the work of nodes: floating-point operations, bytes and microseconds for one row.

All comes from the sizes of their axes; a size known at run time only counts as `ASSUMED_SIZE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

from recserve.network.cut import ASSUMED_SIZE
from recserve.network.draft import Draft
from recserve.network.facts import Facts
from recserve.network.operations import PRODUCTS, count_operations
from recserve.network.row_shapes import infer_row_shapes
from recserve.network.sizes import Dims, elements

VIEWS: Final = frozenset({"Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})
"""Ops that move nothing."""
_SLOW_OPS: Final = frozenset(
    {
        "Cos", "Elu", "Erf", "Exp", "Gelu", "HardSwish", "LayerNormalization", "Log", "LogSoftmax", "Mish", "Pow",
        "RMSNormalization", "Selu", "Sigmoid", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Tanh",
    }
)  # fmt: skip
_NARROW: Final = 16
_BYTES: Final = 4


@dataclass(frozen=True)
class OpCosts:
    """Speeds of one core.

    Attributes:
        wide_gflops: products of matrices of many rows, and inner and outer widths above 16, in 10^9 operations/s.
        narrow_gflops: the same with a width of at most 16.
        vector_gflops: products of one row and a matrix.
        batched_gflops: products of a stack of small matrices.
        elementwise_gbytes: bytes read and written by additions and their like, and by copies, in 10^9 a second.
        transcendental_gelements: elements of tanh, sigmoid, softmax and their like, in 10^9 a second.
        gather_gbytes: further bytes of rows at random places of a table larger than the cache, in 10^9 a second.
        gather_row_us: the first cache line of such a row.
        node_us: what a node of a graph costs besides.
    """

    wide_gflops: float
    narrow_gflops: float
    vector_gflops: float
    batched_gflops: float
    elementwise_gbytes: float
    transcendental_gelements: float
    gather_gbytes: float
    gather_row_us: float
    node_us: float

    def gather_us(self, size_bytes: int) -> float:
        """Microseconds for so many bytes of one item's row, once its first line is there."""
        return size_bytes / self.gather_gbytes / 1e3


TYPICAL: Final = OpCosts(
    wide_gflops=110.0,
    narrow_gflops=24.0,
    vector_gflops=20.0,
    batched_gflops=50.0,
    elementwise_gbytes=75.0,
    transcendental_gelements=3.4,
    gather_gbytes=10.0,
    gather_row_us=0.04,
    node_us=0.4,
)
"""As measured on one core with AVX-512; stands in where nothing is measured."""


def node_us(node: ir.Node, facts: Facts, costs: OpCosts, rows: int) -> float:
    """Microseconds of a node for one row, in a call of so many rows: operations or bytes, and its share of the call.

    A value of unknown shape counts as the call alone.
    """
    fixed = costs.node_us / rows
    out = facts[node.outputs[0]]
    if node.op_type in VIEWS or out.is_free or out.dims is None:
        return fixed
    work = flops(node, facts)
    if node.op_type in PRODUCTS:
        written = _BYTES * elements(out.dims, ASSUMED_SIZE) / costs.elementwise_gbytes
        return fixed + (work / _product_gflops(node, facts, costs, rows) + written) / 1e3
    if node.op_type in _SLOW_OPS:
        return fixed + work / costs.transcendental_gelements / 1e3
    return fixed + _moved_bytes(node, facts) / costs.elementwise_gbytes / 1e3


def _moved_bytes(node: ir.Node, facts: Facts) -> int:
    """Bytes that a node reads and writes for one row, weights aside."""
    values = [v for v in (*node.inputs, *node.outputs) if v is not None and not v.is_initializer()]
    shapes = [facts[v].dims for v in values if not facts[v].is_free]
    return _BYTES * sum(elements(dims, ASSUMED_SIZE) for dims in shapes if dims is not None)


def _product_gflops(node: ir.Node, facts: Facts, costs: OpCosts, rows: int) -> float:
    shapes = [facts[v].dims for v in node.inputs if v is not None and v.is_initializer()]
    weights = [dims for dims in shapes if dims is not None and len(dims) >= 2]
    if node.op_type == "Einsum" or not weights:
        return costs.batched_gflops
    if rows == 1 and len(facts[node.outputs[0]].dims or ()) <= 2:
        return costs.vector_gflops
    least = min(min(d.factor for d in dims[-2:]) for dims in weights)
    return costs.narrow_gflops if least <= _NARROW else costs.wide_gflops


def flops(node: ir.Node, facts: Facts) -> int:
    """Floating-point operations of a node for one row; a size known at run time only counts as `ASSUMED_SIZE`.

    None for ops that only move elements, for shape arithmetic and for opaque values, which `count_nodes` counts.
    """
    out = facts[node.outputs[0]]
    if out.is_free or out.dims is None:
        return 0
    return count_operations(node, lambda value: _row_shape(facts[value].dims), ASSUMED_SIZE) or 0


def _row_shape(dims: Dims | None) -> tuple[int, ...] | None:
    return None if dims is None else tuple(elements((size,), ASSUMED_SIZE) for size in dims)


def count_nodes(draft: Draft) -> dict[str, int | None]:
    """Operations of each node of a network for one row, by the name of its first output.

    A node with an opaque value is counted from the shapes that ONNX infers; None where it infers none.
    """
    facts, nodes = draft.facts, draft.nodes()
    is_all_known = all(not facts[node.outputs[0]].is_opaque for node in nodes)
    shapes = {} if is_all_known else infer_row_shapes(ir.to_proto(draft.model))

    def count(node: ir.Node) -> int | None:
        if not facts[node.outputs[0]].is_opaque:
            return flops(node, facts)
        return count_operations(node, lambda value: shapes.get(str(value.name)), ASSUMED_SIZE)

    return {str(node.outputs[0].name): count(node) for node in nodes}
