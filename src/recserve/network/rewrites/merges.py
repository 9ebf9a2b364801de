"""Rows that a reshape merges behind another axis: taken apart again, so that a block of a candidate stays a block.

`[L, N, d] → [L·N, d]` puts the candidates' blocks apart (row k of every candidate lies beside the others'), so that
the merged value is opaque. Axis letters: N candidates, L steps, d and h widths.
"""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.facts import Content
from recserve.network.rewrites.products import works_on_last_axis
from recserve.network.rewrites.views import reshape_target
from recserve.network.rules.elementwise import UNARY
from recserve.network.rules.shapes import target_dims
from recserve.network.sizes import Dims, Size, product


class _Chain(NamedTuple):
    """`f(Reshape(source))`: the nodes of f from the last to the first, and the axes between the reshape and f."""

    source: ir.Value
    merged: Dims
    nodes: list[ir.Node]


def take_rows_apart(draft: Draft) -> None:
    """`Reshape(f(Reshape(x [L, N, d] → [L·N, d])) → [L, N, h]) = f(x)` for f of each row by itself.

    Such f are products with weights along d, and ops on each element. The legacy exporter of PyTorch writes the
    projection behind `nn.MultiheadAttention` so, whose sequences come first.
    """
    for node in draft.nodes():
        if node.op_type != "Reshape" or not draft.fact(node.outputs[0]).is_opaque or node.inputs[1] is None:
            continue
        target, chain = _target(draft, node.inputs[1]), _chain(draft, node.inputs[0])
        if target is None or chain is None:
            continue
        wanted = target_dims((chain.merged[0], _width(draft, chain)), target, allow_zero=False)
        if wanted is None:
            continue
        count = _leading(wanted, chain.merged[0])
        result = None if count is None else _apart(draft, node, chain, wanted, count)
        if result is not None:
            draft.replace(node.outputs[0], result, "take_rows_apart", f"{len(chain.nodes)} ops before the axes merge")


def _chain(draft: Draft, value: ir.Value | None) -> _Chain | None:
    """The ops on each row between an opaque value and the reshape that merged its rows."""
    nodes: list[ir.Node] = []
    while value is not None and draft.fact(value).is_opaque:
        node = value.producer()
        if node is None or not node.inputs or len(node.outputs) > 1:
            return None
        source = node.inputs[0]
        if node.op_type == "Reshape":
            merged = None if source is None else _merged(draft, node, source)
            return None if merged is None or source is None else _Chain(source, merged, nodes)
        nodes.append(node)
        value = source
    return None


def _target(draft: Draft, shape: ir.Value) -> Content | None:
    """The elements of a shape; None for one that is read off an opaque value."""
    content = draft.fact(shape).content
    node = shape.producer()
    if content is not None or node is None or node.op_type != "Concat":
        return content
    elements: list[Size | None] = []
    for part in node.inputs:
        known = None if part is None else draft.fact(part).content
        if known is None and not _is_one_size(part):
            return None
        elements += (None,) if known is None else known
    return tuple(elements)


def _is_one_size(value: ir.Value | None) -> bool:
    """`Unsqueeze(Gather(Shape(x), k))`, as exporters read one axis of x."""
    for op in ("Unsqueeze", "Gather", "Shape"):
        node = None if value is None else value.producer()
        if node is None or node.op_type != op:
            return False
        index = node.inputs[1].const_value if op == "Gather" and node.inputs[1] is not None else None
        if op == "Gather" and (index is None or index.size != 1 or index.shape.rank() > 0):
            return False
        value = node.inputs[0]
    return True


def _merged(draft: Draft, node: ir.Node, source: ir.Value) -> Dims | None:
    """The two axes of a merging reshape."""
    dims, target = draft.fact(source).dims, node.inputs[1]
    content = None if target is None else draft.fact(target).content
    if dims is None or content is None:
        return None
    merged = target_dims(dims, content, allow_zero=False)
    return merged if merged is not None and len(merged) == 2 and merged[1].is_static else None


def _width(draft: Draft, chain: _Chain) -> Size:
    """The last axis behind the ops; the target may have it from the value itself, as an unknown size."""
    weights = [draft.array(node.inputs[1]) for node in chain.nodes if node.op_type == "MatMul"]
    last = weights[0] if weights else None
    return chain.merged[1] if last is None else Size(last.shape[-1])


def _leading(wanted: Dims, merged: Size) -> int | None:
    """How many axes from the first on make up the merged one."""
    return next((k for k in range(2, len(wanted)) if product(wanted[:k]) == merged), None)


def _apart(draft: Draft, node: ir.Node, chain: _Chain, wanted: Dims, count: int) -> ir.Value | None:
    shape = reshape_target(draft, chain.source, [*wanted[:count], chain.merged[1]])
    if shape is None:
        return None
    value = draft.emit("Reshape", [chain.source, shape], node)
    for inner in reversed(chain.nodes):
        dims = draft.fact(value).dims
        is_unary = inner.op_type in UNARY and len(inner.inputs) == 1
        if dims is None or not (is_unary or works_on_last_axis(draft, inner, dims[-1].factor)):
            return None
        value = draft.copy(inner, [value, *inner.inputs[1:]], node)
    dims = draft.fact(value).dims
    if dims is None:
        return None
    if dims != wanted:
        split = reshape_target(draft, value, list(wanted))
        value = value if split is None else draft.emit("Reshape", [value, split], node)
    return value if draft.fact(value).dims == wanted else None
