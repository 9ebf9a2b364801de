"""Concatenations of values of different rates: ops move from behind them to in front, where each piece has its rate.

A *mixed* concatenation has candidate rate although some of its pieces are rarer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.facts import Step
from recserve.network.rules.axes import normal
from recserve.network.rules.elementwise import UNARY
from recserve.network.rules.reductions import reduced_axes
from recserve.network.rules.shapes import axes_of
from recserve.network.sizes import ONE, Size, static
from recserve.rates import Rate, join

_MERGEABLE: Final[dict[str, str]] = {"ReduceSum": "Add", "ReduceMax": "Max", "ReduceMin": "Min"}
_END: Final = 2**62
_PAIRWISE: Final = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})


@dataclass(frozen=True)
class Mixed:
    """A mixed concatenation: its pieces and its axis (not negative)."""

    node: ir.Node
    pieces: tuple[ir.Value, ...]
    axis: int

    def widths(self, draft: Draft) -> tuple[int, ...] | None:
        """The size of each piece along the axis; None where one is dynamic."""
        return static(draft.dims(p)[self.axis] for p in self.pieces)

    def rank(self, draft: Draft) -> int:
        """The number of axes."""
        return len(draft.dims(self.node.outputs[0]))


def mixed(draft: Draft, value: ir.Value | None) -> Mixed | None:
    """The mixed concatenation that makes a value, or None."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Concat" or value is None:
        return None
    fact = draft.fact(value)
    if fact.dims is None or fact.rate is not Rate.CANDIDATE:
        return None
    pieces = tuple(v for v in node.inputs if v is not None)
    if not any(has_rarer(draft, p) for p in pieces):
        return None
    return Mixed(node, pieces, normal(node.attributes["axis"].as_int(), len(fact.dims)))


def has_rarer(draft: Draft, value: ir.Value) -> bool:
    """The value has a rarer rate than the candidates', or is a concatenation with such a piece."""
    return draft.rate(value) is not Rate.CANDIDATE or mixed(draft, value) is not None


def step_of(draft: Draft, node: ir.Node) -> Step:
    """A node as rules see it, to read its axes."""
    inputs = [None if v is None else draft.fact(v) for v in node.inputs]
    return Step(node, inputs, draft.facts.opset, draft.facts.origins)


def group_pieces(draft: Draft) -> None:
    """`[a, b, c] = [[a, b], c]` for neighbours a and b of one rarer rate: they cross as one contiguous tensor."""
    for node in draft.nodes():
        found = mixed(draft, node.outputs[0])
        if found is None:
            continue
        groups = [list(g) for _, g in groupby(found.pieces, key=draft.rate)]
        if not any(len(g) > 1 and draft.rate(g[0]) is not Rate.CANDIDATE for g in groups):
            continue
        pieces: list[ir.Value] = []
        for group in groups:
            is_joined = len(group) > 1 and draft.rate(group[0]) is not Rate.CANDIDATE
            pieces += [draft.emit("Concat", group, node, axis=found.axis)] if is_joined else group
        result = draft.emit("Concat", pieces, node, axis=found.axis)
        draft.replace(node.outputs[0], result, "group_pieces", f"{len(found.pieces)} pieces in {len(pieces)} groups")


def flatten_concats(draft: Draft) -> None:
    """`[[a, b], c] = [a, b, c]` where the inner concatenation is itself mixed."""
    for node in draft.nodes():
        outer = mixed(draft, node.outputs[0])
        if outer is None:
            continue
        pieces: list[ir.Value] = []
        for piece in outer.pieces:
            inner = mixed(draft, piece)
            pieces += inner.pieces if inner is not None and inner.axis == outer.axis else (piece,)
        if len(pieces) > len(outer.pieces):
            result = draft.emit("Concat", pieces, node, axis=outer.axis)
            draft.replace(node.outputs[0], result, "flatten_concats", f"{len(pieces)} pieces side by side")


def push_into_concats(draft: Draft) -> None:
    """`f([a, b]) = [f(a), f(b)]` for an op f that does not mix elements across the pieces.

    That is so for elementwise ops (also with a scalar, or with a vector cut like the pieces), for two concatenations
    cut alike, for reshapes that keep whole pieces, transpositions, reductions and norms along other axes, products of
    rows with a weight matrix, and slices.
    """
    for node in draft.nodes():
        if draft.fact(node.outputs[0]).is_opaque or not node.inputs:
            continue
        for op, push in _PUSHES:
            if op(node):
                done = push(draft, node)
                if done is not None:
                    draft.replace(node.outputs[0], done, "push_into_concats", f"{node.op_type} on each piece")
                break


def split_reductions(draft: Draft) -> None:
    """`Σ [a, b] = Σ a + Σ b` along the axis of the concatenation; likewise max and min; a mean is a sum over a count.

    Sums over fields, as in factorisation machines: `Σ_f v_f = Σ_user v + Σ_item v`, and the same of the squares.
    """
    for node in draft.nodes():
        if node.op_type not in (*_MERGEABLE, "ReduceMean") or draft.fact(node.outputs[0]).is_opaque:
            continue
        found = mixed(draft, node.inputs[0])
        axes = None if found is None else reduced_axes(step_of(draft, node))
        if found is None or axes is None or found.axis not in axes or len({draft.rate(p) for p in found.pieces}) < 2:
            continue
        count = None
        if node.op_type == "ReduceMean":
            sizes = static(draft.dims(found.node.outputs[0])[a] for a in axes)
            if sizes is None:
                continue
            count = int(np.prod(sizes))
        result = _reduce_groups(draft, node, found, axes)
        if count is not None:
            result = draft.emit("Mul", [result, draft.constant(np.asarray(1.0 / count, np.float32))], node)
        draft.replace(node.outputs[0], result, "split_reductions", f"{node.op_type} by rate")


def _reduce_groups(draft: Draft, node: ir.Node, found: Mixed, axes: frozenset[int]) -> ir.Value:
    op = "ReduceSum" if node.op_type == "ReduceMean" else node.op_type
    keep = node.attributes.get("keepdims")
    keepdims = 1 if keep is None else keep.as_int()
    total: ir.Value | None = None
    for rate in (Rate.CONSTANT, Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE):
        group = [p for p in found.pieces if draft.rate(p) is rate]
        if not group:
            continue
        joined = group[0] if len(group) == 1 else draft.emit("Concat", group, node, axis=found.axis)
        if op == "ReduceSum" or draft.facts.opset >= 18:
            part = draft.emit(op, [joined, draft.axis_constant(sorted(axes))], node, keepdims=keepdims)
        else:
            part = draft.emit(op, [joined], node, axes=tuple(sorted(axes)), keepdims=keepdims)
        total = part if total is None else draft.emit(_MERGEABLE[op], [total, part], node)
    assert total is not None
    return total


def _each(draft: Draft, node: ir.Node, axis: int, inputs: Sequence[Sequence[ir.Value | None]]) -> ir.Value:
    """The concatenation of a node applied to the inputs of each piece."""
    return draft.emit("Concat", [draft.copy(node, args, node) for args in inputs], node, axis=axis)


def _push_unary(draft: Draft, node: ir.Node) -> ir.Value | None:
    found = mixed(draft, node.inputs[0])
    if found is None or len(node.outputs) > 1:
        return None
    rest = list(node.inputs[1:])
    return _each(draft, node, found.axis, [[p, *rest] for p in found.pieces])


def _push_pairwise(draft: Draft, node: ir.Node) -> ir.Value | None:
    """The inputs are concatenations cut alike; or the same along the axis, or can be cut like the first of them."""
    found = pairwise_rows(draft, node)
    if found is None:
        return None
    axis, rows = found
    is_gain = any(
        join(draft.rate(v) for v in row) is not Rate.CANDIDATE or any(mixed(draft, v) for v in row) for row in rows
    )
    return _each(draft, node, axis, rows) if is_gain else None


def pairwise_rows(draft: Draft, node: ir.Node) -> tuple[int, list[tuple[ir.Value, ...]]] | None:
    """The inputs of a broadcasting op for each piece of its first mixed concatenation, and the axis of that."""
    values = [v for v in node.inputs if v is not None]
    found = [mixed(draft, v) for v in values]
    pivot = next((f for f in found if f is not None), None)
    if pivot is None or len(values) < len(node.inputs):
        return None
    columns = [_cut_like(draft, v, f, pivot, node) for v, f in zip(values, found, strict=True)]
    known = [c for c in columns if c is not None]
    return None if len(known) < len(columns) else (pivot.axis, list(zip(*known, strict=True)))


def _cut_like(draft: Draft, value: ir.Value, found: Mixed | None, pivot: Mixed, node: ir.Node) -> list[ir.Value] | None:
    """The pieces of an operand that go with the pieces of `pivot`; None if it cannot be cut so."""
    rank, dims = pivot.rank(draft), draft.fact(value).dims
    sizes = [draft.dims(p)[pivot.axis] for p in pivot.pieces]
    if found is not None and found.axis == pivot.axis and found.rank(draft) == rank:
        own_sizes = [draft.dims(p)[found.axis] for p in found.pieces]
        if own_sizes == sizes:
            return list(found.pieces)
    if dims is None or len(dims) > rank:
        return None
    own = pivot.axis - rank + len(dims)
    if own < 0 or dims[own] == ONE:
        return [value] * len(sizes)
    alike = concatenated(draft, value, own, sizes)
    if alike is not None:
        return alike
    array, widths = draft.array(value), static(sizes)
    if array is not None and widths is not None:
        if array.shape[own] != sum(widths):
            return None
        return [draft.constant(piece) for piece in np.split(array, np.cumsum(widths)[:-1], axis=own)]
    if found is not None or dims[own] != draft.dims(pivot.node.outputs[0])[pivot.axis]:
        return None
    return None if draft.rate(value) is Rate.CANDIDATE else cut(draft, value, sizes, own, node)


def concatenated(draft: Draft, value: ir.Value, axis: int, sizes: Sequence[Size]) -> list[ir.Value] | None:
    """The pieces of a concatenation of any rate along an axis, if they have these sizes."""
    node = value.producer()
    if node is None or node.op_type != "Concat":
        return None
    pieces = [v for v in node.inputs if v is not None]
    is_alike = normal(node.attributes["axis"].as_int(), len(draft.dims(value))) == axis
    return pieces if is_alike and [draft.dims(p)[axis] for p in pieces] == list(sizes) else None


def cut(draft: Draft, value: ir.Value, sizes: Sequence[Size], axis: int, node: ir.Node) -> list[ir.Value] | None:
    """Slices of a value of the given sizes, of which at most one is dynamic: what follows it counts from the end."""
    dynamic = [k for k, size in enumerate(sizes) if not size.is_static]
    if len(dynamic) > 1:
        return None
    middle = dynamic[0] if dynamic else len(sizes)
    pieces: list[ir.Value] = []
    for k in range(len(sizes)):
        before, after = sum(s.factor for s in sizes[:k]), sum(s.factor for s in sizes[k + 1 :])
        start = before if k <= middle else -after - sizes[k].factor
        stop = before + sizes[k].factor if k < middle else (-after if after else _END)
        bounds = [draft.axis_constant([x]) for x in (start, stop, axis)]
        pieces.append(draft.emit("Slice", [value, *bounds], node))
    return pieces


def _push_reshape(draft: Draft, node: ir.Node) -> ir.Value | None:
    """Axes in front of the concatenation's stay; each piece fills a whole number of the axis that takes its place."""
    found = mixed(draft, node.inputs[0])
    if found is None:
        return None
    before, after = draft.dims(found.node.outputs[0]), draft.dims(node.outputs[0])
    axis = found.axis
    if len(after) <= axis or before[:axis] != after[:axis]:
        return None
    if len(after) > axis and before[: axis + 1] == after[: axis + 1] and static(after[axis + 1 :]) is not None:
        kept = draft.axis_constant([*[0] * (axis + 1), *(d.factor for d in after[axis + 1 :])])
        return draft.emit("Concat", [draft.emit("Reshape", [p, kept], node) for p in found.pieces], node, axis=axis)
    inner, sizes = static(after[axis + 1 :]), [static(draft.dims(p)[axis:]) for p in found.pieces]
    if inner is None or any(s is None for s in sizes):
        return None
    block = int(np.prod(inner, dtype=np.int64))
    counts = [int(np.prod(s, dtype=np.int64)) for s in sizes if s is not None]
    if block == 0 or any(c % block for c in counts):
        return None
    shapes = [draft.axis_constant([*[0] * axis, c // block, *inner]) for c in counts]
    pieces = [draft.emit("Reshape", [p, s], node) for p, s in zip(found.pieces, shapes, strict=True)]
    return draft.emit("Concat", pieces, node, axis=axis)


def _push_transpose(draft: Draft, node: ir.Node) -> ir.Value | None:
    found = mixed(draft, node.inputs[0])
    if found is None:
        return None
    rank = found.rank(draft)
    order = step_of(draft, node).ints_of("perm") or tuple(reversed(range(rank)))
    return _each(draft, node, order.index(found.axis), [[p] for p in found.pieces])


def _push_view(draft: Draft, node: ir.Node) -> ir.Value | None:
    """Squeeze and Unsqueeze of other axes."""
    found = mixed(draft, node.inputs[0])
    axes = None if found is None else axes_of(step_of(draft, node))
    if found is None or axes is None:
        return None
    before, after = found.rank(draft), len(draft.dims(node.outputs[0]))
    if node.op_type == "Squeeze":
        gone = {normal(a, before) for a in axes}
        if found.axis in gone:
            return None
        axis = found.axis - sum(a < found.axis for a in gone)
    else:
        new = {normal(a, after) for a in axes}
        axis = [a for a in range(after) if a not in new][found.axis]
    return _each(draft, node, axis, [[p, *node.inputs[1:]] for p in found.pieces])


def _push_reduction(draft: Draft, node: ir.Node) -> ir.Value | None:
    found = mixed(draft, node.inputs[0])
    axes = None if found is None else reduced_axes(step_of(draft, node))
    if found is None or axes is None or found.axis in axes:
        return None
    is_kept = len(draft.dims(node.outputs[0])) == found.rank(draft)
    axis = found.axis if is_kept else found.axis - sum(a < found.axis for a in axes)
    return _each(draft, node, axis, [[p, *node.inputs[1:]] for p in found.pieces])


def _push_slice(draft: Draft, node: ir.Node) -> ir.Value | None:
    """A slice along the axis takes slices of the pieces it meets; one along another axis cuts every piece."""
    found = mixed(draft, node.inputs[0])
    if found is None:
        return None
    step = step_of(draft, node)
    rank = found.rank(draft)
    starts, ends, axes = (step.static_content(i) for i in (1, 2, 3))
    if axes is None and step.fact(3) is None:
        axes = tuple(range(len(starts or ())))
    if axes is None or starts is None or ends is None:
        return None
    if found.axis not in [normal(a, rank) for a in axes]:
        return _each(draft, node, found.axis, [[p, *node.inputs[1:]] for p in found.pieces])
    widths = found.widths(draft)
    steps = step.static_content(4) if step.fact(4) is not None else (1,)
    if len(axes) > 1 or steps != (1,):
        return None
    if widths is None:
        return _slice_of_last(draft, node, found, starts[0], ends[0])
    taken = range(sum(widths))[starts[0] : ends[0]]
    return _slices(draft, node, found, widths, taken)


def _slice_of_last(draft: Draft, node: ir.Node, found: Mixed, start: int, end: int) -> ir.Value | None:
    """Of a concatenation of dynamic size: elements counted from the end that are all in the last piece."""
    last = draft.dims(found.pieces[-1])[found.axis]
    if not last.is_static or not -last.factor <= start < 0:
        return None
    if end < _END and not start < end < 0:
        return None
    taken = range(last.factor)[start : end if end < 0 else None]
    bounds = [draft.axis_constant([x]) for x in (taken.start, taken.stop, found.axis)]
    return draft.emit("Slice", [found.pieces[-1], *bounds], node)


def _slices(draft: Draft, node: ir.Node, found: Mixed, widths: tuple[int, ...], taken: range) -> ir.Value | None:
    pieces: list[ir.Value] = []
    offset = 0
    for piece, width in zip(found.pieces, widths, strict=True):
        first, last = max(taken.start - offset, 0), min(taken.stop - offset, width)
        offset += width
        if first >= last:
            continue
        if (first, last) == (0, width):
            pieces.append(piece)
        else:
            bounds = [draft.axis_constant([x]) for x in (first, last, found.axis)]
            pieces.append(draft.emit("Slice", [piece, *bounds], node))
    if not pieces:
        return None
    return pieces[0] if len(pieces) == 1 else draft.emit("Concat", pieces, node, axis=found.axis)


def split_to_slices(draft: Draft) -> None:
    """`Split(x)` of a mixed concatenation as one Slice per output."""
    for node in draft.nodes():
        if node.op_type != "Split" or draft.fact(node.outputs[0]).is_opaque:
            continue
        found = mixed(draft, node.inputs[0])
        if found is None:
            continue
        axis = normal(step_of(draft, node).int_of("axis", 0), len(draft.dims(node.outputs[0])))
        widths = static(draft.dims(v)[axis] for v in node.outputs)
        if widths is None:
            continue
        start = 0
        for value, width in zip(node.outputs, widths, strict=True):
            bounds = [draft.axis_constant([x]) for x in (start, start + width, axis)]
            part = draft.emit("Slice", [found.node.outputs[0], *bounds], node)
            draft.replace(value, part, "split_to_slices", f"elements {start} to {start + width} of axis {axis}")
            start += width


def gather_to_slice(draft: Draft) -> None:
    """`Gather(x, i)` of one element of a mixed concatenation, along its axis, as a Slice (and a Squeeze)."""
    for node in draft.nodes():
        found = mixed(draft, node.inputs[0]) if node.op_type == "Gather" else None
        index = None if found is None else draft.array(node.inputs[1])
        if found is None or index is None or index.size != 1 or index.ndim > 1:
            continue
        dims = draft.dims(found.node.outputs[0])
        axis = normal(step_of(draft, node).int_of("axis", 0), len(dims))
        start = int(index.reshape(-1)[0])
        if axis != found.axis or (start >= 0 and not dims[axis].is_static):
            continue
        start = start % dims[axis].factor if dims[axis].is_static else start
        bounds = [draft.axis_constant([x]) for x in (start, _END if start == -1 else start + 1, axis)]
        result = draft.emit("Slice", [found.node.outputs[0], *bounds], node)
        if index.ndim == 0:
            result = draft.emit("Squeeze", [result, draft.axis_constant([axis])], node)
        draft.replace(node.outputs[0], result, "gather_to_slice", f"element {start} of axis {axis}")


def _push_matmul(draft: Draft, node: ir.Node) -> ir.Value | None:
    """`[a; b] @ W = [a @ W; b @ W]` for weights W and pieces that are rows, not columns."""
    found, weight = mixed(draft, node.inputs[0]), draft.array(node.inputs[1])
    if found is None or weight is None or weight.ndim != 2 or found.axis == found.rank(draft) - 1:
        return None
    return _each(draft, node, found.axis, [[p, node.inputs[1]] for p in found.pieces])


def _push_norm(draft: Draft, node: ir.Node) -> ir.Value | None:
    """LayerNormalization and Softmax along other axes."""
    found = mixed(draft, node.inputs[0])
    if found is None or len(node.outputs) > 1 or draft.facts.opset < 13:
        return None
    axis = normal(step_of(draft, node).int_of("axis", -1), found.rank(draft))
    is_along = found.axis == axis if node.op_type == "Softmax" else found.axis >= axis
    return None if is_along else _each(draft, node, found.axis, [[p, *node.inputs[1:]] for p in found.pieces])


_Push = tuple[Callable[[ir.Node], bool], Callable[[Draft, ir.Node], "ir.Value | None"]]
_PUSHES: Final[tuple[_Push, ...]] = (
    (lambda n: n.op_type in UNARY, _push_unary),
    (lambda n: (n.op_type in _PAIRWISE and len(n.inputs) == 2) or n.op_type == "Where", _push_pairwise),
    (lambda n: n.op_type == "Reshape", _push_reshape),
    (lambda n: n.op_type == "Transpose", _push_transpose),
    (lambda n: n.op_type in ("Squeeze", "Unsqueeze"), _push_view),
    (lambda n: n.op_type.startswith("Reduce"), _push_reduction),
    (lambda n: n.op_type == "Slice", _push_slice),
    (lambda n: n.op_type == "MatMul", _push_matmul),
    (lambda n: n.op_type in ("LayerNormalization", "Softmax"), _push_norm),
)
