"""Keeps broadcasts symbolic: a repeated value is repeated by the op that needs it, or later."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from recserve.network.cut import ASSUMED_SIZE
from recserve.network.draft import Draft
from recserve.network.rules.elementwise import BROADCASTING, UNARY, broadcast_dims
from recserve.network.sizes import Dims, elements
from recserve.rates import Rate

_PAIRWISE: Final = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"})


def drop_expands(draft: Draft) -> None:
    """`Expand(x) ∘ y = x ∘ y` where y alone gives the result its shape."""
    for node in draft.nodes():
        out = draft.fact(node.outputs[0])
        if node.op_type not in BROADCASTING or node.op_type == "PRelu" or out.dims is None:
            continue
        for index, value in enumerate(node.inputs):
            source = _expanded(draft, value)
            if value is None or source is None:
                continue
            inputs = [source if i == index else v for i, v in enumerate(node.inputs)]
            shapes = [draft.fact(v).dims for v in inputs if v is not None]
            known: list[Dims] = [s for s in shapes if s is not None]
            if len(known) == len(inputs) and broadcast_dims(known) == out.dims:
                result = draft.copy(node, inputs, node)
                draft.replace(node.outputs[0], result, "drop_expands", f"{value.name} is broadcast by {node.op_type}")
                break


def push_through_expands(draft: Draft) -> None:
    """`f(Expand(x)) = Expand(f(x))` for an elementwise f, or a product with a weight matrix along a kept last axis."""
    for node in draft.nodes():
        source = _expanded(draft, node.inputs[0] if node.inputs else None)
        out = draft.fact(node.outputs[0])
        if source is None or out.is_opaque or draft.rate(source) is out.rate or len(node.outputs) > 1:
            continue
        expand = node.inputs[0].producer() if node.inputs[0] is not None else None
        assert expand is not None
        if node.op_type in UNARY:
            target = expand.inputs[1]
        elif node.op_type == "MatMul" and _is_matrix(draft, node.inputs[1]) and _keeps_last(draft, expand):
            target = _without_last(draft, expand, node)
        else:
            continue
        inner = draft.copy(node, [source, *node.inputs[1:]], node)
        result = draft.emit("Expand", [inner, target], node)
        draft.replace(node.outputs[0], result, "push_through_expands", f"{node.op_type} before the repetition")


def expand_last(draft: Draft) -> None:
    """`f(Expand(x, s), y) = Expand(f(x, y), s)` where y is no larger than x: the repetition comes last.

    A query times a constant of the shape of the keys, which some write to repeat it, is the repeated query.
    """
    for node in draft.nodes():
        out = draft.fact(node.outputs[0])
        if node.op_type not in _PAIRWISE or out.dims is None or out.rate is not Rate.CANDIDATE:
            continue
        left, right = node.inputs
        for value, other in ((left, right), (right, left)):
            source = _expanded(draft, value)
            if value is None or other is None or source is None:
                continue
            dims = [draft.fact(v).dims for v in (source, other)]
            known = [d for d in dims if d is not None]
            small = broadcast_dims(known) if len(known) == 2 else None
            if small is None or elements(small, ASSUMED_SIZE) >= elements(out.dims, ASSUMED_SIZE):
                continue
            inner = draft.copy(node, [source if v is value else v for v in node.inputs], node)
            result = draft.emit("Expand", [inner, _shape_of(value)], node)
            if draft.fact(result).dims == out.dims:
                draft.replace(node.outputs[0], result, "expand_last", f"{node.op_type} before the repetition")
            break


def _shape_of(value: ir.Value) -> ir.Value | None:
    """The shape input of an Expand or ConstantOfShape."""
    node = value.producer()
    return None if node is None else node.inputs[0 if node.op_type == "ConstantOfShape" else 1]


def _expanded(draft: Draft, value: ir.Value | None) -> ir.Value | None:
    """The x of a value that is `Expand(x)`, both of known shape."""
    node = None if value is None else value.producer()
    if node is None or value is None or draft.fact(value).is_opaque:
        return None
    if node.op_type == "Expand":
        return node.inputs[0]
    return _fill(draft, node) if node.op_type == "ConstantOfShape" else None


def _fill(draft: Draft, node: ir.Node) -> ir.Value:
    """The single element that a ConstantOfShape repeats."""
    import numpy as np

    attribute = node.attributes.get("value")
    array = np.zeros((), np.float32) if attribute is None else attribute.as_tensor().numpy().reshape(())
    return draft.constant(array)


def _is_matrix(draft: Draft, value: ir.Value | None) -> bool:
    array = draft.array(value)
    return array is not None and array.ndim == 2


def _keeps_last(draft: Draft, expand: ir.Node) -> bool:
    before = draft.fact(expand.inputs[0]).dims if expand.inputs[0] is not None else None
    after = draft.fact(expand.outputs[0]).dims
    return before is not None and after is not None and len(before) >= 2 and before[-1] == after[-1]


def _without_last(draft: Draft, expand: ir.Node, before: ir.Node) -> ir.Value:
    """The target of an Expand with 1 for its last axis, which keeps it."""
    target = expand.inputs[1]
    assert target is not None
    head = draft.emit("Slice", [target, *[draft.axis_constant([x]) for x in (0, -1, 0)]], before)
    return draft.emit("Concat", [head, draft.axis_constant([1])], before, axis=0)
