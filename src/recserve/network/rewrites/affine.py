"""Splits products with a weight matrix by the rates of what is multiplied.

With `X = [u; i; c]` (a concatenation along the last axis) and W cut into rows alike:

    X @ W = u @ Wu + i @ Wi + c @ Wc

and through sums, differences and broadcasts, so that for the attention input of DIN

    [q, k, q-k, q∘k] @ [Wq; Wk; Wd; Wp] = q @ (Wq + Wd) + k @ (Wk - Wd) + (q∘k) @ Wp

where q has item rate, k request rate, and only the last product is left to each candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from recserve.network.cut import ASSUMED_SIZE
from recserve.network.draft import Array, Draft
from recserve.network.rewrites.selections import rows_of_selection
from recserve.network.rules.axes import normal
from recserve.network.rules.elementwise import broadcast_dims
from recserve.network.sizes import Dims, Size, elements, static
from recserve.rates import Rate

_ORDER = (Rate.CONSTANT, Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE)


@dataclass
class _Term:
    """`value @ weight`."""

    value: ir.Value
    weight: Array


def split_affine(draft: Draft) -> None:
    """`[u; i; c] @ W = u @ Wu + i @ Wi + c @ Wc`, also through sums, differences, scales and broadcasts.

    Done where it leaves fewer operations at candidate rate. Terms of one rate and shape are concatenated again, in the
    order of the rows of W, so that they take one product of contiguous operands.
    """
    for node in draft.nodes():
        value = node.inputs[0] if node.op_type == "MatMul" else None
        weight = draft.array(node.inputs[1]) if value is not None else None
        fact = draft.fact(node.outputs[0])
        if value is None or weight is None or weight.ndim != 2 or fact.dims is None or fact.rate is not Rate.CANDIDATE:
            continue
        terms = _merge(_terms(draft, value, weight))
        before = elements(draft.dims(value), ASSUMED_SIZE)
        after = sum(elements(draft.dims(t.value), ASSUMED_SIZE) for t in terms if _is_candidate(draft, t))
        shape = broadcast_dims([(*draft.dims(t.value)[:-1], Size(weight.shape[1])) for t in terms])
        if after >= before or shape != fact.dims:
            continue
        what = ", ".join(f"{t.value.name} ({draft.rate(t.value).value})" for t in terms)
        draft.replace(node.outputs[0], _sum_of(draft, terms, node), "split_affine", f"a product per rate of {what}")


def _terms(draft: Draft, value: ir.Value, weight: Array) -> list[_Term]:
    """The terms of `value @ weight`: values that are rarer than candidate rate, or that cannot be taken apart."""
    whole = [_Term(value, weight)]
    node = value.producer()
    if node is None or draft.rate(value) is not Rate.CANDIDATE or draft.fact(value).is_opaque:
        return whole
    inputs = [v for v in node.inputs if v is not None]
    parts: list[_Term] = []
    if node.op_type == "Concat":
        parts = _concat_terms(draft, node, inputs, weight)
    elif node.op_type in ("Add", "Sub"):
        for i, operand in enumerate(inputs):
            if not draft.dims(operand):
                return whole
            own = weight if draft.dims(operand)[-1] == Size(weight.shape[0]) else weight.sum(axis=0, keepdims=True)
            parts += _terms(draft, operand, -own if i == 1 and node.op_type == "Sub" else own)
    elif node.op_type == "Neg":
        parts = _terms(draft, inputs[0], -weight)
    elif node.op_type == "Expand" and _keeps_last_axis(draft, node):
        parts = _terms(draft, inputs[0], weight)
    elif node.op_type == "Mul":
        parts = _scaled_terms(draft, inputs, weight)
    elif node.op_type == "Gather":
        spread = rows_of_selection(draft, value, weight)
        parts = [] if spread is None else _terms(draft, *spread)
    if node.op_type == "Gather" and sum(len(t.weight) for t in parts) <= len(weight):
        return parts or whole  # a selection that only reorders costs nothing within the weights
    return whole if all(_is_candidate(draft, t) for t in parts) else parts


def _concat_terms(draft: Draft, node: ir.Node, pieces: list[ir.Value], weight: Array) -> list[_Term]:
    rank = len(draft.dims(node.outputs[0]))
    widths = static(draft.dims(p)[-1] for p in pieces)
    if normal(node.attributes["axis"].as_int(), rank) != rank - 1 or widths is None:
        return []
    cuts = np.cumsum(widths)[:-1]
    rows = np.split(weight, cuts, axis=0)
    parts: list[_Term] = []
    for piece, own in zip(pieces, rows, strict=True):
        parts += _terms(draft, piece, own)
    return parts


def _scaled_terms(draft: Draft, inputs: list[ir.Value], weight: Array) -> list[_Term]:
    for value, factor in (inputs, reversed(inputs)):
        scale = draft.array(factor)
        if scale is None or any(s != 1 for s in scale.shape[:-1]) or draft.array(value) is not None:
            continue
        dims = draft.dims(value)
        if scale.size in (1, weight.shape[0]) and dims and dims[-1] == Size(weight.shape[0]):
            return _terms(draft, value, weight * scale.reshape(-1, 1))
    return []


def _keeps_last_axis(draft: Draft, node: ir.Node) -> bool:
    before, after = draft.dims(node.inputs[0]) if node.inputs[0] is not None else (), draft.dims(node.outputs[0])
    return bool(before) and before[-1] == after[-1]


def _is_candidate(draft: Draft, term: _Term) -> bool:
    return draft.rate(term.value) is Rate.CANDIDATE


def _merge(terms: list[_Term]) -> list[_Term]:
    """One term per value: `x @ A + x @ B = x @ (A + B)`."""
    merged: dict[tuple[int, int], _Term] = {}
    for term in terms:
        key = (id(term.value), term.weight.shape[0])
        if key in merged:
            merged[key] = _Term(term.value, merged[key].weight + term.weight)
        else:
            merged[key] = term
    return list(merged.values())


def _sum_of(draft: Draft, terms: list[_Term], node: ir.Node) -> ir.Value:
    groups: dict[tuple[int, Dims], list[_Term]] = {}
    for term in terms:
        groups.setdefault((_ORDER.index(draft.rate(term.value)), draft.dims(term.value)[:-1]), []).append(term)
    total: ir.Value | None = None
    for key in sorted(groups, key=lambda k: k[0]):
        product = _product(draft, groups[key], node)
        total = product if total is None else draft.emit("Add", [total, product], node)
    assert total is not None
    return total


def _product(draft: Draft, terms: list[_Term], node: ir.Node) -> ir.Value:
    weight = np.concatenate([t.weight for t in terms], axis=0)
    arrays = [draft.array(t.value) for t in terms]
    if all(a is not None for a in arrays):
        stacked = np.concatenate([a for a in arrays if a is not None], axis=-1)
        return draft.constant(stacked @ weight)
    values = [t.value for t in terms]
    joined = values[0] if len(values) == 1 else draft.emit("Concat", values, node, axis=-1)
    return draft.emit("MatMul", [joined, draft.constant(np.ascontiguousarray(weight))], node)
