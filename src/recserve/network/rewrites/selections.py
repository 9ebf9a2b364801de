"""Selections of elements by fixed positions: they move behind other ops, where a product with weights absorbs them.

A selection is `Gather(x, p)` along one axis with a weight p, one position or more. Behind a mixed concatenation it says
how the elements of the pieces are ordered; the pieces themselves stay whole and keep their rates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Array, Draft
from recserve.network.rewrites.concats import Mixed, mixed, step_of
from recserve.network.rewrites.views import flat_width, order_of, reshape_target
from recserve.network.rules.axes import normal
from recserve.network.rules.elementwise import UNARY
from recserve.network.rules.reductions import reduced_axes
from recserve.network.sizes import Size, product, static
from recserve.rates import Rate


@dataclass(frozen=True)
class Selection:
    """`Gather(source, index)` along an axis; `index` is int64[k], none of it negative."""

    source: ir.Value
    index: Array
    axis: int

    def is_order(self, width: int) -> bool:
        """Every element is taken once."""
        return len(self.index) == width and len(set(self.index.tolist())) == width


def selection(draft: Draft, value: ir.Value | None) -> Selection | None:
    """The selection that makes a candidate-rate value, or None."""
    node = None if value is None else value.producer()
    if node is None or value is None or node.op_type != "Gather" or node.inputs[0] is None:
        return None
    fact, index = draft.fact(value), draft.array(node.inputs[1])
    if fact.is_opaque or fact.rate is not Rate.CANDIDATE or index is None or index.ndim != 1:
        return None
    dims = draft.dims(node.inputs[0])
    axis = normal(step_of(draft, node).int_of("axis", 0), len(dims))
    if not dims[axis].is_static:
        return None
    return Selection(node.inputs[0], index.astype(np.int64) % dims[axis].factor, axis)


def select(draft: Draft, source: ir.Value, index: Array, axis: int, before: ir.Node) -> ir.Value:
    """`Gather(source, index)`, or `source` itself where the index takes all in order."""
    size = draft.dims(source)[axis]
    if size.is_static and np.array_equal(index, np.arange(size.factor)):
        return source
    return draft.emit("Gather", [source, draft.constant(np.asarray(index, np.int64))], before, axis=axis)


def spell_out_gather_nd(draft: Draft) -> None:
    """`GatherND(x, p) = Gather(Reshape(x), p')` where the axes that p indexes merge into one.

    PyTorch's exporter writes `x[:, i, j]` as a transposition to the front, a GatherND, and one back.
    """
    for node in draft.nodes():
        index = draft.array(node.inputs[1]) if node.op_type == "GatherND" else None
        if index is None or index.ndim < 2 or node.inputs[0] is None or step_of(draft, node).int_of("batch_dims", 0):
            continue
        value, count = node.inputs[0], index.shape[-1]
        turned = order_of(draft, value)
        source, order = turned or (value, tuple(range(len(draft.fact(value).dims or ()))))
        first = order[0] if order else 0
        fact = draft.fact(source)
        if fact.dims is None or fact.rate is not Rate.CANDIDATE or order[:count] != tuple(range(first, first + count)):
            continue
        sizes = static(fact.dims[first : first + count])
        if sizes is None or fact.row in range(first, first + count):
            continue
        flat = _flat_positions(index, sizes)
        merged = source
        if count > 1:
            shape = draft.axis_constant([*[0] * first, int(np.prod(sizes)), *_rest(draft, source, first + count)])
            merged = draft.emit("Reshape", [source, shape], node)
        if draft.fact(merged).is_opaque or flat.ndim != 1:
            continue
        taken = draft.emit("Gather", [merged, draft.constant(flat)], node, axis=first)
        rest = [a - (count - 1) if a > first else a for a in order[count:]]
        result = draft.emit("Transpose", [taken], node, perm=(first, *rest)) if first or rest != sorted(rest) else taken
        draft.replace(node.outputs[0], result, "spell_out_gather_nd", f"{len(flat)} elements of {count} axes")


def gather_before_merge(draft: Draft) -> None:
    """`Reshape(Gather(Reshape(x [a, b, ..] → [a·b, M]), p) → [k, ..]) = Gather(Reshape(x → [a·b, ..]), p)`.

    The legacy exporter of PyTorch writes `x[:, i, j]` so, which merges the candidates with all that stands behind them.
    """
    for node in draft.nodes():
        taken = node.inputs[0].producer() if node.op_type == "Reshape" and node.inputs[0] is not None else None
        merged = taken.inputs[0] if taken is not None and taken.op_type == "Gather" else None
        inner = None if merged is None else merged.producer()
        if taken is None or merged is None or inner is None or inner.op_type not in ("Reshape", "Flatten"):
            continue
        index, source, out = draft.array(taken.inputs[1]), inner.inputs[0], draft.fact(node.outputs[0])
        dims, whole = None if source is None else draft.fact(source).dims, draft.fact(merged).dims
        if index is None or index.ndim != 1 or source is None or dims is None or whole is None or len(whole) != 2:
            continue
        count = next((k for k in range(1, len(dims)) if product(dims[:k]) == whole[0]), None)
        if count is None or count == len(dims) - 1 or out.dims != (Size(len(index)), *dims[count:]):
            continue
        if out.rate is not Rate.CANDIDATE or step_of(draft, taken).int_of("axis", 0):
            continue
        target = reshape_target(draft, source, [whole[0], *dims[count:]])
        if target is not None:
            rows = draft.emit("Reshape", [source, target], node)
            result = draft.emit("Gather", [rows, taken.inputs[1]], node, axis=0)
            draft.replace(node.outputs[0], result, "gather_before_merge", f"{len(index)} elements before axes merge")


def _flat_positions(index: Array, sizes: tuple[int, ...]) -> Array:
    columns = [index[..., k].astype(np.int64) % size for k, size in enumerate(sizes)]
    return np.asarray(np.ravel_multi_index(columns, sizes), np.int64)


def _rest(draft: Draft, source: ir.Value, first: int) -> list[int]:
    """The axes from `first` on as targets of a Reshape: at most one is dynamic."""
    return [d.factor if d.is_static else -1 for d in draft.dims(source)[first:]]


def flatten_by_piece(draft: Draft) -> None:
    """`flat([a, b]) = [flat(a), flat(b)][p]`: merging the axis of a concatenation into one before it permutes pieces.

    So do columns that alternate between sides: `stack([u, i], -1)` flattened is `[u, i]` in another order.
    """
    for node in draft.nodes():
        found = mixed(draft, node.inputs[0]) if node.op_type in ("Reshape", "Flatten") else None
        out = draft.fact(node.outputs[0]).dims
        if found is None or out is None:
            continue
        first = len(out) - 1
        before = draft.dims(found.node.outputs[0])
        sizes = static(before[first:])
        if first >= found.axis or before[:first] != out[:first] or sizes is None or out[-1] != product(before[first:]):
            continue
        places = np.arange(int(np.prod(sizes)), dtype=np.int64).reshape(sizes)
        pieces, order, start = [], [], 0
        for piece in found.pieces:
            own = static(draft.dims(piece)[first:]) or ()
            taken = np.take(places, np.arange(start, start + own[found.axis - first]), axis=found.axis - first)
            start += own[found.axis - first]
            order.append(taken.reshape(-1))
            shape = draft.axis_constant([*[0] * first, int(np.prod(own))])
            pieces.append(draft.emit("Reshape", [piece, shape], node))
        joined = draft.emit("Concat", pieces, node, axis=first)
        result = select(draft, joined, np.argsort(np.concatenate(order)), first, node)
        draft.replace(node.outputs[0], result, "flatten_by_piece", f"{len(pieces)} pieces, each flattened")


def join_selections(draft: Draft) -> None:
    """`x[p][q] = x[p[q]]`."""
    for node in draft.nodes():
        outer = selection(draft, node.outputs[0])
        inner = None if outer is None else selection(draft, outer.source)
        if outer is None or inner is None or outer.axis != inner.axis:
            continue
        result = select(draft, inner.source, inner.index[outer.index], inner.axis, node)
        draft.replace(node.outputs[0], result, "join_selections", "two selections in one")


def select_from_pieces(draft: Draft) -> None:
    """`[a, b][p] = [a[pa], b[pb]][q]`: each piece keeps only what is taken of it, in the order in which it is taken."""
    for node in draft.nodes():
        found = selection(draft, node.outputs[0])
        whole = None if found is None else mixed(draft, found.source)
        widths = None if whole is None else whole.widths(draft)
        if found is None or whole is None or widths is None or whole.axis != found.axis:
            continue
        used = _taken_by_piece(found.index, widths)
        if all(len(own) == width for own, width in zip(used, widths, strict=True)) and not _is_ordered(found.index):
            continue
        pieces, position = _cut_pieces(draft, whole, used, node)
        joined = pieces[0] if len(pieces) == 1 else draft.emit("Concat", pieces, node, axis=whole.axis)
        order = np.asarray([position[k] for k in found.index.tolist()], np.int64)
        result = select(draft, joined, order, found.axis, node)
        if result is not node.outputs[0]:
            draft.replace(node.outputs[0], result, "select_from_pieces", f"{len(position)} of {sum(widths)} elements")


def _is_ordered(index: Array) -> bool:
    return bool(np.array_equal(index, np.arange(len(index))))


def _taken_by_piece(index: Array, widths: tuple[int, ...]) -> list[list[int]]:
    """For each piece, what is taken of it, each once, in the order in which it is first taken if all runs are whole."""
    taken: list[list[int]] = [[] for _ in widths]
    starts = np.cumsum([0, *widths])
    for position in dict.fromkeys(index.tolist()):
        piece = int(np.searchsorted(starts, position, side="right")) - 1
        taken[piece].append(position - int(starts[piece]))
    return [sorted(own) for own in taken]


def _cut_pieces(
    draft: Draft, whole: Mixed, used: list[list[int]], node: ir.Node
) -> tuple[list[ir.Value], dict[int, int]]:
    """The pieces cut to what is used, and where each used element of the whole is in them."""
    pieces: list[ir.Value] = []
    position: dict[int, int] = {}
    start = 0
    for piece, own in zip(whole.pieces, used, strict=True):
        for k in own:
            position[start + k] = len(position)
        start += draft.dims(piece)[whole.axis].factor
        if own:
            pieces.append(select(draft, piece, np.asarray(own), whole.axis, node))
    return pieces, position


def lift_selections(draft: Draft) -> None:
    """`f(x[p]) = f(x)[p]` for elementwise f, a flattening, or sums of other axes; `Σ x[p] = Σ x` if p is an order."""
    for node in draft.nodes():
        fact = draft.fact(node.outputs[0])
        if fact.is_opaque or fact.rate is not Rate.CANDIDATE or not node.inputs or len(node.outputs) > 1:
            continue
        for k, value in enumerate(node.inputs):
            found = selection(draft, value)
            if found is not None and mixed(draft, found.source) is not None:
                result = _lift(draft, node, k, found)
                if result is not None:
                    draft.replace(node.outputs[0], result, "lift_selections", f"{node.op_type} before the selection")
                break


def _lift(draft: Draft, node: ir.Node, slot: int, found: Selection) -> ir.Value | None:
    width = draft.dims(found.source)[found.axis].factor
    if node.op_type in UNARY and slot == 0:
        inner = draft.copy(node, [found.source, *node.inputs[1:]], node)
        return select(draft, inner, found.index, found.axis, node)
    if node.op_type in ("Add", "Sub", "Mul", "Div") and found.is_order(width):
        return _lift_scaled(draft, node, slot, found)
    if node.op_type == "ReduceSum" and slot == 0:
        axes = reduced_axes(step_of(draft, node))
        if axes is None or (found.axis in axes and not found.is_order(width)):
            return None
        inner = draft.copy(node, [found.source, *node.inputs[1:]], node)
        if found.axis in axes:
            return inner
        is_kept = len(draft.dims(inner)) == len(draft.dims(found.source))
        axis = found.axis if is_kept else found.axis - sum(a < found.axis for a in axes)
        return select(draft, inner, found.index, axis, node)
    if node.op_type in ("Reshape", "Flatten") and slot == 0:
        return _lift_flatten(draft, node, found)
    return None


def _lift_flatten(draft: Draft, node: ir.Node, found: Selection) -> ir.Value | None:
    """`flat(x[p]) = flat(x)[p']`: merging the axis with all behind it, of which each element of p takes a block."""
    before, after = draft.dims(found.source), draft.dims(node.outputs[0])
    sizes = static(before[found.axis :])
    taken = (*before[: found.axis], Size(len(found.index)), *before[found.axis + 1 :])
    is_flat = len(after) == found.axis + 1 and after[:-1] == before[: found.axis]
    if sizes is None or len(sizes) < 2 or not is_flat or after[-1] != product(taken[found.axis :]):
        return None
    block = int(np.prod(sizes[1:], dtype=np.int64))
    shape = draft.axis_constant([*[0] * found.axis, sizes[0] * block])
    flat = draft.emit("Reshape", [found.source, shape], node)
    index = (found.index[:, None] * block + np.arange(block)).reshape(-1)
    return select(draft, flat, index, found.axis, node)


def _lift_scaled(draft: Draft, node: ir.Node, slot: int, found: Selection) -> ir.Value | None:
    """`x[p] ∘ w = (x ∘ w[p⁻¹])[p]` for a weight w."""
    weight = draft.array(node.inputs[1 - slot])
    rank = len(draft.dims(found.source))
    if weight is None or weight.ndim > rank:
        return None
    own = found.axis - rank + weight.ndim
    if own >= 0 and weight.shape[own] != 1:
        weight = np.take(weight, np.argsort(found.index), axis=own)
    pair = [found.source, draft.constant(np.ascontiguousarray(weight))]
    inner = draft.copy(node, pair if slot == 0 else pair[::-1], node)
    return select(draft, inner, found.index, found.axis, node)


def rows_of_selection(draft: Draft, value: ir.Value, weight: Array) -> tuple[ir.Value, Array] | None:
    """The x and W' of `x[p] @ W = x @ W'`, for a selection along the last axis: row k of W goes to row p[k] of W'."""
    found = selection(draft, value)
    if found is None or found.axis != len(draft.dims(value)) - 1:
        return None
    width = flat_width(draft, found.source, found.axis)
    spread = np.zeros((width or 0, weight.shape[1]), weight.dtype)
    np.add.at(spread, found.index, weight)
    return found.source, spread
