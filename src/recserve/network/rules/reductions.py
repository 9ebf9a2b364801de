"""Reductions: rows must not be reduced."""

from __future__ import annotations

from recserve.network.facts import Layout, Step, rule
from recserve.network.rules.axes import normal
from recserve.network.sizes import ONE


def reduced_axes(step: Step) -> frozenset[int] | None:
    """The non-negative axes that a Reduce op takes away; None where they are not known."""
    rank = len(step.dims(0))
    axes = step.ints_of("axes")
    if axes is None and step.fact(1) is not None:
        axes = step.static_content(1)
        if axes is None:
            return None
    if not axes:
        return frozenset() if step.int_of("noop_with_empty_axes", 0) else frozenset(range(rank))
    return frozenset(normal(a, rank) for a in axes)


def without_axes(step: Step, axes: frozenset[int], keep: bool) -> list[Layout] | None:
    """The layout after axes were reduced."""
    dims, row = step.dims(0), step.row(0)
    if row in axes:
        return None
    if keep:
        return [Layout(tuple(ONE if a in axes else d for a, d in enumerate(dims)), row)]
    rest = tuple(d for a, d in enumerate(dims) if a not in axes)
    return [Layout(rest, None if row is None else row - sum(a < row for a in axes))]


@rule(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def _reduce(step: Step) -> list[Layout] | None:
    axes = reduced_axes(step)
    return None if axes is None else without_axes(step, axes, bool(step.int_of("keepdims", 1)))


@rule("ArgMax", "ArgMin")
def _arg_extreme(step: Step) -> list[Layout] | None:
    axis = normal(step.int_of("axis", 0), len(step.dims(0)))
    return without_axes(step, frozenset({axis}), bool(step.int_of("keepdims", 1)))


@rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(step: Step) -> list[Layout] | None:
    dims = step.dims(0)
    if step.row(0) not in (0, None):
        return None
    return [Layout((*dims[:2], *[ONE] * (len(dims) - 2)), step.row(0))]
