"""Views and transpositions: they cancel one another once they stand side by side, and hide nothing from other rewrites.

A *view* changes the axes of a value but not the order of its elements.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.rewrites.concats import step_of
from recserve.network.rules.axes import normal
from recserve.network.rules.elementwise import UNARY
from recserve.network.sizes import ONE, Size, product, static
from recserve.rates import Rate

VIEWS: Final = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_BINARY: Final = frozenset({"Add", "Sub", "Mul", "Div"})


def drop_views(draft: Draft) -> None:
    """`view(view(x)) = x` where the axes are those of x again, and `Expand(x) = x` where nothing is repeated."""
    for node in draft.nodes():
        dims = draft.fact(node.outputs[0]).dims
        if node.op_type not in VIEWS | {"Expand"} or dims is None or node.outputs[0].is_initializer():
            continue
        source = node.inputs[0]
        while source is not None:
            if draft.fact(source).dims == dims:
                draft.replace(node.outputs[0], source, "drop_views", f"{node.op_type} changes nothing")
                break
            inner = source.producer()
            source = inner.inputs[0] if inner is not None and inner.op_type in VIEWS else None


def join_transposes(draft: Draft) -> None:
    """`Transpose(Transpose(x)) = Transpose(x)`, and x itself where the axes are back in order."""
    for node in draft.nodes():
        outer = order_of(draft, node.outputs[0])
        inner = None if outer is None else order_of(draft, outer[0])
        if outer is None or inner is None:
            continue
        order = tuple(inner[1][a] for a in outer[1])
        is_back = order == tuple(range(len(order)))
        result = inner[0] if is_back else draft.emit("Transpose", [inner[0]], node, perm=order)
        draft.replace(node.outputs[0], result, "join_transposes", "two transpositions in one")


def lift_transposes(draft: Draft) -> None:
    """`f(Transpose(x)) = Transpose(f(x))` for an op on each element, a selection, or a reshape of whole axes.

    A BatchNorm over the channels of a sequence stands between two transpositions, which then cancel; and so does a
    choice of elements, as exporters write it: transpose to the front, gather, transpose back.
    """
    for node in draft.nodes():
        turned = order_of(draft, node.inputs[0] if node.inputs else None)
        other = order_of(draft, node.inputs[1]) if len(node.inputs) == 2 else None
        if draft.fact(node.outputs[0]).is_opaque or draft.rate(node.outputs[0]) is not Rate.CANDIDATE:
            continue
        result: ir.Value | None = None
        if node.op_type in _BINARY:
            result = _lift_binary(draft, node)
        elif turned is None or other is not None or len(node.outputs) > 1:
            continue
        elif node.op_type in UNARY:
            result = _turn(draft, node, draft.copy(node, [turned[0], *node.inputs[1:]], node), turned[1])
        elif node.op_type == "Gather":
            result = _lift_gather(draft, node, *turned)
        elif node.op_type in ("Reshape", "Flatten"):
            result = _lift_reshape(draft, node, *turned) or _turn_unmerged(draft, node, *turned)
        if result is not None:
            draft.replace(node.outputs[0], result, "lift_transposes", f"{node.op_type} before the transposition")


def order_of(draft: Draft, value: ir.Value | None) -> tuple[ir.Value, tuple[int, ...]] | None:
    """The x and the order of axes of a candidate-rate `Transpose(x)`."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Transpose" or value is None or node.inputs[0] is None:
        return None
    fact = draft.fact(value)
    if fact.dims is None or fact.rate is not Rate.CANDIDATE:
        return None
    order = step_of(draft, node).ints_of("perm") or tuple(reversed(range(len(fact.dims))))
    return node.inputs[0], order


def _turn(draft: Draft, node: ir.Node, value: ir.Value, order: tuple[int, ...]) -> ir.Value:
    return draft.emit("Transpose", [value], node, perm=order)


def _lift_binary(draft: Draft, node: ir.Node) -> ir.Value | None:
    """Of two values turned alike, or of one and a weight."""
    left, right = (order_of(draft, v) for v in node.inputs)
    if left is not None and right is not None:
        if left[1] != right[1] or len(draft.dims(left[0])) != len(draft.dims(right[0])):
            return None
        return _turn(draft, node, draft.copy(node, [left[0], right[0]], node), left[1])
    found = left or right
    weight = draft.array(node.inputs[1 if left is not None else 0])
    if found is None or weight is None:
        return None
    source, order = found
    rank = len(order)
    if weight.ndim > rank:
        return None
    wide = weight.reshape((1,) * (rank - weight.ndim) + weight.shape)
    own = draft.constant(np.ascontiguousarray(wide.transpose(np.argsort(order))))
    inputs = [source, own] if left is not None else [own, source]
    return _turn(draft, node, draft.copy(node, inputs, node), order)


def _lift_gather(draft: Draft, node: ir.Node, source: ir.Value, order: tuple[int, ...]) -> ir.Value | None:
    index = draft.array(node.inputs[1])
    if index is None or index.ndim > 1 or node.inputs[1] is None:
        return None
    axis = normal(step_of(draft, node).int_of("axis", 0), len(order))
    own = order[axis]
    taken = draft.emit("Gather", [source, node.inputs[1]], node, axis=own)
    if index.ndim == 1:
        return _turn(draft, node, taken, order)
    rest = tuple(a - (a > own) for a in order if a != own)
    return _turn(draft, node, taken, rest)


def _lift_reshape(draft: Draft, node: ir.Node, source: ir.Value, order: tuple[int, ...]) -> ir.Value | None:
    """A reshape that merges neighbours of x that are neighbours, in order, in the transposed value too."""
    before, after = draft.dims(node.inputs[0]) if node.inputs[0] is not None else (), draft.dims(node.outputs[0])
    groups: list[tuple[int, ...]] = []
    start = 0
    for size in after:
        stop = start + 1
        while stop < len(before) and product(before[start:stop]) != size:
            stop += 1
        if start >= len(before) or product(before[start:stop]) != size:
            return None
        groups.append(order[start:stop])
        start = stop
    runs = all(group == tuple(range(group[0], group[0] + len(group))) for group in groups)
    if start != len(before) or not runs or len(after) == len(before):
        return None
    ranked = sorted(range(len(groups)), key=lambda k: groups[k][0])
    sizes: list[Size] = [after[k] for k in ranked]
    target = reshape_target(draft, source, sizes)
    if target is None:
        return None
    merged = draft.emit("Reshape", [source, target], node)
    return _turn(draft, node, merged, tuple(ranked.index(k) for k in range(len(groups))))


def _turn_unmerged(draft: Draft, node: ir.Node, merged: ir.Value, order: tuple[int, ...]) -> ir.Value | None:
    """`Reshape(Transpose(Reshape(x [B, r, c] → [M, r, c])) → [B, c, r]) = Transpose(x)` for leading axes B of size M.

    The dynamo exporter of PyTorch writes the transposition of keys in `scaled_dot_product_attention` so.
    """
    view = merged.producer()
    source = None if view is None or view.op_type != "Reshape" else view.inputs[0]
    whole = None if source is None else draft.fact(source).dims
    dims, after, rest = draft.dims(merged), draft.dims(node.outputs[0]), len(order) - 1
    if source is None or whole is None or order[0] != 0 or len(whole) < rest or whole[-rest:] != dims[1:]:
        return None
    leading = len(whole) - rest
    turned = (*range(leading), *(a - 1 + leading for a in order[1:]))
    if product(whole[:leading]) != dims[0] or after != tuple(whole[a] for a in turned):
        return None
    return _turn(draft, node, source, turned)


def reshape_target(draft: Draft, source: ir.Value, sizes: list[Size]) -> ir.Value | None:
    """The shape input of a Reshape to `sizes`: 0 copies an axis, one -1 takes a size known at run time only."""
    before = draft.dims(source)
    target = [s.factor if s.is_static else 0 if k < len(before) and before[k] == s else -1 for k, s in enumerate(sizes)]
    return draft.axis_constant(target) if target.count(-1) <= 1 else None


def repeat_by_tile(draft: Draft) -> None:
    """`Reshape(Tile(x [.., d], r) → [.., r, d]) = Expand(Unsqueeze(x))`: a row repeated side by side, then cut."""
    for node in draft.nodes():
        tile = node.inputs[0].producer() if node.op_type == "Reshape" and node.inputs[0] is not None else None
        out = draft.fact(node.outputs[0]).dims
        if tile is None or tile.op_type != "Tile" or tile.inputs[0] is None or tile.inputs[1] is None or out is None:
            continue
        source, repeats = tile.inputs[0], draft.fact(tile.inputs[1]).content
        dims = draft.fact(source).dims
        if dims is None or repeats is None or any(r != ONE for r in repeats[:-1]):
            continue
        count = repeats[-1]
        if count is None or out != (*dims[:-1], count, dims[-1]):
            continue
        rank = len(dims)
        tall = draft.emit("Unsqueeze", [source, draft.axis_constant([rank - 1])], node)
        number = draft.emit("Slice", [tile.inputs[1], *[draft.axis_constant([x]) for x in (rank - 1, rank, 0)]], node)
        ones = [draft.axis_constant([1])]
        shape = draft.emit("Concat", [*ones * (rank - 1), number, *ones], node, axis=0)
        result = draft.emit("Expand", [tall, shape], node)
        draft.replace(node.outputs[0], result, "repeat_by_tile", "Tile and Reshape as Expand")


def flat_width(draft: Draft, value: ir.Value, first: int) -> int | None:
    """Elements of the axes from `first` on; None where one is dynamic."""
    sizes = static(draft.dims(value)[first:])
    return None if sizes is None else int(np.prod(sizes, dtype=np.int64))
