"""Spells pairwise products so that one matrix of the user meets the rows of all candidates in one product.

Axis letters: N candidates, L steps, d width. Once the request operand is cut out of the graph it is a single matrix,
and `[N, 1, d] @ [N, d, L]` becomes `[N, d] @ [d, L]`.
"""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.facts import Fact
from recserve.network.rewrites.concats import step_of
from recserve.network.rewrites.views import VIEWS
from recserve.network.rules.reductions import reduced_axes
from recserve.network.sizes import ONE, Size
from recserve.rates import Rate

_ELEMENTWISE: Final = frozenset({"Add", "Sub", "Mul", "Div", "Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu"})


def sums_of_products(draft: Draft) -> None:
    """`Σ_d x·r = x @ rᵀ` for rows x of the candidates and r of the request; likewise `Σ_L w·k = wᵀ @ k`.

    The dot product of two towers, the scores of attention `Σ_d q[N, 1, d]·k[N, L, d]`, and its weighted sum
    `Σ_L w[N, L, 1]·k[N, L, d]`.
    """
    for node in draft.nodes():
        if node.op_type != "ReduceSum" or node.inputs[0] is None or draft.fact(node.outputs[0]).is_opaque:
            continue
        product = node.inputs[0].producer()
        axes = reduced_axes(step_of(draft, node))
        if product is None or product.op_type != "Mul" or axes is None or len(axes) != 1:
            continue
        result = _as_matmul(draft, node, product, next(iter(axes)))
        if result is not None:
            fits = len(draft.dims(node.outputs[0])) == len(draft.dims(node.inputs[0]))
            done = result if fits else draft.emit("Squeeze", [result, draft.axis_constant(sorted(axes))], node)
            draft.replace(node.outputs[0], done, "sums_of_products", "a sum of products as a product of matrices")


def _as_matmul(draft: Draft, node: ir.Node, product: ir.Node, axis: int) -> ir.Value | None:
    """The sum over an axis, which stays with size 1; None where no operand is the request's alone."""
    for rows, shared in (product.inputs, reversed(product.inputs)):
        if rows is None or shared is None or draft.rate(shared) is not Rate.REQUEST:
            continue
        left, right = draft.fact(rows), draft.fact(shared)
        if draft.rate(rows) is Rate.REQUEST or not _has_rows_first(left, right):
            continue
        a, b = draft.dims(rows), draft.dims(shared)
        if len(a) == 2 and axis == 1 and a == b:
            wide = draft.emit("Unsqueeze", [rows, draft.axis_constant([1])], node)
            tall = draft.emit("Unsqueeze", [shared, draft.axis_constant([2])], node)
            return draft.emit("Squeeze", [draft.emit("MatMul", [wide, tall], node), draft.axis_constant([1])], node)
        if len(a) == 3 and axis == 2 and a[2] == b[2] and ONE in (a[1], b[1]):
            turned = draft.emit("Transpose", [shared], node, perm=(0, 2, 1))
            scores = draft.emit("MatMul", [rows, turned], node)
            return scores if b[1] == ONE else draft.emit("Transpose", [scores], node, perm=(0, 2, 1))
        if len(a) == 3 and axis == 1 and a[1] == b[1] and ONE in (a[2], b[2]):
            turned = draft.emit("Transpose", [rows], node, perm=(0, 2, 1))
            total = draft.emit("MatMul", [turned, shared], node)
            return total if a[2] == ONE else draft.emit("Transpose", [total], node, perm=(0, 2, 1))
    return None


def _has_rows_first(left: Fact, right: Fact) -> bool:
    if left.dims is None or right.dims is None or len(left.dims) != len(right.dims):
        return False
    return left.row == 0 and right.row == 0 and left.dims[0] == right.dims[0]


def request_on_the_right(draft: Draft) -> None:
    """`k @ q = (qᵀ @ kᵀ)ᵀ` for k [N, L, d] of the request and a column q [N, d, 1]."""
    for node in draft.nodes():
        left, right = node.inputs if node.op_type == "MatMul" else (None, None)
        if left is None or right is None or draft.rate(left) is not Rate.REQUEST or draft.rate(right) is Rate.REQUEST:
            continue
        facts = draft.fact(left), draft.fact(right)
        if not _has_rows_first(*facts) or len(draft.dims(left)) != 3 or draft.dims(right)[2] != ONE:
            continue
        row = draft.emit("Transpose", [right], node, perm=(0, 2, 1))
        matrix = draft.emit("Transpose", [left], node, perm=(0, 2, 1))
        turned = draft.emit("MatMul", [row, matrix], node)
        result = draft.emit("Transpose", [turned], node, perm=(0, 2, 1))
        draft.replace(node.outputs[0], result, "request_on_the_right", "a product turned round")


def lift_merging_reshapes(draft: Draft) -> None:
    """`f(Reshape(x [.., d] → [M, d])) = Reshape(f(x))` for a product with weights along d, or an op on each element.

    Exporters of TensorFlow write a dense layer on a sequence as `[N, L, d] → [N·L, d] → product → [N, L, h]`.
    """
    for node in draft.nodes():
        merged = node.inputs[0] if node.inputs else None
        source = None if merged is None else _merged_from(draft, merged)
        if merged is None or source is None or len(node.outputs) > 1 or draft.fact(node.outputs[0]).is_opaque:
            continue
        is_able = works_on_last_axis(draft, node, _last(draft, merged))
        width = draft.dims(node.outputs[0])[-1]
        if not is_able or not width.is_static:
            continue
        inner = draft.copy(node, [source, *node.inputs[1:]], node)
        result = draft.emit("Reshape", [inner, draft.axis_constant([-1, width.factor])], node)
        draft.replace(node.outputs[0], result, "lift_merging_reshapes", f"{node.op_type} before the axes merge")


def works_on_last_axis(draft: Draft, node: ir.Node, width: int) -> bool:
    """A product with a weight matrix, or an elementwise op on a value and weights that are vectors of the last axis."""
    others = [draft.array(v) for v in node.inputs[1:]]
    if node.op_type == "MatMul":
        return others[0] is not None and others[0].ndim == 2
    vectors = [
        a
        for a in others
        if a is not None and a.size in (1, width) and a.ndim <= 2 and (a.ndim == 0 or a.size == a.shape[-1])
    ]
    return node.op_type in _ELEMENTWISE and len(vectors) == len(others)


def _last(draft: Draft, value: ir.Value) -> int:
    size: Size = draft.dims(value)[-1]
    return size.factor if size.is_static else -1


def _merged_from(draft: Draft, value: ir.Value) -> ir.Value | None:
    """The x [.., d] of a candidate-rate value [M, d] = Reshape(x)."""
    node = value.producer()
    if node is None or node.op_type != "Reshape" or node.inputs[0] is None or draft.rate(value) is not Rate.CANDIDATE:
        return None
    before, after = draft.fact(node.inputs[0]).dims, draft.fact(value).dims
    if before is None or after is None or len(after) != 2 or len(before) <= 2:
        return None
    return node.inputs[0] if before[-1] == after[-1] and after[-1].is_static else None


def join_reshapes(draft: Draft) -> None:
    """`Reshape(view(x)) = Reshape(x)` for a view, which moves no element; `drop_views` knows where x itself will do."""
    for node in draft.nodes():
        inner = node.inputs[0].producer() if node.op_type == "Reshape" and node.inputs[0] is not None else None
        if inner is None or inner.op_type not in VIEWS or inner.inputs[0] is None or node.inputs[1] is None:
            continue
        source = inner.inputs[0]
        dims, before = draft.fact(node.outputs[0]).dims, draft.fact(source).dims
        target = draft.fact(node.inputs[1]).content
        if dims is None or before is None or target is None:
            continue
        kept = next((k for k, (a, b) in enumerate(zip(before, dims, strict=False)) if a != b), len(dims))
        if all(s is not None and (s != Size(0) or k < kept) for k, s in enumerate(target)):
            result = draft.emit("Reshape", [source, node.inputs[1]], node)
            if draft.fact(result).dims == dims:
                draft.replace(node.outputs[0], result, "join_reshapes", "two reshapes in one")
