"""Einsum spelled with the ops that other rewrites know.

Labels of an equation of two operands are *batch* (in both and in the result), *left* and *right* (in one and in the
result), or *contracted* (in both and not in the result).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.rewrites.concats import step_of
from recserve.rates import Rate


@dataclass(frozen=True)
class _Equation:
    left: str
    right: str
    out: str

    @property
    def batch(self) -> str:
        return "".join(x for x in self.out if x in self.left and x in self.right)

    @property
    def rows(self) -> str:
        return "".join(x for x in self.left if x in self.out and x not in self.right)

    @property
    def columns(self) -> str:
        return "".join(x for x in self.right if x in self.out and x not in self.left)

    @property
    def inner(self) -> str:
        return "".join(x for x in self.left if x in self.right and x not in self.out)

    @property
    def swapped(self) -> _Equation:
        return _Equation(self.right, self.left, self.out)

    @property
    def is_plain(self) -> bool:
        """No label repeats in a term, and none is summed within one operand alone."""
        unique = all(len(set(t)) == len(t) for t in (self.left, self.right, self.out))
        return unique and set(self.left) ^ set(self.right) <= set(self.out) <= set(self.left) | set(self.right)


def spell_out_einsum(draft: Draft) -> None:
    """`Einsum(x, W)` as transpositions around one MatMul (or a Mul where nothing is summed).

    With weights W and no batch label, W is one matrix: `nd,edh->neh` is `x @ W' [d, e·h]`, cut into e and h behind it,
    so that stacked experts split by rate like a single layer.
    """
    for node in draft.nodes():
        if node.op_type != "Einsum" or len(node.inputs) != 2 or draft.fact(node.outputs[0]).is_opaque:
            continue
        terms, _, out = step_of(draft, node).text_of("equation", "").replace(" ", "").partition("->")
        names = terms.split(",")
        equation = _Equation(names[0], names[1], out)
        left, right = node.inputs
        if left is None or right is None or not equation.is_plain or draft.rate(node.outputs[0]) is not Rate.CANDIDATE:
            continue
        if draft.array(left) is not None:
            left, right, equation = right, left, equation.swapped
        result = _spell(draft, node, left, right, equation)
        if result is not None:
            draft.replace(node.outputs[0], result, "spell_out_einsum", f"{terms}->{out} as a product of matrices")


def _spell(draft: Draft, node: ir.Node, left: ir.Value, right: ir.Value, eq: _Equation) -> ir.Value | None:
    weight = draft.array(right)
    if weight is not None and not eq.batch and eq.inner:
        return _by_matrix(draft, node, left, weight, eq)
    if not eq.inner:
        sides = [_aligned(draft, node, v, t, eq.out) for v, t in ((left, eq.left), (right, eq.right))]
        return draft.emit("Mul", sides, node)
    if len(eq.rows) > 1 or len(eq.columns) > 1 or len(eq.inner) != 1:
        return None
    a = _turned(draft, node, left, eq.left, eq.batch + eq.rows + eq.inner)
    b = _turned(draft, node, right, eq.right, eq.batch + eq.inner + eq.columns)
    rank = len(eq.batch)
    if not eq.rows:
        a = draft.emit("Unsqueeze", [a, draft.axis_constant([rank])], node)
    if not eq.columns:
        b = draft.emit("Unsqueeze", [b, draft.axis_constant([rank + 1])], node)
    result = draft.emit("MatMul", [a, b], node)
    gone = [rank] * (not eq.rows) + [rank + 1] * (not eq.columns)
    if gone:
        result = draft.emit("Squeeze", [result, draft.axis_constant(gone)], node)
    return _turned(draft, node, result, eq.batch + eq.rows + eq.columns, eq.out)


def _by_matrix(draft: Draft, node: ir.Node, left: ir.Value, weight: np.ndarray, eq: _Equation) -> ir.Value | None:
    sizes = dict(zip(eq.right, weight.shape, strict=True))
    inner = int(np.prod([sizes[x] for x in eq.inner]))
    matrix = weight.transpose([eq.right.index(x) for x in eq.inner + eq.columns]).reshape(inner, -1)
    rows = _turned(draft, node, left, eq.left, eq.rows + eq.inner)
    if len(eq.inner) > 1:
        rows = draft.emit("Reshape", [rows, draft.axis_constant([*[0] * len(eq.rows), inner])], node)
    result = draft.emit("MatMul", [rows, draft.constant(np.ascontiguousarray(matrix))], node)
    if len(eq.columns) != 1:
        shape = [*[0] * len(eq.rows), *[sizes[x] for x in eq.columns]]
        result = draft.emit("Reshape", [result, draft.axis_constant(shape)], node)
    return _turned(draft, node, result, eq.rows + eq.columns, eq.out)


def _turned(draft: Draft, node: ir.Node, value: ir.Value, labels: str, wanted: str) -> ir.Value:
    if labels == wanted:
        return value
    return draft.emit("Transpose", [value], node, perm=tuple(labels.index(x) for x in wanted))


def _aligned(draft: Draft, node: ir.Node, value: ir.Value, labels: str, out: str) -> ir.Value:
    """The value with an axis for each label of the result, of size 1 where it has none."""
    own = "".join(x for x in out if x in labels)
    turned = _turned(draft, node, value, labels, own)
    missing = [k for k, x in enumerate(out) if x not in labels]
    return draft.emit("Unsqueeze", [turned, draft.axis_constant(missing)], node) if missing else turned
