"""Gathers the nodes of a part into few regions, so that a drawing of a large network can be read.

A product takes along the bias and the activation behind it, and what only moves elements joins its neighbour. Where
that leaves too many, regions alike side by side become one, and then whole bands of depths. The regions of a part
never read one another in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recserve.network.anatomy import Node
from recserve.network.operations import PRODUCTS


@dataclass(frozen=True)
class Region:
    """Some nodes of one part, drawn as one.

    Attributes:
        name: of its last node.
        nodes: in topological order.
        sources: names of the regions and inputs of the part that it reads.
    """

    name: str
    nodes: tuple[Node, ...]
    sources: tuple[str, ...]

    @property
    def flops(self) -> int:
        """Operations of one evaluation, as far as they are known."""
        return sum(node.flops or 0 for node in self.nodes)

    @property
    def bytes(self) -> int:
        """Of the weights that it reads."""
        return sum(node.bytes for node in self.nodes)

    def title(self) -> str:
        """Its ops, those that compute first; equal ones are counted."""
        counts = Counter(node.op for node in self.nodes)
        busy = {node.op for node in self.nodes if node.flops != 0}
        ops = [op for op in counts if op in busy] or list(counts)
        ops.sort(key=lambda op: -max(n.flops or 0 for n in self.nodes if n.op == op))
        return " · ".join(f"{counts[op]}× {op}" if counts[op] > 1 else op for op in ops)


def gather(nodes: Sequence[Node], limit: int) -> tuple[Region, ...]:
    """The regions of a part, in topological order.

    Args:
        nodes: of one part, in topological order.
        limit: of regions that a reader can take in; kept unless the part is one of few depths and many wide rows.
    """
    home = _Chains(nodes).join_all()
    if len(set(home.values())) > limit:
        home = _alike(nodes, home)
    if len(set(home.values())) > limit:
        home = _bands(nodes, home, limit)
    return _regions(nodes, home)


class _Chains:
    """Joins neighbours. Safe: the first one feeds nobody else, or the second one reads nobody else."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.home = {node.name: number for number, node in enumerate(nodes)}
        self.inside = {number: [node] for number, node in enumerate(nodes)}
        self.reads = {n: {self.home[s] for s in node.sources if s in self.home} for n, node in enumerate(nodes)}
        self.readers: dict[int, set[int]] = {number: set() for number in self.inside}
        for number, reads in self.reads.items():
            for source in reads:
                self.readers[source].add(number)

    def join_all(self) -> dict[str, int]:
        """The region of each node, once nothing more belongs together."""
        is_changed = True
        while is_changed:
            is_changed = False
            for second in list(self.inside):
                first = next((f for f in sorted(self.reads.get(second, ())) if self._belong(f, second)), None)
                if first is not None:
                    self._join(first, second)
                    is_changed = True
        return {node.name: number for number, nodes in self.inside.items() for node in nodes}

    def _belong(self, first: int, second: int) -> bool:
        """Whether the second region is no more than the tail of the first, or either a mere move."""
        feeds_it_alone, reads_it_alone = self.readers[first] == {second}, self.reads[second] == {first}
        is_tail = feeds_it_alone and not any(node.op in PRODUCTS for node in self.inside[second])
        is_moved = all(node.flops == 0 for node in self.inside[second])
        is_move = all(node.flops == 0 for node in self.inside[first])
        return (reads_it_alone and (is_tail or is_moved)) or (is_move and feeds_it_alone)

    def _join(self, first: int, second: int) -> None:
        self.inside[first] += self.inside.pop(second)
        for mine, theirs in ((self.reads, self.readers), (self.readers, self.reads)):
            moved = mine.pop(second)
            for other in moved:
                theirs[other] = (theirs[other] - {second}) | {first}
            mine[first] = (mine[first] | moved) - {first, second}


def _alike(nodes: Sequence[Node], home: dict[str, int]) -> dict[str, int]:
    """Join regions of one depth whose ops are the same: no path leads from one to the other."""
    regions = _regions(nodes, home)
    depths = depths_of(regions)
    first: dict[tuple[int, tuple[str, ...]], int] = {}
    target = {
        region.name: first.setdefault((depths[region.name], tuple(n.op for n in region.nodes)), number)
        for number, region in enumerate(regions)
    }
    return {node.name: target[region.name] for region in regions for node in region.nodes}


def _bands(nodes: Sequence[Node], home: dict[str, int], limit: int) -> dict[str, int]:
    """Join regions of neighbouring depths: every edge leads to a greater depth, so to the same band or a later one."""
    regions = _regions(nodes, home)
    depths = depths_of(regions)
    sizes = Counter(depths.values())
    band, filled, bands = 0, 0, {}
    share = max(1, len(regions) // limit)
    for depth in sorted(sizes):
        if filled and filled + sizes[depth] > share:
            band, filled = band + 1, 0
        bands[depth], filled = band, filled + sizes[depth]
    return {node.name: bands[depths[region.name]] for region in regions for node in region.nodes}


def depths_of(regions: Sequence[Region]) -> dict[str, int]:
    """How many regions stand above each, at most, by name; inputs have depth 0."""
    depths: dict[str, int] = {}
    for region in regions:
        depths[region.name] = 1 + max((depths.get(source, 0) for source in region.sources), default=0)
    return depths


def _regions(nodes: Sequence[Node], home: Mapping[str, int]) -> tuple[Region, ...]:
    members: dict[int, list[Node]] = {}
    for node in nodes:
        members.setdefault(home[node.name], []).append(node)
    names = {number: inside[-1].name for number, inside in members.items()}
    pending = {}
    for number, inside in members.items():
        reads = dict.fromkeys(s for node in inside for s in node.sources if home.get(s) != number)
        sources = dict.fromkeys(names[home[s]] if s in home else s for s in reads)
        pending[names[number]] = Region(names[number], tuple(inside), tuple(sources))
    return _sorted(pending)


def _sorted(pending: dict[str, Region]) -> tuple[Region, ...]:
    """In topological order."""
    done: dict[str, Region] = {}
    while pending:
        ready = [name for name, region in pending.items() if not any(s in pending for s in region.sources)]
        done |= {name: pending.pop(name) for name in ready}
    return tuple(done.values())
