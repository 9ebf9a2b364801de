"""The nodes of a split network that stay whole at candidate rate because no rule handles them, and what to do.

Nothing is known of the rows of such a node's result, so that what reads it stays at candidate rate too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import onnx_ir as ir

from recserve.network.cut import Cut
from recserve.network.draft import Draft
from recserve.network.facts import RULES, sources, subgraphs
from recserve.network.model import ONNX_DOMAINS
from recserve.rates import Rate, join

REASONS: Final = {
    "fused": "it is an op of ONNX Runtime's own",
    "subgraph": "it runs a graph of its own",
    "no_rule": "no rule handles the op",
    "mixed": "the rule of the op cannot tell candidates apart on these inputs",
    "input": "two of its axes have the symbol of the candidates",
}
"""Why a node stays whole, by code."""

_ADVICE: Final = {
    "fused": "Save the network before an optimiser fuses its ops, or export it with ONNX's own ops.",
    "subgraph": "Export it unrolled, or with GRU, LSTM, RNN or plain ops in place of a loop or a branch.",
    "no_rule": "Write it with products, elementwise ops, reductions and slices, which the compiler follows row by row.",
    "mixed": "Keep candidates on an axis of their own through it: no reshape, sort or sum across them, and no ellipsis "
    "in an Einsum.",
    "input": "Give each axis of the input a symbol of its own, or a fixed size.",
}
_OWNERS: Final = {Rate.ITEM: "the item", Rate.REQUEST: "the request", Rate.CONSTANT: "nothing"}


@dataclass(frozen=True)
class Unhandled:
    """One node that stays whole.

    Attributes:
        name: of the node's first output, or of the input.
        op: its op type; "Input" for an input of the network.
        domain: of the op; "" for ONNX's own.
        reason: a code of `REASONS`.
        reads: what the inputs that it depends on change with: the rate that it could have had at best.
        flops: its operations for one candidate; None where no shape tells.
        behind: nodes that stay at candidate rate because they read its result, directly or not.
        behind_flops: operations of those for one candidate, as far as they are known.
    """

    name: str
    op: str
    domain: str
    reason: str
    reads: Rate
    flops: int | None
    behind: int
    behind_flops: int

    def share(self, candidate_flops: int) -> float | None:
        """Of the candidate part's operations; None where they are unknown."""
        return None if self.flops is None else self.flops / max(candidate_flops, 1)

    def why(self) -> str:
        """One sentence: what stays whole and why."""
        op = f"{self.domain}.{self.op}" if self.domain else self.op
        return f"{self.name!r} ({op}) stays whole at candidate rate: {REASONS[self.reason]}."

    def advice(self) -> str:
        """What a user can do about it."""
        owner = _OWNERS.get(self.reads)
        if owner is None or self.reason == "input":
            return _ADVICE[self.reason]
        return f"{_ADVICE[self.reason]} It depends on {owner} alone: or compute it outside, as a feature."

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"reads": self.reads.value}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Unhandled:
        """What `as_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        if document["reason"] not in REASONS:
            raise ValueError(f"{document['reason']!r} is no reason to stay whole")
        return cls(**{**document, "reads": Rate(document["reads"])})


def find_unhandled(draft: Draft, cut: Cut, counts: Mapping[str, int | None]) -> tuple[Unhandled, ...]:
    """The nodes of the candidate part that no rule handles, those of most operations first; unknown ones lead.

    Args:
        draft: the rewritten network.
        cut: the border of the candidate part.
        counts: operations by node; None where unknown.
    """
    nodes = [node for node in draft.nodes() if _name(node) in cut.nodes]
    reasons = {name: "input" for name in cut.crossings if draft.facts.by_name[name].is_opaque}
    reasons |= {_name(node): reason for node in nodes if (reason := _reason(node, draft)) is not None}
    if not reasons:
        return ()
    ops = {_name(node): node for node in nodes}
    rates = _best_rates(draft)
    found = []
    for name, reason in reasons.items():
        node = ops.get(name)
        behind = _behind(name, nodes, draft) - reasons.keys()
        work = sum(counts.get(other) or 0 for other in behind)
        if node is None:
            found.append(Unhandled(name, "Input", "", reason, rates[name], 0, len(behind), work))
        else:
            domain = "" if node.domain in ONNX_DOMAINS else node.domain
            flops = counts.get(name)
            found.append(Unhandled(name, node.op_type, domain, reason, rates[name], flops, len(behind), work))
    return tuple(sorted(found, key=lambda u: (u.flops is not None, -(u.flops or 0), -u.behind_flops)))


def _reason(node: ir.Node, draft: Draft) -> str | None:
    """Why nothing is known of a node's result; None where it is known, or only what it reads is at fault."""
    if not draft.facts[node.outputs[0]].is_opaque:
        return None
    if any(True for _ in subgraphs(node)):
        return "subgraph"
    if node.domain not in ONNX_DOMAINS:
        return "fused"
    reads_opaque = any(draft.facts[value].is_opaque for value in node.inputs if value is not None)
    if node.op_type in RULES or node.op_type in _MEASURING:
        return None if reads_opaque else "mixed"
    return "no_rule"


_MEASURING: Final = frozenset({"ConstantOfShape", "Range", "Shape", "Size"})
"""Ops that are followed by content rather than by a rule."""


def _best_rates(draft: Draft) -> dict[str, Rate]:
    """The rate of the inputs behind each value, as if every op had a rule."""
    rates: dict[str, Rate] = {str(v.name): draft.input_rates[str(v.name)] for v in draft.model.graph.inputs}
    for node in draft.model.graph:
        rate = join(rates.get(str(value.name), Rate.CONSTANT) for value in sources(node))
        rates |= {str(value.name): rate for value in node.outputs}
    return rates


def _behind(name: str, nodes: list[ir.Node], draft: Draft) -> set[str]:
    """The opaque nodes that read a value, directly or through others."""
    tainted, found = {name}, set()
    for node in nodes:
        outputs = {str(value.name) for value in node.outputs}
        if name in outputs:
            tainted |= outputs
        elif draft.facts[node.outputs[0]].is_opaque and any(str(v.name) in tainted for v in sources(node)):
            tainted |= outputs
            found.add(_name(node))
    return found


def _name(node: ir.Node) -> str:
    return str(node.outputs[0].name)
