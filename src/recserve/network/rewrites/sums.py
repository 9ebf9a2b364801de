"""Orders sums and products of many operands by rate, so that one-sided operands meet first."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.rates import Rate


@dataclass(frozen=True)
class _Leaf:
    value: ir.Value
    is_negative: bool


def regroup_sums(draft: Draft) -> None:
    """`(u + i) + (u' - i') + b = (u + u' + b) + (i - i')`: the sums of one rate first, weights with the request."""
    _regroup(draft, "Add", ("Add", "Sub"), "regroup_sums")


def regroup_products(draft: Draft) -> None:
    """`(u · i) · (u' · s) = (u · u' · s) · i`: the products of one rate first, weights with the request."""
    _regroup(draft, "Mul", ("Mul",), "regroup_products")


def _regroup(draft: Draft, op: str, ops: tuple[str, ...], name: str) -> None:
    inner: set[int] = set()
    for node in reversed(draft.nodes()):
        if node.op_type not in ops or id(node) in inner or not _is_candidate(draft, node.outputs[0]):
            continue
        nodes: list[ir.Node] = []
        leaves = _leaves(draft, node, ops, False, nodes)
        inner |= {id(n) for n in nodes}
        groups: dict[Rate, list[_Leaf]] = {}
        for leaf in leaves:
            groups.setdefault(draft.rate(leaf.value), []).append(leaf)
        constants = groups.pop(Rate.CONSTANT, [])
        home = next((r for r in (Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE) if r in groups), None)
        if home is None:
            continue
        groups[home] += constants
        before = sum(_is_candidate(draft, n.outputs[0]) for n in nodes)
        after = len(groups) - 1 + len(groups.get(Rate.CANDIDATE, [None])) - 1
        if after < before:
            result = _combine(draft, op, groups, node)
            draft.replace(node.outputs[0], result, name, f"{len(leaves)} operands by rate")


def _leaves(draft: Draft, node: ir.Node, ops: tuple[str, ...], is_negative: bool, seen: list[ir.Node]) -> list[_Leaf]:
    """The operands of a tree of ops whose inner results nothing else reads."""
    seen.append(node)
    leaves: list[_Leaf] = []
    for index, value in enumerate(node.inputs):
        assert value is not None
        sign = is_negative != (node.op_type == "Sub" and index == 1)
        producer = value.producer()
        is_inner = producer is not None and producer.op_type in ops and len(value.uses()) == 1
        if producer is not None and is_inner and _is_candidate(draft, value):
            leaves += _leaves(draft, producer, ops, sign, seen)
        else:
            leaves.append(_Leaf(value, sign))
    return leaves


def _combine(draft: Draft, op: str, groups: dict[Rate, list[_Leaf]], node: ir.Node) -> ir.Value:
    total: ir.Value | None = None
    for rate in (Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE):
        leaves = sorted(groups.get(rate, []), key=lambda leaf: leaf.is_negative)
        if not leaves:
            continue
        part, is_negative = leaves[0].value, leaves[0].is_negative
        for leaf in leaves[1:]:
            verb = "Sub" if leaf.is_negative != is_negative else op
            part = draft.emit(verb, [part, leaf.value], node)
        if total is None:
            total = draft.emit("Neg", [part], node) if is_negative else part
        else:
            total = draft.emit("Sub" if is_negative else op, [total, part], node)
    assert total is not None
    return total


def _is_candidate(draft: Draft, value: ir.Value) -> bool:
    fact = draft.fact(value)
    return fact.rate is Rate.CANDIDATE and not fact.is_opaque
