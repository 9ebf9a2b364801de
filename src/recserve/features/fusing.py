"""Pairs of ops that one instruction runs where nothing else reads what the first one makes.

A lookup of one number goes straight to its dense value; a combination of texts goes straight to its hash. The value
between them is never written. Each fused kernel does what its two ops would, one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from recserve.features import ops
from recserve.features.codegen import Fields
from recserve.features.graph import PlanGraph
from recserve.features.kernels import layout as at
from recserve.features.op import Op

FUSED_KERNELS: Final = frozenset({"join_hash", "lookup_dense"})


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
