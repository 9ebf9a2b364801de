"""Which item values to store and which to compute again for each candidate: the cheapest frontier, exactly.

The item side of a network is a graph of steps. A frontier is a set of stored tensors. The candidate part starts at what
is demanded of it and walks back to the frontier: steps on the way run for each candidate. Everything that the stored
tensors are made of runs once per item version. A step may do both.

The cheapest frontier is a minimum cut. For each step there are two variables, `again` (it runs for each candidate) and
`idle` (it does not run per item), and for each tensor one, `needed` (the candidate part reads it). A tensor that is
needed and not computed again is stored. With costs >= 0 all terms are pairs, and every pair has the form "x is true and
y is false costs c", which is an edge x -> y of capacity c:

    source -> needed(t)        infinite     t is demanded
    again(s) -> needed(t)      infinite     s reads t
    needed(t) -> again(s)      storing t    s makes t
    again(s) -> sink           running s for candidates
    idle(s) -> again(s)        infinite     each step runs somewhere
    idle(s) -> idle(u)         infinite     u reads of s: what runs per item needs its sources there
    source -> idle(s)          running s for items

The third last holds without loss: whatever is live is read by a step that runs somewhere. A byte budget is priced into
storing (a Lagrange multiplier); where the price leaves a gap, branch and bound closes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_INFINITE: Final = 1 << 100
_UNIT: Final = 1_000_000
"""Integer capacities for one unit of cost, so that cuts are compared exactly."""
_MAX_BRANCHES: Final = 200
_STEPS_OF_ALL_BRANCHES: Final = 6_000
"""A search is cut short where it would price more steps than that."""
_PRICE_STEPS: Final = 40
EXPLAINING: Final = 0.05
"""The effort for each of the alternatives that a choice is explained by."""


@dataclass(frozen=True)
class Tensor:
    """An output of a step.

    Attributes:
        name: unique in a graph.
        size_bytes: of one item's row, as it is stored.
        store: cost of storing and gathering it; None where it cannot be stored.
    """

    name: str
    size_bytes: int
    store: float | None


@dataclass(frozen=True)
class Step:
    """One step of the item side. All costs are of one unit, and >= 0.

    Attributes:
        outputs: what it makes.
        sources: names of tensors that it reads.
        again: cost of running it for each candidate; None where it cannot.
        once: cost of running it for each item version.
    """

    outputs: tuple[Tensor, ...]
    sources: tuple[str, ...]
    again: float | None
    once: float


@dataclass(frozen=True)
class Frontier:
    """A choice and what it costs.

    Attributes:
        stored: names of tensors.
        again: numbers of the steps that run for each candidate.
        once: numbers of the steps that run for each item version.
        cost: of storing and of both kinds of runs.
        size_bytes: of the stored tensors, an item.
    """

    stored: frozenset[str]
    again: frozenset[int]
    once: frozenset[int]
    cost: float
    size_bytes: int


@dataclass(frozen=True)
class ItemGraph:
    """The item side of a network.

    Attributes:
        steps: each reads outputs of others, without cycles.
        demanded: tensors that the candidate part reads in any case.
    """

    steps: tuple[Step, ...]
    demanded: frozenset[str]

    @cached_property
    def makers(self) -> dict[str, int]:
        """{tensor: number of its step}."""
        return {tensor.name: number for number, step in enumerate(self.steps) for tensor in step.outputs}

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return {tensor.name: tensor for step in self.steps for tensor in step.outputs}

    @cached_property
    def live(self) -> tuple[int, ...]:
        """Numbers of the steps that what is demanded is made of."""
        return tuple(sorted(self._behind(self.demanded)))

    def _behind(self, names: frozenset[str], known: frozenset[str] = frozenset()) -> set[int]:
        """The steps that compute some tensors, where others are known."""
        found, pending = set[int](), [name for name in names if name not in known]
        while pending:
            number = self.makers[pending.pop()]
            if number not in found:
                found.add(number)
                pending += [name for name in self.steps[number].sources if name not in known]
        return found

    def evaluate(self, stored: frozenset[str]) -> Frontier | None:
        """What storing exactly these tensors means; None where something could not be computed."""
        again, once = self._behind(self.demanded, stored), self._behind(stored)
        cost = sum(self.steps[number].once for number in sorted(once))
        for number in sorted(again):
            price = self.steps[number].again
            if price is None:
                return None
            cost += price
        for name in sorted(stored):
            price = self.tensors[name].store
            if price is None:
                return None
            cost += price
        size = sum(self.tensors[name].size_bytes for name in stored)
        return Frontier(stored, frozenset(again), frozenset(once), cost, size)

    def cheapest(
        self, price: float = 0.0, forbidden: frozenset[str] = frozenset(), required: frozenset[str] = frozenset()
    ) -> Frontier | None:
        """The frontier of least cost, where each stored byte costs `price` more; None where there is none.

        Args:
            price: of a byte; not part of the answer's cost.
            forbidden: tensors that must not be stored.
            required: tensors that must be stored.
        """
        flow = _Flow(2)
        again, idle = flow.add(len(self.steps)), flow.add(len(self.steps))
        needed = {name: flow.add(1) for name in self.tensors}
        for number in self.live:
            step = self.steps[number]
            is_fixed = step.again is None or any(tensor.name in required for tensor in step.outputs)
            flow.edge(again + number, _SINK, _INFINITE if is_fixed else _capacity(step.again or 0.0) + 1)
            flow.edge(_SOURCE, idle + number, _capacity(step.once))
            flow.edge(idle + number, again + number, _INFINITE)
            for name in step.sources:
                flow.edge(again + number, needed[name], _INFINITE)
                flow.edge(idle + self.makers[name], idle + number, _INFINITE)
            for tensor in step.outputs:
                is_free = tensor.store is not None and tensor.name not in forbidden
                cost = _capacity((tensor.store or 0.0) + price * tensor.size_bytes) if is_free else _INFINITE
                flow.edge(needed[tensor.name], again + number, cost)
        for name in sorted(self.demanded | required):
            flow.edge(_SOURCE, needed[name], _INFINITE)
        if flow.saturate() >= _INFINITE:
            return None
        side = flow.source_side()
        stored = {name for name, variable in needed.items() if side[variable] and not side[again + self.makers[name]]}
        return self.evaluate(frozenset(stored))

    def smallest(
        self, forbidden: frozenset[str] = frozenset(), required: frozenset[str] = frozenset()
    ) -> Frontier | None:
        """The frontier of fewest bytes, and among those the cheapest; None where nothing can be stored as needed."""
        return self.cheapest(self._prohibitive, forbidden, required)

    @cached_property
    def _prohibitive(self) -> float:
        """A price of one byte above everything else together."""
        steps = sum((step.again or 0.0) + step.once for step in self.steps)
        return 2 * (steps + sum(tensor.store or 0.0 for tensor in self.tensors.values())) + 1

    def cheapest_within(
        self,
        max_bytes: int | None,
        forbidden: frozenset[str] = frozenset(),
        required: frozenset[str] = frozenset(),
        effort: float = 1.0,
    ) -> Frontier | None:
        """The cheapest frontier that stores at most so many bytes; None where there is none.

        Exact up to 30 steps, unless more than 200 branches are open; on larger graphs fewer branches are tried. The
        answer then is the best one seen, at worst a corner of the hull of costs over bytes.

        Args:
            max_bytes: the budget; None for none.
            forbidden: tensors that must not be stored.
            required: tensors that must be stored.
            effort: share of the branches to try.
        """
        found = self.cheapest(0.0, forbidden, required)
        if found is None or max_bytes is None or found.size_bytes <= max_bytes:
            return found
        best = self.smallest(forbidden, required)
        if best is None or best.size_bytes > max_bytes:
            return None
        pending = [(forbidden, required)]
        branches = min(_MAX_BRANCHES, effort * _STEPS_OF_ALL_BRANCHES / max(1, len(self.steps)))
        for _ in range(1 + int(branches)):
            if not pending:
                break
            forbidden, required = pending.pop()
            bound, above, below = self._price_out(max_bytes, forbidden, required)
            if below is not None and below.cost < best.cost:
                best = below
            if above is None or bound >= best.cost * (1 - 1e-9):
                continue
            open_names = above.stored - required
            if not open_names:
                continue
            name = max(sorted(open_names), key=lambda n: self.tensors[n].size_bytes)
            pending += [(forbidden | {name}, required), (forbidden, required | {name})]
        return best

    def _price_out(
        self, max_bytes: int, forbidden: frozenset[str], required: frozenset[str]
    ) -> tuple[float, Frontier | None, Frontier | None]:
        """(a cost that no frontier of the branch within the budget beats, the last one above it, the best within)."""
        above = self.cheapest(0.0, forbidden, required)
        if above is None:
            return float("inf"), None, None
        if above.size_bytes <= max_bytes:
            return above.cost, None, above
        below = self.smallest(forbidden, required)
        if below is None or below.size_bytes > max_bytes:
            return float("inf"), None, None
        best, bound = below, above.cost
        for _ in range(_PRICE_STEPS):
            price = max(0.0, (below.cost - above.cost) / (above.size_bytes - below.size_bytes))
            middle = self.cheapest(price, forbidden, required)
            if middle is None:
                break
            bound = max(bound, middle.cost + price * (middle.size_bytes - max_bytes))
            if middle.cost + price * middle.size_bytes >= (above.cost + price * above.size_bytes) * (1 - 1e-12):
                break
            if middle.size_bytes > max_bytes:
                above = middle
            else:
                below = middle
                best = min(best, middle, key=lambda f: f.cost)
        return bound, above, best


def _capacity(cost: float) -> int:
    return round(cost * _UNIT)


_SOURCE, _SINK = 0, 1


class _Flow:
    """A maximum flow by Dinic's algorithm, with integer capacities."""

    def __init__(self, count: int) -> None:
        self.out: list[list[int]] = [[] for _ in range(count)]
        self.heads: list[int] = []
        self.room: list[int] = []

    def add(self, count: int) -> int:
        """Add vertices; answer with the number of the first."""
        first = len(self.out)
        self.out += [[] for _ in range(count)]
        return first

    def edge(self, tail: int, head: int, capacity: int) -> None:
        """Add an edge; its reverse follows it."""
        if capacity > 0:
            for start, end, room in ((tail, head, capacity), (head, tail, 0)):
                self.out[start].append(len(self.heads))
                self.heads.append(end)
                self.room.append(room)

    def saturate(self) -> int:
        """Send what can be sent; its amount, at least `_INFINITE` where an infinite path is open."""
        total = 0
        while (levels := self._levels())[_SINK] >= 0:
            nexts = [0] * len(self.out)
            while sent := self._send(levels, nexts):
                total += sent
                if total >= _INFINITE:
                    return total
        return total

    def source_side(self) -> list[bool]:
        """The vertices that the source still reaches: the smallest source side of a minimum cut."""
        return [level >= 0 for level in self._levels()]

    def _levels(self) -> list[int]:
        levels = [-1] * len(self.out)
        levels[_SOURCE] = 0
        pending = deque([_SOURCE])
        while pending:
            at = pending.popleft()
            for edge in self.out[at]:
                head = self.heads[edge]
                if self.room[edge] and levels[head] < 0:
                    levels[head] = levels[at] + 1
                    pending.append(head)
        return levels

    def _send(self, levels: list[int], nexts: list[int]) -> int:
        """Send along one shortest path; 0 where there is none left."""
        path: list[int] = []
        at = _SOURCE
        while at != _SINK:
            edges = self.out[at]
            while nexts[at] < len(edges):
                edge = edges[nexts[at]]
                if self.room[edge] and levels[self.heads[edge]] == levels[at] + 1:
                    break
                nexts[at] += 1
            if nexts[at] < len(edges):
                path.append(edges[nexts[at]])
                at = self.heads[path[-1]]
            elif path:
                back = path.pop()
                at = self.heads[back ^ 1]
                nexts[at] += 1
            else:
                return 0
        sent = min(self.room[edge] for edge in path)
        for edge in path:
            self.room[edge] -= sent
            self.room[edge ^ 1] += sent
        return sent


def explain_stored(graph: ItemGraph, chosen: Frontier, max_bytes: int | None = None) -> Mapping[str, float | None]:
    """For each stored tensor, how much dearer all would be without storing it; None where nothing else is possible.

    Args:
        graph: the item side.
        chosen: the frontier that was taken.
        max_bytes: the budget that the alternatives have to keep; None for none.
    """
    dearer: dict[str, float | None] = {}
    for name in sorted(chosen.stored):
        other = graph.cheapest_within(max_bytes, forbidden=frozenset({name}), effort=EXPLAINING)
        dearer[name] = None if other is None else other.cost - chosen.cost
    return dearer
