"""Where the parts of a network meet: which values cross from the item and the request part into the candidate part.

The search starts at the outputs and walks towards the inputs. It stops at the first request value that can cross, and
at the item values that are stored (`item_side` chooses them); what it passed on the way is the candidate part. A value
that cannot cross (an item value with a dynamic inner axis, a value whose rows are not axis 0) is computed at candidate
rate from what it was made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import onnx_ir as ir

from recserve.errors import ConfigError
from recserve.network.draft import Draft
from recserve.network.facts import Fact, Facts, sources
from recserve.network.sizes import ROWS, N, Size, elements
from recserve.rates import Rate

ASSUMED_SIZE: Final = 50
"""Stands for a size that is known at run time only, in estimates."""

_SHAPE_SLOT: Final[dict[str, int]] = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Tile": 1}
_SPREADING: Final = frozenset({"Expand", "Tile"})


@dataclass
class Cut:
    """The border of the candidate part.

    Attributes:
        crossings: the value and rate of each input of the candidate part, by name.
        sizes: names of sizes that the request part must tell the candidate part.
        nodes: names of the first outputs of the nodes of the candidate part.
    """

    crossings: dict[str, tuple[ir.Value, Rate]] = field(default_factory=dict)
    sizes: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


def shape_slot(node: ir.Node, facts: Facts) -> tuple[int, tuple[Size, ...]] | None:
    """The input of a node that holds a shape with symbolic sizes, all known: its index and elements."""
    index = _SHAPE_SLOT.get(node.op_type)
    if index is None or node.domain not in ("", "ai.onnx") or index >= len(node.inputs):
        return None
    value = node.inputs[index]
    symbolic = None if value is None else facts[value].symbolic
    return None if symbolic is None else (index, symbolic)


def measured(node: ir.Node, facts: Facts) -> tuple[Size, ...] | None:
    """The elements of the output of a Shape or Size node, where they are known without its input."""
    if node.op_type not in ("Shape", "Size") or node.domain not in ("", "ai.onnx"):
        return None
    content = facts[node.outputs[0]].content
    if content is None or any(s is None for s in content):
        return None
    return tuple(s for s in content if s is not None)


def reads(node: ir.Node, facts: Facts) -> list[ir.Value]:
    """The values that a node needs in a part: all it reads, but for shapes that the part rebuilds from sizes."""
    if measured(node, facts) is not None:
        return []
    slot = shape_slot(node, facts)
    if slot is None:
        return sources(node)
    return [v for i, v in enumerate(node.inputs) if v is not None and i != slot[0]]


def size_names(node: ir.Node, facts: Facts) -> set[str]:
    """The named sizes, N aside, that a part needs to rebuild the shapes that a node reads."""
    slot = shape_slot(node, facts)
    sizes = slot[1] if slot is not None else measured(node, facts) or ()
    return {leaf for size in sizes for name in size.names if name != ROWS for leaf in facts.leaves(name)}


def can_cross(fact: Fact) -> bool:
    """A value can be handed over: rows are axis 0, one each, and an item's row has a fixed size."""
    if fact.is_free or fact.dims is None or fact.row != 0 or fact.dims[0] != N:
        return False
    return fact.rate is Rate.REQUEST or (fact.rate is Rate.ITEM and all(d.is_static for d in fact.dims[1:]))


def find_demand(draft: Draft, where: str) -> frozenset[str]:
    """The item values that steps of other rates read, and those that are outputs.

    Raises:
        ConfigError: as `find_cut`.
    """
    search = _Search(draft, where, None)
    search.walk()
    return frozenset(search.demanded)


def find_cut(draft: Draft, where: str, stored: frozenset[str] | None = None) -> Cut:
    """The crossings of a network whose rewrites are done.

    Args:
        draft: the network.
        where: for messages.
        stored: the item values that cross; None: each that can.

    Raises:
        ConfigError: an item sequence of dynamic length is needed at candidate rate, or no input tells the number of
            candidates.
    """
    if stored is None:
        stored = frozenset(name for name, fact in draft.facts.by_name.items() if can_cross(fact))
    return _Search(draft, where, stored).run()


class _Search:
    def __init__(self, draft: Draft, where: str, stored: frozenset[str] | None) -> None:
        self.draft = draft
        self.facts = draft.facts
        self.where = where
        self.stored = stored
        self.demanded: set[str] = set()
        self.cut = Cut()
        self.values: dict[str, ir.Value] = {str(v.name): v for v in draft.model.graph.inputs}
        self.values |= {str(v.name): v for node in draft.model.graph for v in node.outputs}

    def walk(self) -> None:
        for output in self.draft.model.graph.outputs:
            producer = output.producer()
            assert producer is not None
            self._take(producer)

    def run(self) -> Cut:
        self.walk()
        if not any(rate is not Rate.REQUEST for _, rate in self.cut.crossings.values()):
            self._add_counter()
        return self.cut

    def _visit(self, start: ir.Value) -> None:
        pending = [start]
        while pending:
            value = pending.pop()
            name, producer = str(value.name), value.producer()
            if value.is_initializer() or name in self.cut.crossings:
                continue
            fact = self.facts[value]
            if fact.rate is Rate.ITEM and not fact.is_free and self.stored is None:
                self.demanded.add(name)
            elif producer is None:
                self.cut.crossings[name] = (value, self._input_rate(value, fact))
            elif name in (self.stored or ()) if fact.rate is Rate.ITEM else self._crosses(fact, producer):
                self.cut.crossings[name] = (value, fact.rate)
            else:
                pending += self._mark(producer)

    def _take(self, node: ir.Node) -> None:
        for value in self._mark(node):
            self._visit(value)

    def _mark(self, node: ir.Node) -> list[ir.Value]:
        """Put a node into the candidate part; answer with what it needs."""
        key = str(node.outputs[0].name)
        if key in self.cut.nodes:
            return []
        self.cut.nodes.add(key)
        needed = reads(node, self.facts)
        for name in sorted(size_names(node, self.facts)):
            origin = self.facts.origins[name]
            if origin.rate is Rate.REQUEST:
                self.cut.sizes.add(name)
            elif origin.rate is Rate.ITEM:
                raise _dynamic_item(self.where, origin.value)
            else:
                needed.append(self.values[origin.value])
        return needed

    def _input_rate(self, value: ir.Value, fact: Fact) -> Rate:
        rate = self.draft.input_rates[str(value.name)]
        if rate is Rate.ITEM and not can_cross(fact):
            raise _dynamic_item(self.where, str(value.name))
        return rate

    def _crosses(self, fact: Fact, producer: ir.Node) -> bool:
        """A request value is handed over as early as it can be, but not repeated."""
        return can_cross(fact) and not self._spreads(producer)

    def _spreads(self, node: ir.Node) -> bool:
        """The node only repeats what it reads, which is cheaper to hand over."""
        if node.op_type not in _SPREADING or node.inputs[0] is None:
            return False
        before, after = self.facts[node.inputs[0]].dims, self.facts[node.outputs[0]].dims
        if before is None or after is None:
            return False
        return elements(after, ASSUMED_SIZE) > elements(before, ASSUMED_SIZE)

    def _add_counter(self) -> None:
        """Hand over the smallest item or candidate input, so that the candidate part knows how many rows to answer."""
        able: list[tuple[int, str]] = []
        for value in self.draft.model.graph.inputs:
            fact = self.facts[value]
            rate = self.draft.input_rates[str(value.name)]
            if rate is Rate.CANDIDATE or (rate is Rate.ITEM and can_cross(fact)):
                size = 0 if fact.dims is None else elements(fact.dims, ASSUMED_SIZE)
                able.append((size, str(value.name)))
        if not able:
            raise ConfigError(
                "no output depends on an item or a candidate, so there is nothing to rank",
                where=self.where,
                hint="Check the sides of the features that the network reads",
            )
        name = min(able)[1]
        self.cut.crossings[name] = (self.values[name], self.draft.input_rates[name])


def _dynamic_item(where: str, name: str) -> ConfigError:
    return ConfigError(
        f"the item value {name!r} has an axis of unknown size and is needed together with the user or the context, "
        "so it cannot be stored per item",
        where=where,
        hint="Export the network with a fixed size for that axis (padded item sequences), or pool it on the item side",
    )
