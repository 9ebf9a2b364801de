"""Weights in places other than the right-hand matrix of a product: on the left, stacked, or one row wide."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Array, Draft
from recserve.network.rewrites.concats import step_of
from recserve.network.rules.reductions import reduced_axes
from recserve.network.sizes import ONE, static
from recserve.rates import Rate


def weights_on_the_right(draft: Draft) -> None:
    """`W @ x = (xᵀ @ Wᵀ)ᵀ` for a weight matrix W; for a column x [.., b, 1] without the transpositions.

    Cross networks written with column vectors multiply so.
    """
    for node in _products(draft):
        left, right = node.inputs
        weight = draft.array(left)
        if weight is None or weight.ndim != 2 or right is None or draft.array(right) is not None:
            continue
        dims = draft.fact(right).dims
        if dims is None or len(dims) < 3:
            continue
        rank = len(dims)
        matrix = draft.constant(np.ascontiguousarray(weight.T))
        if dims[-1] == ONE:
            last = [draft.axis_constant([rank - 1])]
            row = draft.emit("Squeeze", [right, *last], node)
            result = draft.emit("Unsqueeze", [draft.emit("MatMul", [row, matrix], node), *last], node)
        else:
            order = (*range(rank - 2), rank - 1, rank - 2)
            turned = draft.emit("MatMul", [draft.emit("Transpose", [right], node, perm=order), matrix], node)
            result = draft.emit("Transpose", [turned], node, perm=order)
        draft.replace(node.outputs[0], result, "weights_on_the_right", "a weight from the left to the right")


def join_stacked_weights(draft: Draft) -> None:
    """`x @ W [e, d, h] = x @ W' [d, e·h]`, cut into e and h behind it, where all e matrices multiply the same x.

    Experts of a mixture are written so: `[N, d] @ [e, d, h]`, `[1, N, d] @ [e, d, h]`, `[N, 1, 1, d] @ [e, d, h]`.
    """
    for node in _products(draft):
        weight = draft.array(node.inputs[1])
        rows = None if weight is None or weight.ndim != 3 else _shared_rows(draft, node)
        if weight is None or rows is None:
            continue
        count, inner, width = weight.shape
        rank = len(draft.dims(rows))
        out = draft.dims(node.outputs[0])
        matrix = draft.constant(np.ascontiguousarray(weight.transpose(1, 0, 2)).reshape(inner, count * width))
        product = draft.emit("MatMul", [rows, matrix], node)
        shape = draft.axis_constant([*[0] * (rank - 1), count, width])
        cut = draft.emit("Reshape", [product, shape], node)
        order = (*range(rank - 2), rank - 1, rank - 2, rank)
        result = draft.emit("Transpose", [cut], node, perm=order)
        if draft.fact(result).dims == out:
            draft.replace(node.outputs[0], result, "join_stacked_weights", f"{count} matrices side by side")


def unit_products(draft: Draft) -> None:
    """`x [.., a, 1] @ y [.., 1, b] = x ∘ y`: a product that sums nothing is elementwise."""
    for node in _products(draft):
        left, right = node.inputs
        dims = [draft.fact(v).dims for v in (left, right) if v is not None]
        a, b = dims if len(dims) == 2 else (None, None)
        if a is None or b is None or min(len(a), len(b)) < 2 or a[-1] != ONE or b[-2] != ONE:
            continue
        result = draft.emit("Mul", [left, right], node)
        draft.replace(node.outputs[0], result, "unit_products", "a product of a column and a row as Mul")


def weighted_sums(draft: Draft) -> None:
    """`Σ x ∘ w = flat(x) @ w` for weights w and a sum over all axes but the rows': a linear layer of one output.

    The weights of field pairs enter so: `Σ_fg r_fg · <v_f, v_g>`.
    """
    for node in draft.nodes():
        product = node.inputs[0].producer() if node.op_type == "ReduceSum" and node.inputs[0] is not None else None
        out = draft.fact(node.outputs[0])
        if product is None or product.op_type != "Mul" or out.dims is None or out.rate is not Rate.CANDIDATE:
            continue
        for value, factor in (product.inputs, reversed(product.inputs)):
            weight = draft.array(factor)
            if weight is None or value is None:
                continue
            result = _weighted_sum(draft, node, value, weight)
            if result is not None:
                draft.replace(node.outputs[0], result, "weighted_sums", "a weighted sum as a linear layer")
            break


def _weighted_sum(draft: Draft, node: ir.Node, value: ir.Value, weight: Array) -> ir.Value | None:
    dims = draft.fact(value).dims
    axes = reduced_axes(step_of(draft, node))
    sizes = None if dims is None else static(dims[1:])
    if dims is None or sizes is None or draft.fact(value).row != 0 or axes != frozenset(range(1, len(dims))):
        return None
    wide = weight.reshape((1,) * (len(dims) - weight.ndim) + weight.shape) if weight.ndim <= len(dims) else None
    if wide is None or len(dims) < 3 or any(w not in (1, s) for w, s in zip(wide.shape, (1, *sizes), strict=True)):
        return None
    column = np.ascontiguousarray(np.broadcast_to(wide, (1, *sizes))).reshape(-1, 1)
    flat = draft.emit("Reshape", [value, draft.axis_constant([0, len(column)])], node)
    total = draft.emit("MatMul", [flat, draft.constant(column)], node)
    kept = len(draft.dims(node.outputs[0])) - 1
    shape = draft.axis_constant([0, *[1] * kept])
    return (
        draft.emit("Reshape", [total, shape], node)
        if kept
        else draft.emit("Squeeze", [total, draft.axis_constant([1])], node)
    )


def _shared_rows(draft: Draft, node: ir.Node) -> ir.Value | None:
    """The x [.., m, d] that every matrix of a stack multiplies; None where each has rows of its own."""
    value = node.inputs[0]
    producer = None if value is None else value.producer()
    source = producer.inputs[0] if producer is not None and producer.op_type == "Expand" else value
    dims = None if source is None else draft.fact(source).dims
    if source is None or dims is None or len(dims) < 2:
        return None
    if len(dims) == 2:
        return source
    return draft.emit("Squeeze", [source, draft.axis_constant([len(dims) - 3])], node) if dims[-3] == ONE else None


def _products(draft: Draft) -> list[ir.Node]:
    """The candidate-rate products of matrices."""
    found = [n for n in draft.nodes() if n.op_type == "MatMul" and not draft.fact(n.outputs[0]).is_opaque]
    return [n for n in found if draft.rate(n.outputs[0]) is Rate.CANDIDATE]
