"""Ops that one instruction runs together.

*Pairs*: where nothing else reads what the first op makes, it is never written: a lookup of one number goes straight to
its dense value, a combination of texts straight to its hash.

*Groups*: lookups of many keys in many maps of the request share one pass over the maps (`kernels.lookup_groups`).

Each fused kernel gives what its ops would, one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recserve.features import ops
from recserve.features.codegen import Context, Fields, kernel_of
from recserve.features.graph import PlanGraph
from recserve.features.kernels import layout as at
from recserve.features.kernels import lookup_groups as layout
from recserve.features.op import Op
from recserve.rates import Rate

FUSED_KERNELS: Final = frozenset({"join_hash", "lookup_dense"})
LEAST_LOOKUPS: Final = 4
LEAST_MAPS: Final = 3
"""Smaller groups are left alone: turning the maps inside out costs more than it saves."""


@dataclass(frozen=True)
class LookupGroup:
    """Lookups that run together: {the op whose value is made: its LookupNumbers}, the same op where none is fused."""

    members: Mapping[int, int]


def fused_pairs(graph: PlanGraph, op_numbers: Sequence[int], exports: Sequence[int]) -> dict[int, int]:
    """{second op: first op} of the pairs among `op_numbers`; no output and no export is a first op."""
    outputs = {*exports, *(output.value for output in graph.outputs)}
    readers = Counter(value for op in graph.ops for value in op.inputs)
    made, found = set(op_numbers), {}
    for number in op_numbers:
        op = graph.ops[number]
        source = _first_of(op)
        if source is None or source not in made or source in outputs or readers[source] != 1:
            continue
        if _is_pair(graph.ops[source], op):
            found[number] = source
    return found


def fuse(first: Op, first_fields: Fields, second_fields: Fields) -> tuple[str, Fields]:
    """Kernel and fields of a fused pair, from the fields of its two ops."""
    if isinstance(first, ops.JoinTokens):
        return "join_hash", {**first_fields, at.P5: second_fields[at.P0], at.B: second_fields[at.P1]}
    return "lookup_dense", {**first_fields, at.P1: second_fields[at.P0]}


def _first_of(op: Op) -> int | None:
    return op.source if isinstance(op, ops.ToDense | ops.HashIds) else None


def _is_pair(first: Op, second: Op) -> bool:
    if isinstance(second, ops.HashIds):
        return isinstance(first, ops.JoinTokens)
    return isinstance(second, ops.ToDense) and len(second.default) == 1 and isinstance(first, ops.LookupNumbers)


def group_lookups(
    graph: PlanGraph, op_numbers: Sequence[int], fused: Mapping[int, int]
) -> tuple[list[int], LookupGroup | None, list[int]]:
    """The ops that run before a group of lookups, the group, and those after it; in an order that may run.

    Members look up keys of the candidate (or item) in maps of the request (or constant). No member reads another.
    """
    lookups = {n: source for n in op_numbers if (source := _lookup_of(graph, n, fused)) is not None}
    needed = _inputs_behind(graph, lookups.values(), set(op_numbers))
    seen: set[tuple[int, int, int]] = set()
    members: dict[int, int] = {}
    for number, source in lookups.items():
        op = graph.ops[source]
        assert isinstance(op, ops.LookupNumbers)
        probe = (op.map, op.values, op.keys)
        if number not in needed and source not in needed and probe not in seen:
            seen.add(probe)
            members[number] = source
    if len(members) < LEAST_LOOKUPS or len({(tables, values) for tables, values, _ in seen}) < LEAST_MAPS:
        return list(op_numbers), None, []
    inputs = _inputs_behind(graph, members.values(), set(op_numbers))
    taken = {*inputs, *members, *members.values()}
    before = [number for number in op_numbers if number in inputs]
    return before, LookupGroup(members), [number for number in op_numbers if number not in taken]


def _lookup_of(graph: PlanGraph, number: int, fused: Mapping[int, int]) -> int | None:
    """The LookupNumbers that op `number` ends, if it may join a group."""
    if number in fused.values():
        return None
    source = fused.get(number, number)
    op = graph.ops[source]
    if not isinstance(op, ops.LookupNumbers) or graph.values[number].domain is not None:
        return None
    if number == source and not op.combiner:
        return None
    rates = {graph.values[op.map].rate, graph.values[op.values].rate}
    return source if rates <= {Rate.CONSTANT, Rate.REQUEST} else None


def _inputs_behind(graph: PlanGraph, numbers: Iterable[int], within: set[int]) -> set[int]:
    """The ops of `within` that these ops read, directly or not."""
    found: set[int] = set()
    waiting = list(numbers)
    while waiting:
        for value in graph.ops[waiting.pop()].inputs:
            if value in within and value not in found:
                found.add(value)
                waiting.append(value)
    return found


def encode_group(graph: PlanGraph, group: LookupGroup, context: Context) -> Fields:
    """The instruction of a group of lookups."""
    pairs: dict[tuple[int, int], int] = {}
    keys: dict[int, int] = {}
    members = []
    for number, source in group.members.items():
        op = graph.ops[source]
        assert isinstance(op, ops.LookupNumbers)
        probe = kernel_of(op, context)[1]
        default = kernel_of(graph.ops[number], context)[1][at.P0] if number != source else 0
        pair = pairs.setdefault((probe[at.A], probe[at.B]), len(pairs))
        key = keys.setdefault(probe[at.C], len(keys))
        member = [0] * layout.MEMBER
        member[layout.PAIR], member[layout.KEYS], member[layout.TARGET] = pair, key, number
        member[layout.COMBINER], member[layout.DEFAULT], member[layout.NUMBER] = probe[at.P0], default, number
        members.append(member)
    members.sort(key=lambda member: member[layout.KEYS])
    integers = context.constants.integers
    return {
        at.P0: integers([field for member in members for field in member]),
        at.P1: len(members),
        at.P2: integers([slot for pair in pairs for slot in pair]),
        at.P3: len(pairs),
        at.P4: integers(list(keys)),
        at.P5: len(keys),
    }
