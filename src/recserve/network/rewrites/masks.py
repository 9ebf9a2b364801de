"""Constant masks: what they hide is a constant, so that it takes nobody's rate.

In a causal transformer over `[history; item]` no row of the history sees the item. Once the scores are cut into pieces,
the piece of history rows and item column is masked whole; it is then the same for all candidates, and the history's
rows run once per request.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.rewrites.concats import Mixed, mixed, pairwise_rows, step_of
from recserve.network.rewrites.spans import Bound, Spans, bound_of
from recserve.network.rules.axes import normal
from recserve.network.rules.elementwise import BROADCASTING, UNARY
from recserve.rates import Rate

_NEUTRAL: Final = {"Add": 0, "Mul": 1, "And": 1, "Or": 0}
_ABSORBING: Final = 1e30
"""A number to which float32 adds nothing that a score can be."""
_FILLED: Final = frozenset({"Mul", "MatMul", "And", "Or", "Add", "Where"})
_LOGICAL: Final = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"})
_TYPED: Final = (
    UNARY
    | BROADCASTING
    | {
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Gemm",
        "LayerNormalization",
        "MatMul",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Reshape",
        "Slice",
        "Softmax",
        "Squeeze",
        "Tile",
        "Transpose",
        "Trilu",
        "Unsqueeze",
    }
) - {"Cast", "IsInf", "IsNaN"}
"""Ops whose output is of the dtype of their first input (the second of Where)."""


def fill_masked(draft: Draft) -> None:
    """`x·0 = 0`, `x - ∞ = -∞`, `Where(true, a, x) = a`, `softmax [x, -∞] = [softmax x, 0]`; then `x + 0 = x`.

    What a mask hides whole is a constant. A float32 adds nothing to a number below -1e30; `[0; b] @ y = [0; b @ y]`.
    For finite x; an infinite score times 0 is no number in the flat graph.

    A block of a mask made of sizes is all true or all false where its spans say so, whatever the sizes are: rows 0 to
    L-1 of `i >= j` over L+1 steps hide column L.
    """
    spans = Spans(draft)
    for node in draft.nodes():
        out = draft.fact(node.outputs[0])
        if out.is_opaque or out.rate is Rate.CONSTANT or out.content is not None:
            continue
        simpler = _kept(draft, spans, node) or _by_rows(draft, node) or _by_block(draft, spans, node)
        simpler = simpler or _softmax(draft, spans, node)
        if simpler is not None:
            draft.replace(node.outputs[0], simpler, "fill_masked", f"{node.op_type} without what a mask hides")
            continue
        fill = _fill(draft, spans, node)
        if fill is None or all(use.node.op_type == "Shape" for use in node.outputs[0].uses()):
            continue
        shape = draft.emit("Shape", [node.outputs[0]], _next(draft, node))
        result = draft.emit("Expand", [fill, shape], _next(draft, node))
        if draft.fact(result).dims == out.dims:
            draft.replace(node.outputs[0], result, "fill_masked", f"{node.op_type} of what a mask hides")
            shape_node = shape.producer()
            assert shape_node is not None
            shape_node.replace_input_with(0, node.outputs[0])


def _kept(draft: Draft, spans: Spans, node: ir.Node) -> ir.Value | None:
    """The x of `x + 0`, `x · 1`, `x and true`, `x or false` and `Where(true, x, y)`, of the shape of the whole."""
    kept: list[ir.Value | None] = []
    if node.op_type == "Where":
        condition = spans.uniform(node.inputs[0])
        kept = [] if condition is None else [node.inputs[1 if condition else 2]]
    elif node.op_type in _NEUTRAL:
        left, right = node.inputs
        pairs = ((left, right), (right, left))
        kept = [x for x, other in pairs if spans.uniform(other) == _NEUTRAL[node.op_type]]
    return next((x for x in kept if x is not None and draft.fact(x).dims == draft.dims(node.outputs[0])), None)


def _by_block(draft: Draft, spans: Spans, node: ir.Node) -> ir.Value | None:
    """`[a, b] · [m, 0] = [a · m, b · 0]`: a mask is cut like the pieces that it hides, or shows, whole."""
    found = next((f for v in node.inputs if (f := mixed(draft, v)) is not None), None)
    if found is None or node.op_type not in _FILLED - {"MatMul"}:
        return None
    masks = node.inputs[:1] if node.op_type == "Where" else node.inputs
    if not any(_settles(spans, node, v, found) for v in masks if v is not None and v is not found.node.outputs[0]):
        return None
    rows = pairwise_rows(draft, node)
    if rows is None:
        return None
    pieces = [draft.copy(node, row, node) for row in rows[1]]
    result = draft.emit("Concat", pieces, node, axis=rows[0])
    return result if draft.fact(result).dims == draft.dims(node.outputs[0]) else None


def _settles(spans: Spans, node: ir.Node, mask: ir.Value, found: Mixed) -> bool:
    """On one of the pieces, but not on all alike, the mask alone tells what comes of it."""
    rank, dims = found.rank(spans.draft), spans.draft.dims(mask)
    own = found.axis - rank + len(dims)
    if own < 0 or dims[own] != spans.draft.dims(found.node.outputs[0])[found.axis]:
        return False
    start, box = Bound(0), [spans.axis(size) for size in dims]
    for piece in found.pieces:
        box[own] = spans.axis(spans.draft.dims(piece)[found.axis]).shift(start)
        start = start + bound_of(spans.draft.dims(piece)[found.axis], spans.draft.facts)
        number = spans.span(mask, tuple(box)).value
        if number is not None and (number in (0, 1) or number <= -_ABSORBING):
            return node.op_type != "Add" or number != 1
    return False


def _by_rows(draft: Draft, node: ir.Node) -> ir.Value | None:
    """`[0; b] @ y = [0 @ y; b @ y]`."""
    left = node.inputs[0] if node.op_type == "MatMul" else None
    rows = None if left is None else left.producer()
    if left is None or rows is None or rows.op_type != "Concat":
        return None
    rank = len(draft.dims(left))
    axis = normal(rows.attributes["axis"].as_int(), rank)
    if axis != rank - 2 or not any(_is_zero(draft, v) for v in rows.inputs):
        return None
    products = [draft.copy(node, [v, node.inputs[1]], node) for v in rows.inputs]
    result = draft.emit("Concat", products, node, axis=len(draft.dims(node.outputs[0])) - 2)
    return result if draft.fact(result).dims == draft.dims(node.outputs[0]) else None


def _softmax(draft: Draft, spans: Spans, node: ir.Node) -> ir.Value | None:
    """`softmax [x, -∞] = [softmax x, 0]` along the axis of the concatenation."""
    value = node.inputs[0] if node.op_type == "Softmax" and draft.facts.opset >= 13 else None
    columns = None if value is None else value.producer()
    if value is None or columns is None or columns.op_type != "Concat":
        return None
    axis = normal(step_of(draft, node).int_of("axis", -1), len(draft.dims(value)))
    pieces = [v for v in columns.inputs if v is not None]
    hidden = [spans.uniform(v) == -np.inf for v in pieces]
    seen = [v for v, is_hidden in zip(pieces, hidden, strict=True) if not is_hidden]
    is_along = normal(columns.attributes["axis"].as_int(), len(draft.dims(value))) == axis
    if not is_along or not any(hidden) or len(seen) != 1:
        return None
    zero = draft.constant(np.zeros((), np.float32))
    results = [
        draft.emit("Expand", [zero, draft.emit("Shape", [v], node)], node) if is_hidden else draft.copy(node, [v], node)
        for v, is_hidden in zip(pieces, hidden, strict=True)
    ]
    return draft.emit("Concat", results, node, axis=axis)


def _is_zero(draft: Draft, value: ir.Value | None) -> bool:
    """A weight of zeros, repeated or not."""
    node = None if value is None else value.producer()
    array = draft.array(node.inputs[0] if node is not None and node.op_type == "Expand" else value)
    return array is not None and array.size > 0 and not np.any(array)


def _next(draft: Draft, node: ir.Node) -> ir.Node:
    """The node behind another, in front of which what reads the other's output may stand."""
    nodes = list(draft.model.graph)
    return nodes[nodes.index(node) + 1]


def _fill(draft: Draft, spans: Spans, node: ir.Node) -> ir.Value | None:
    """The weight, of one element, that fills the output of a node; None where it is no constant."""
    filled = [spans.uniform(v) for v in node.inputs] if node.op_type in _FILLED else []
    number: float | None = None
    if node.op_type in ("Mul", "MatMul", "And") and 0 in filled:
        number = 0
    elif node.op_type == "Or" and 1 in filled:
        number = 1
    elif node.op_type == "Add":
        number = next((x for x in filled if x is not None and x <= -_ABSORBING), None)
    elif node.op_type == "Where" and filled[0] is not None:
        number = filled[1 if filled[0] else 2]
    dtype = None if number is None else _dtype_of(node.outputs[0])
    return None if dtype is None else draft.constant(np.asarray(number, dtype.numpy()))


def _dtype_of(value: ir.Value | None) -> ir.DataType | None:
    """The dtype of a value that arithmetic and choices make; None where it cannot be told."""
    while value is not None:
        node = value.producer()
        if value.dtype is not None and node is None:
            return value.dtype
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type in _LOGICAL:
            return ir.DataType.BOOL
        if node.op_type == "Cast":
            return ir.DataType(node.attributes["to"].as_int())
        if node.op_type not in _TYPED:
            return None
        value = node.inputs[1 if node.op_type == "Where" else 0]
    return None
