"""Ops between listed fields: the positions of the list are sorted by what they meet, so that one-sided ones leave.

Models list the pairs of their fields as two vectors of positions p and q, and compute `f(x[p], y[q])` on all pairs at
once. Where x and y are fields of several rates, most pairs of fields of one side are known earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Array, Draft
from recserve.network.rewrites.concats import Mixed, mixed, step_of
from recserve.network.rewrites.selections import select, selection
from recserve.network.rules.axes import normal
from recserve.network.rules.shapes import axes_of
from recserve.network.sizes import ONE
from recserve.rates import Rate, join

_PAIRWISE: Final = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min"})
_VIEWS: Final = frozenset({"Squeeze", "Transpose", "Unsqueeze"})
_ORDER: Final = (Rate.CONSTANT, Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE)


@dataclass(frozen=True)
class _Chosen:
    """`view(x[index])`: elements of a mixed concatenation x along an axis, behind views that keep the axis."""

    whole: Mixed
    index: Array
    views: tuple[ir.Node, ...]
    axis: int
    is_listed: bool

    def rates(self, draft: Draft) -> list[Rate]:
        """The rate of each chosen element."""
        widths = self.whole.widths(draft) or ()
        rates = [draft.rate(p) for p, width in zip(self.whole.pieces, widths, strict=True) for _ in range(width)]
        return [rates[k] for k in self.index.tolist()]

    def taken(self, draft: Draft, places: Array, rate: Rate, node: ir.Node) -> ir.Value:
        """The elements at some places of the list, all of one rate."""
        pieces, starts, width = [], {}, 0
        offsets = np.cumsum([0, *(self.whole.widths(draft) or ())])
        for k, piece in enumerate(self.whole.pieces):
            if draft.rate(piece) is rate:
                pieces.append(piece)
                starts[k] = width - int(offsets[k])
                width += int(offsets[k + 1] - offsets[k])
        joined = pieces[0] if len(pieces) == 1 else draft.emit("Concat", pieces, node, axis=self.whole.axis)
        wanted = self.index[places]
        homes = np.searchsorted(offsets, wanted, side="right") - 1
        own = np.asarray([k + starts[int(home)] for k, home in zip(wanted.tolist(), homes, strict=True)], np.int64)
        value = select(draft, joined, own, self.whole.axis, node)
        for view in self.views:
            value = draft.copy(view, [value, *view.inputs[1:]], node)
        return value


@dataclass(frozen=True)
class _Operand:
    """An operand of f: chosen elements, a weight with one row for each of them, or a value that all of them meet."""

    value: ir.Value
    chosen: _Chosen | None
    weight: Array | None
    axis: int
    rate: Rate

    def rates(self, draft: Draft, count: int) -> list[Rate]:
        return [self.rate] * count if self.chosen is None else self.chosen.rates(draft)

    def taken(self, draft: Draft, places: Array, rate: Rate, node: ir.Node) -> ir.Value:
        if self.chosen is not None:
            return self.chosen.taken(draft, places, rate, node)
        if self.weight is not None:
            return draft.constant(np.ascontiguousarray(np.take(self.weight, places, axis=self.axis)))
        return self.value


def group_choices(draft: Draft) -> None:
    """`f(x[p], y[q]) = [f(x[p₁], y[q₁]), f(x[p₂], y[q₂])][o]`: the list by the rates of what it names.

    For x and y that are concatenations of several rates, and f elementwise or a product with one weight matrix for each
    position of the list; `p = p₁ p₂` and `q = q₁ q₂` up to the order o. The products of FmFM, ONN and PNN's kernels.
    """
    for node in draft.nodes():
        out = draft.fact(node.outputs[0])
        if out.dims is None or out.rate is not Rate.CANDIDATE or len(node.inputs) != 2:
            continue
        if node.op_type not in _PAIRWISE and node.op_type != "MatMul":
            continue
        found = [_chosen(draft, v) for v in node.inputs]
        pivot = next((c for c in found if c is not None and c.is_listed), None)
        if pivot is None:
            continue
        axis = pivot.axis - len(draft.dims(node.inputs[found.index(pivot)] or node.outputs[0])) + len(out.dims)
        operands = _operands(draft, node, found, axis, len(pivot.index))
        result = None if operands is None else _grouped(draft, node, operands, axis, len(pivot.index))
        if result is not None and draft.fact(result).dims == out.dims:
            draft.replace(node.outputs[0], result, "group_choices", f"{len(pivot.index)} choices by rate")


def _chosen(draft: Draft, value: ir.Value | None) -> _Chosen | None:
    """The elements that a value chooses from a mixed concatenation; all in order where it chooses none."""
    views: list[ir.Node] = []
    while value is not None:
        node, fact = value.producer(), draft.fact(value)
        if node is None or fact.dims is None or fact.rate is not Rate.CANDIDATE:
            return None
        listed = selection(draft, value)
        whole = mixed(draft, value if listed is None else listed.source)
        if whole is not None and whole.widths(draft) is not None and (listed is None or listed.axis == whole.axis):
            index = np.arange(sum(whole.widths(draft) or ())) if listed is None else listed.index
            axis = _behind(draft, views[::-1], whole.axis)
            return None if axis is None else _Chosen(whole, index, tuple(views[::-1]), axis, listed is not None)
        if node.op_type not in _VIEWS:
            return None
        views.append(node)
        value = node.inputs[0]
    return None


def _behind(draft: Draft, views: list[ir.Node], axis: int) -> int | None:
    """Where an axis is behind some views."""
    for node in views:
        step, rank = step_of(draft, node), len(draft.dims(node.outputs[0]))
        if node.op_type == "Transpose":
            axis = list(step.ints_of("perm") or reversed(range(rank))).index(axis)
            continue
        axes = axes_of(step)
        if axes is None:
            return None
        before = rank + len(axes) if node.op_type == "Squeeze" else rank
        changed = {normal(a, before) for a in axes}
        if node.op_type == "Unsqueeze":
            axis = [a for a in range(rank) if a not in changed][axis]
        elif axis in changed:
            return None
        else:
            axis -= sum(a < axis for a in changed)
    return axis


def _operands(draft: Draft, node: ir.Node, found: list[_Chosen | None], axis: int, count: int) -> list[_Operand] | None:
    """The operands, where each goes with the list or is the same for all of it."""
    rank = len(draft.dims(node.outputs[0]))
    if node.op_type == "MatMul" and axis >= rank - 2:
        return None
    operands: list[_Operand] = []
    for value, chosen in zip(node.inputs, found, strict=True):
        dims = None if value is None else draft.fact(value).dims
        if value is None or dims is None:
            return None
        own = axis - rank + len(dims)
        if chosen is not None and chosen.axis == own and len(chosen.index) == count:
            operands.append(_Operand(value, chosen, None, own, Rate.CANDIDATE))
        elif own < 0 or dims[own] == ONE:
            operands.append(_Operand(value, None, None, own, draft.rate(value)))
        elif draft.array(value) is not None and dims[own].factor == count:
            operands.append(_Operand(value, None, draft.array(value), own, Rate.CONSTANT))
        else:
            return None
    return operands


def _grouped(draft: Draft, node: ir.Node, operands: list[_Operand], axis: int, count: int) -> ir.Value | None:
    groups: dict[tuple[Rate, ...], list[int]] = {}
    for place, rates in enumerate(zip(*(o.rates(draft, count) for o in operands), strict=True)):
        groups.setdefault(rates, []).append(place)
    if len(groups) == 1 or all(join(rates) is Rate.CANDIDATE for rates in groups):
        return None
    keys = sorted(groups, key=lambda rates: _ORDER.index(join(rates)))
    pieces = []
    for rates in keys:
        places = np.asarray(groups[rates], np.int64)
        inputs = [o.taken(draft, places, rate, node) for o, rate in zip(operands, rates, strict=True)]
        pieces.append(draft.copy(node, inputs, node))
    joined = draft.emit("Concat", pieces, node, axis=axis)
    order = np.argsort(np.concatenate([groups[rates] for rates in keys]))
    return select(draft, joined, order, axis, node)
