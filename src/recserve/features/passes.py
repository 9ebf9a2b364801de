"""Rewrites of a plan graph, each of which keeps what every output means.

`PASSES` is the list, in the order in which they run; `optimize` checks the rules of the plan after each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from recserve.features import ops
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.op import Op, Value, value_names
from recserve.features.verify import verify


def renumber(op: Op, numbers: Mapping[int, int]) -> Op:
    """The op with every value number replaced."""
    changes: dict[str, Any] = {}
    for name in value_names(type(op)):
        old = getattr(op, name)
        if isinstance(old, tuple):
            changes[name] = tuple(numbers[i] for i in old)
        elif old is not None:
            changes[name] = numbers[old]
    if all(getattr(op, name) == new for name, new in changes.items()):
        return op
    return dataclasses.replace(op, **changes)


def _rebuild(graph: PlanGraph, kept_ops: list[Op], kept_values: list[Value], numbers: Mapping[int, int]) -> PlanGraph:
    values = [
        value if value.domain is None else dataclasses.replace(value, domain=numbers[value.domain])
        for value in kept_values
    ]
    outputs = tuple(
        GraphOutput(o.spec, numbers[o.value], None if o.steps is None else numbers[o.steps]) for o in graph.outputs
    )
    return PlanGraph(tuple(kept_ops), tuple(values), outputs)


def forward_copies(graph: PlanGraph) -> PlanGraph:
    """Drop ops that change nothing: FillIds and FillTokens after another with defaults, FirstElements of no more."""
    numbers: dict[int, int] = {}
    kept_ops: list[Op] = []
    kept_values: list[Value] = []
    for i, old in enumerate(graph.ops):
        op = renumber(old, numbers)
        source = _copied(op, kept_ops)
        if source is not None:
            numbers[i] = source
            continue
        numbers[i] = len(kept_ops)
        kept_ops.append(op)
        kept_values.append(graph.values[i])
    return _rebuild(graph, kept_ops, kept_values, numbers)


def _copied(op: Op, before: list[Op]) -> int | None:
    """The value that `op` only repeats, or None."""
    match op:
        case ops.FirstElements(source, count):
            earlier = before[source]
            if isinstance(earlier, ops.FirstElements) and earlier.count <= count:
                return source
        case ops.FillTokens(source, defaults) if not defaults:
            return source
        case ops.FillNumbers(source, defaults_) if not defaults_:
            return source
    return None


def share(graph: PlanGraph) -> PlanGraph:
    """Keep one of equal ops that read the same values: features that read one column share its parse, and so on."""
    numbers: dict[int, int] = {}
    known: dict[Op, int] = {}
    kept_ops: list[Op] = []
    kept_values: list[Value] = []
    for i, old in enumerate(graph.ops):
        op = renumber(old, numbers)
        if op not in known:
            known[op] = len(kept_ops)
            kept_ops.append(op)
            kept_values.append(graph.values[i])
        numbers[i] = known[op]
    return _rebuild(graph, kept_ops, kept_values, numbers)


def drop_unused(graph: PlanGraph) -> PlanGraph:
    """Drop ops that no output depends on."""
    used = {o.value for o in graph.outputs} | {o.steps for o in graph.outputs if o.steps is not None}
    for i in range(len(graph.ops) - 1, -1, -1):
        if i in used:
            used.update(graph.ops[i].inputs)
            domain = graph.values[i].domain
            used.update(() if domain is None else (domain,))
    order = sorted(used)
    numbers = {old: new for new, old in enumerate(order)}
    kept_ops = [renumber(graph.ops[i], numbers) for i in order]
    return _rebuild(graph, kept_ops, [graph.values[i] for i in order], numbers)


PASSES: Final[tuple[Callable[[PlanGraph], PlanGraph], ...]] = (share, forward_copies, share, drop_unused)


def optimize(graph: PlanGraph) -> PlanGraph:
    """Run all passes.

    Raises:
        InvariantError: the graph, or what a pass made of it, breaks a rule.
    """
    verify(graph)
    for rewrite in PASSES:
        graph = rewrite(graph)
        verify(graph)
    return graph
