"""Counts the work of nodes: floating-point operations for one row, from the sizes of their axes."""

from __future__ import annotations

import math

import onnx_ir as ir

from recserve.network.cut import ASSUMED_SIZE
from recserve.network.facts import Facts
from recserve.network.sizes import Dims, elements

FREE_OPS = frozenset(
    {
        "Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Reshape", "Shape", "Slice",
        "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Ops that only move elements."""


def flops(node: ir.Node, facts: Facts) -> int:
    """Floating-point operations of a node for one row; a size known at run time only counts as `ASSUMED_SIZE`.

    Two per multiply-add of a product of matrices, one per element for any other op, none for ops that only move
    elements, for shape arithmetic and for opaque values, whose sizes are unknown.
    """
    out = facts[node.outputs[0]]
    if node.op_type in FREE_OPS or out.is_free or out.dims is None:
        return 0
    shapes = [facts[v].dims for v in node.inputs if v is not None]
    known: list[Dims] = [s for s in shapes if s is not None]
    if node.op_type in ("MatMul", "Gemm"):
        inner = known[0][0] if node.op_type == "Gemm" and _transposed(node) else known[0][-1]
        return 2 * elements(out.dims, ASSUMED_SIZE) * elements((inner,), ASSUMED_SIZE)
    if node.op_type == "Einsum":
        return len(known) * _einsum_elements(node, known)
    if node.op_type in ("GRU", "LSTM", "RNN"):
        steps = elements(known[0][:1], ASSUMED_SIZE)
        weights = sum(math.prod(d.factor for d in shape) for shape in known[1:3])
        return 2 * steps * weights
    return max(elements(dims, ASSUMED_SIZE) for dims in [out.dims, *known])


def _transposed(node: ir.Node) -> bool:
    attribute = node.attributes.get("transA")
    return attribute is not None and bool(attribute.as_int())


def _einsum_elements(node: ir.Node, shapes: list[Dims]) -> int:
    terms = node.attributes["equation"].as_string().replace(" ", "").split("->")[0].split(",")
    sizes = {
        label: size for term, dims in zip(terms, shapes, strict=True) for label, size in zip(term, dims, strict=True)
    }
    return elements(tuple(sizes.values()), ASSUMED_SIZE)
