"""What each feature costs: time by rate, and bytes of each item's payload.

Times are measured: the plan runs op by op over rows of the caller or drawn ones. What an op costs, and what a payload
part takes, is divided among the features that share it, so that the shares of all features add up to the total.

Axes: N rows of the measured batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recserve import memory
from recserve.features.compiled import CompiledPlan
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.ingest import ColumnBatch
from recserve.features.op import Kind
from recserve.features.stage import Workspace
from recserve.rates import Rate
from recserve.staging.cuts import ancestors, candidate_ops
from recserve.staging.draw import column_sides, draw_columns

MEASURED_ROWS: Final = 256
_REPEATS: Final = 5
_RANGE_BYTES: Final = 16
"""Start and end of a ragged part in an item's record."""


@dataclass(frozen=True)
class OpCost:
    """One op.

    Attributes:
        number: of the op.
        rate: how often it runs.
        nanoseconds: each time it runs, for one user or one item; a constant op: once.
        elements: of its value, on average a row.
        features: names of the features that need it.
    """

    number: int
    rate: Rate
    nanoseconds: float
    elements: float
    features: tuple[str, ...]

    @property
    def is_shared(self) -> bool:
        """More than one feature needs it."""
        return len(self.features) > 1


@dataclass(frozen=True)
class FeatureCost:
    """The share of one feature.

    Attributes:
        name: of the feature.
        rate: how often it changes.
        columns: raw columns, `side:name`.
        ops: numbers of the ops that it needs, in order.
        shared: those of them that other features need too.
        nanoseconds: its share by rate: each item version, each request, each candidate.
        item_bytes: its share of an item's payload; None if it is an item-side sequence, which only a network that
            pools it can store.
    """

    name: str
    rate: Rate
    columns: tuple[str, ...]
    ops: tuple[int, ...]
    shared: tuple[int, ...]
    nanoseconds: dict[Rate, float]
    item_bytes: float | None


@dataclass(frozen=True)
class PlanCosts:
    """All ops and features of a plan, measured over `rows` rows."""

    ops: tuple[OpCost, ...]
    features: tuple[FeatureCost, ...]
    rows: int

    def nanoseconds(self, rate: Rate) -> float:
        """All ops of a rate."""
        return sum(op.nanoseconds for op in self.ops if op.rate is rate)

    @property
    def item_bytes(self) -> float:
        """Payload of an item, as far as it is known."""
        return sum(feature.item_bytes or 0.0 for feature in self.features)


def measure_costs(graph: PlanGraph, columns: Any = None, rows: int = MEASURED_ROWS) -> PlanCosts:
    """Measure a plan.

    Args:
        graph: the plan.
        columns: of `rows` rows or 1; None draws them.
        rows: N.

    Raises:
        DataError: a column is missing or a cell is wrong.
    """
    if columns is None:
        counts = dict.fromkeys(("user", "context", "item", "candidate"), rows)
        columns = draw_columns(graph, counts, np.random.default_rng(0))
    stage = CompiledPlan(graph).flat
    workspace = Workspace(stage.slots, 1 << 22)
    batch = ColumnBatch.from_columns(columns, stage.columns, rows=rows)
    runs = [stage.measure(workspace, batch, rows) for _ in range(_REPEATS)]
    users = _users(graph)
    ops = tuple(
        OpCost(
            number,
            graph.values[number].rate,
            min(run[number] for run in runs) / rows,
            float(workspace.values[number, memory.COUNT]) / rows,
            users.get(number, ()),
        )
        for number in range(len(graph.ops))
    )
    kept, sides = _item_bytes(graph, workspace, rows), column_sides(graph)
    features = tuple(_feature_cost(graph, output, ops, sides, kept[output.spec.name]) for output in graph.outputs)
    return PlanCosts(ops, features, rows)


def _roots(output: GraphOutput) -> set[int]:
    return {output.value} | ({output.steps} if output.steps is not None else set())


def _users(graph: PlanGraph) -> dict[int, tuple[str, ...]]:
    """The features that need each op."""
    found: dict[int, list[str]] = {}
    for output in graph.outputs:
        for number in ancestors(graph, _roots(output)):
            found.setdefault(number, []).append(output.spec.name)
    return {number: tuple(names) for number, names in found.items()}


def _item_bytes(graph: PlanGraph, workspace: Workspace, rows: int) -> dict[str, float | None]:
    """The share of each feature in an item's payload; see `FeatureCost`."""
    stored = {
        output.spec.name: candidate_ops(graph, _roots(output))[1]
        for output in graph.outputs
        if output.spec.rate is Rate.CANDIDATE
    }
    readers = Counter(number for numbers in stored.values() for number in numbers)
    shares = {number: _part_bytes(graph, number, workspace, rows) / count for number, count in readers.items()}
    found: dict[str, float | None] = {}
    for output in graph.outputs:
        found[output.spec.name] = sum(shares[number] for number in stored.get(output.spec.name, ()))
        if output.spec.rate is Rate.ITEM:
            found[output.spec.name] = None if output.spec.is_sequence else 4.0 * output.spec.dim
    return found


def _part_bytes(graph: PlanGraph, number: int, workspace: Workspace, rows: int) -> float:
    """Bytes of a ragged part of a payload, on average."""
    value = workspace.values[number].tolist()
    count = int(value[memory.COUNT])
    size = 8.0 * count + 4.0 * count * graph.values[number].is_weighted
    if graph.values[number].kind is Kind.TOKENS and count:
        offsets = workspace.read(value[memory.TOKEN_OFFSETS], count + 1, np.int64)
        size += float(offsets[-1] - offsets[0])
    return size / rows + _RANGE_BYTES


def _feature_cost(
    graph: PlanGraph,
    output: GraphOutput,
    ops: tuple[OpCost, ...],
    sides: Mapping[str, str],
    item_bytes: float | None,
) -> FeatureCost:
    needed = tuple(sorted(ancestors(graph, _roots(output))))
    spent = dict.fromkeys(Rate, 0.0)
    for number in needed:
        spent[ops[number].rate] += ops[number].nanoseconds / len(ops[number].features)
    readers: list[Any] = [graph.ops[number] for number in needed if hasattr(graph.ops[number], "column")]
    names = dict.fromkeys(op.column for op in readers)
    return FeatureCost(
        output.spec.name,
        output.spec.rate,
        tuple(f"{sides[name]}:{name}" for name in names),
        needed,
        tuple(number for number in needed if ops[number].is_shared),
        spent,
        item_bytes,
    )
