"""The item side of a rewritten network as a graph of priced steps, and what was decided on it.

Costs are microseconds of a core per second of service: what each candidate costs times candidates a second, and what
each item version costs times how often an item part runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import onnx_ir as ir

from recserve.errors import ConfigError
from recserve.network.cost import VIEWS, OpCosts, node_us
from recserve.network.cut import can_cross, reads, size_names
from recserve.network.draft import Draft
from recserve.network.facts import Facts
from recserve.network.frontier import EXPLAINING, Frontier, ItemGraph, Step, Tensor, explain_stored
from recserve.network.sizes import elements
from recserve.network.storing import StoreOptions
from recserve.rates import Rate

_BATCH: Final = 1024
"""Items of one call of the item part, in bulk."""
_FLOAT: Final = 1
_RELUCTANCE: Final = 2.0
"""Computing again has to look so much cheaper than fetching: products are measured with their weights in the cache."""


@dataclass(frozen=True)
class Decision:
    """What was decided for one item value that the candidate part depends on.

    Attributes:
        value: its name.
        op: that makes it, or "input".
        action: "store" (once per item version) or "recompute" (for each candidate).
        size_bytes: of its row as it is, or would be, stored.
        us: per candidate: fetching it, or computing it again.
        instead_us: per candidate, how much dearer all would be the other way: nothing stored, or it stored in place of
            its sources; None where there is no other way.
    """

    value: str
    op: str
    action: str
    size_bytes: int
    us: float
    instead_us: float | None


@dataclass(frozen=True)
class StorePlan:
    """Which item values are stored, why, and what that comes to.

    Attributes:
        options: as they were decided by.
        decisions: what is stored, then what is computed again.
        gather_us: to fetch the stored tensors of one candidate.
        recompute_us: to compute again what is not stored, for one candidate.
        item_us: of the network's item part for one item, in bulk.
        rebuild_s: of the network's item part for all items.
        least_bytes: the least that an item could store.
        cost: of a core: its share that all this takes.
    """

    options: StoreOptions
    decisions: tuple[Decision, ...]
    gather_us: float
    recompute_us: float
    item_us: float
    rebuild_s: float
    least_bytes: int
    cost: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        document = {name: getattr(self, name) for name in _FIGURES}
        return document | {
            "options": self.options.as_dict(),
            "decisions": [vars(decision) for decision in self.decisions],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> StorePlan:
        """What `as_dict` gave.

        Raises:
            KeyError, TypeError, ConfigError: it is something else.
        """
        return cls(
            options=StoreOptions(**document["options"]),
            decisions=tuple(Decision(**entry) for entry in document["decisions"]),
            **{name: document[name] for name in _FIGURES},
        )


_FIGURES: Final = ("gather_us", "recompute_us", "item_us", "rebuild_s", "least_bytes", "cost")


def plan_storing(
    draft: Draft,
    demanded: frozenset[str],
    types: Mapping[str, int],
    *,
    options: StoreOptions,
    costs: OpCosts,
    where: str,
) -> tuple[frozenset[str], StorePlan] | None:
    """Choose the item values that are stored.

    Args:
        draft: the rewritten network.
        demanded: the item values that steps of other rates read, and item-rate outputs.
        types: ONNX dtype by value name.
        options: traffic and limits.
        costs: of the machine.
        where: for messages.

    Returns:
        The values and the plan; None where no choice is possible at all, so that walking the graph will say why.

    Raises:
        ConfigError: nothing fits into the byte budget.
    """
    side = _ItemSide(draft, demanded, options, costs)
    graph = side.graph({name for name, dtype in types.items() if dtype == _FLOAT})
    least = graph.smallest()
    if least is None:
        graph = side.graph(set(types))
        least = graph.smallest()
    if least is None:
        return None
    budget = options.max_payload_bytes_per_item
    if budget is not None and least.size_bytes > budget:
        raise ConfigError(
            f"the network needs at least {least.size_bytes:,} bytes stored for each item "
            f"({', '.join(sorted(least.stored))}), but max_payload_bytes_per_item is {budget:,}",
            code="payload_budget",
            where=where,
            hint="Allow that many, or store in a narrower payload precision",
        )
    chosen = graph.cheapest_within(budget)
    return None if chosen is None else (chosen.stored, side.plan(graph, chosen, least.size_bytes))


class _ItemSide:
    def __init__(self, draft: Draft, demanded: frozenset[str], options: StoreOptions, costs: OpCosts) -> None:
        self.facts: Facts = draft.facts
        self.options, self.costs, self.demanded = options, costs, demanded
        values = {str(v.name): v for v in draft.model.graph.inputs}
        values |= {str(v.name): v for node in draft.model.graph for v in node.outputs}
        self.values = values
        self.nodes: list[ir.Node | None] = []
        self.made: list[list[ir.Value]] = []
        self._collect([values[name] for name in sorted(demanded)])

    def _collect(self, roots: list[ir.Value]) -> None:
        """The nodes and inputs of item rate that the roots are made of, each once."""
        seen: set[int] = set()
        pending = list(roots)
        while pending:
            value = pending.pop()
            node = value.producer()
            key = id(value) if node is None else id(node)
            if key in seen:
                continue
            seen.add(key)
            self.nodes.append(node)
            self.made.append([value] if node is None else [v for v in node.outputs if v.name])
            pending += [] if node is None else self._sources(node)

    def _sources(self, node: ir.Node) -> list[ir.Value]:
        """The item values behind a node; values of weights and sizes alone are made where they are read."""
        found: dict[str, ir.Value] = {}
        pending = reads(node, self.facts)
        while pending:
            value = pending.pop()
            producer = value.producer()
            if value.is_initializer():
                continue
            if not self.facts[value].is_free:
                found[str(value.name)] = value
            elif producer is not None:
                pending += reads(producer, self.facts)
        return [found[name] for name in sorted(found)]

    def _can_repeat(self, node: ir.Node) -> bool:
        """It can run at candidate rate: no size that only items know is needed."""
        pending = [node]
        while pending:
            at = pending.pop()
            if any(self.facts.origins[name].rate is not Rate.REQUEST for name in size_names(at, self.facts)):
                return False
            for value in reads(at, self.facts):
                producer = value.producer()
                if producer is not None and not value.is_initializer() and self.facts[value].is_free:
                    pending.append(producer)
        return True

    def graph(self, storable: set[str]) -> ItemGraph:
        """The steps, priced for a second of service.

        Args:
            storable: names of values of a dtype that payloads hold.
        """
        options, steps = self.options, []
        for node, made in zip(self.nodes, self.made, strict=True):
            outputs = []
            for value in made:
                is_able = str(value.name) in storable and can_cross(self.facts[value])
                size = self._size(value)
                price = options.candidates_per_s * self.costs.gather_us(size) if is_able else None
                outputs.append(Tensor(str(value.name), size, price))
            again, once = None, 0.0
            if node is not None:
                once = options.item_runs_per_s * node_us(node, self.facts, self.costs, _BATCH)
                if self._can_repeat(node):
                    again = _RELUCTANCE * options.candidates_per_s * self._again_us(node)
            sources = () if node is None else tuple(str(v.name) for v in self._sources(node))
            steps.append(Step(tuple(outputs), sources, again, once))
        return ItemGraph(tuple(steps), self.demanded)

    def _again_us(self, node: ir.Node) -> float:
        return node_us(node, self.facts, self.costs, self.options.candidates_per_request)

    def _size(self, value: ir.Value) -> int:
        dims = self.facts[value].dims
        return 0 if dims is None else self.options.stored_bytes(elements(dims, 1))

    def plan(self, graph: ItemGraph, chosen: Frontier, least_bytes: int) -> StorePlan:
        """The decisions with their figures."""
        options, rate = self.options, max(self.options.candidates_per_s, 1e-9)
        dearer = explain_stored(graph, chosen, options.max_payload_bytes_per_item)
        decisions = []
        for name in sorted(chosen.stored):
            node, size = self.values[name].producer(), graph.tensors[name].size_bytes
            extra = dearer[name]
            found = None if extra is None else extra / rate
            op = "input" if node is None else node.op_type
            decisions.append(Decision(name, op, "store", size, self.costs.gather_us(size), found))
        recompute_us = 0.0
        for number in sorted(chosen.again):
            node = self.nodes[number]
            if node is None or node.op_type in VIEWS:
                continue
            name, us = str(node.outputs[0].name), self._again_us(node)
            recompute_us += us
            other = None
            if graph.tensors[name].store is not None:
                other = graph.cheapest_within(
                    options.max_payload_bytes_per_item, required=frozenset({name}), effort=EXPLAINING
                )
            instead = None if other is None else (other.cost - chosen.cost) / rate
            decisions.append(Decision(name, node.op_type, "recompute", graph.tensors[name].size_bytes, us, instead))
        once = [self.nodes[number] for number in chosen.once]
        item_us = sum(node_us(node, self.facts, self.costs, _BATCH) for node in once if node is not None)
        return StorePlan(
            options=options,
            decisions=tuple(decisions),
            gather_us=self.costs.gather_row_us + self.costs.gather_us(chosen.size_bytes),
            recompute_us=recompute_us,
            item_us=item_us,
            rebuild_s=item_us * options.item_count / 1e6,
            least_bytes=least_bytes,
            cost=chosen.cost / 1e6,
        )
