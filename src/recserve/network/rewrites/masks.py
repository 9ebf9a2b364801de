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
from recserve.network.rewrites.concats import step_of
from recserve.network.rules.axes import normal
from recserve.rates import Rate

_ABSORBING: Final = 1e30
"""A number to which float32 adds nothing that a score can be."""


def fill_masked(draft: Draft) -> None:
    """`x·0 = 0`, `x - ∞ = -∞`, `Where(true, a, x) = a`, `softmax [x, -∞] = [softmax x, 0]`; then `x + 0 = x`.

    What a mask hides whole is a constant. A float32 adds nothing to a number below -1e30; `[0; b] @ y = [0; b @ y]`.
    For finite x; an infinite score times 0 is no number in the flat graph.
    """
    for node in draft.nodes():
        out = draft.fact(node.outputs[0])
        if out.is_opaque or out.rate is Rate.CONSTANT:
            continue
        simpler = _without_zeros(draft, node) or _by_rows(draft, node) or _softmax(draft, node)
        if simpler is not None:
            draft.replace(node.outputs[0], simpler, "fill_masked", f"{node.op_type} without what a mask hides")
            continue
        fill = _fill(draft, node)
        if fill is None or all(use.node.op_type == "Shape" for use in node.outputs[0].uses()):
            continue
        shape = draft.emit("Shape", [node.outputs[0]], _next(draft, node))
        result = draft.emit("Expand", [fill, shape], _next(draft, node))
        if draft.fact(result).dims == out.dims:
            draft.replace(node.outputs[0], result, "fill_masked", f"{node.op_type} of what a mask hides")
            shape_node = shape.producer()
            assert shape_node is not None
            shape_node.replace_input_with(0, node.outputs[0])


def _without_zeros(draft: Draft, node: ir.Node) -> ir.Value | None:
    """The x of `x + 0`, of the same shape."""
    if node.op_type != "Add":
        return None
    for value, other in (node.inputs, reversed(node.inputs)):
        if other is None or not _is_zero(draft, value):
            continue
        if draft.fact(other).dims == draft.dims(node.outputs[0]):
            return other
    return None


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


def _softmax(draft: Draft, node: ir.Node) -> ir.Value | None:
    """`softmax [x, -∞] = [softmax x, 0]` along the axis of the concatenation."""
    value = node.inputs[0] if node.op_type == "Softmax" and draft.facts.opset >= 13 else None
    columns = None if value is None else value.producer()
    if value is None or columns is None or columns.op_type != "Concat":
        return None
    axis = normal(step_of(draft, node).int_of("axis", -1), len(draft.dims(value)))
    pieces = [v for v in columns.inputs if v is not None]
    hidden = [_is_hidden(draft, v) for v in pieces]
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


def _is_hidden(draft: Draft, value: ir.Value) -> bool:
    """A weight of -∞, repeated."""
    node = value.producer()
    array = draft.array(node.inputs[0]) if node is not None and node.op_type == "Expand" else None
    return array is not None and array.size > 0 and bool(np.all(np.isneginf(array)))


def _is_zero(draft: Draft, value: ir.Value | None) -> bool:
    """A weight of zeros, repeated or not."""
    node = None if value is None else value.producer()
    array = draft.array(node.inputs[0] if node is not None and node.op_type == "Expand" else value)
    return array is not None and array.size > 0 and not np.any(array)


def _next(draft: Draft, node: ir.Node) -> ir.Node:
    """The node behind another, in front of which what reads the other's output may stand."""
    nodes = list(draft.model.graph)
    return nodes[nodes.index(node) + 1]


def _fill(draft: Draft, node: ir.Node) -> ir.Value | None:
    """The weight, of one element, that fills the output of a node; None where it is no constant."""
    if node.op_type in ("Mul", "MatMul") and any(_is_zero(draft, v) for v in node.inputs):
        return draft.constant(np.zeros((), np.float32))
    if node.op_type == "Add":
        for value in node.inputs:
            array = draft.array(value)
            if array is not None and array.size and np.all(array <= -_ABSORBING) and np.all(array == array.flat[0]):
                return draft.constant(np.asarray(array.flat[0], np.float32))
    if node.op_type == "Where":
        condition = draft.array(node.inputs[0])
        if condition is not None and condition.size and (condition.all() or not condition.any()):
            kept = draft.array(node.inputs[1 if condition.all() else 2])
            if kept is not None and kept.size == 1:
                return draft.constant(kept.reshape(()))
    return None
