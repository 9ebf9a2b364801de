"""Ops that map elements, with NumPy broadcasting: rows stay where they are, aligned from the right."""

from __future__ import annotations

from typing import Final

from recserve.network.facts import Fact, Layout, Step, rule
from recserve.network.sizes import ONE, Dims, Size

UNARY: Final = frozenset(
    {
        "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Clip", "Cos",
        "Cosh", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf",
        "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid",
        "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
"""Ops of one data input; further inputs (limits of Clip, ratio of Dropout) are scalars."""

BROADCASTING: Final = frozenset(
    {
        "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual",
        "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
    }
)  # fmt: skip
"""Ops of several data inputs that broadcast against one another, so that a single row may meet N rows."""


def broadcast(facts: list[Fact], step: Step) -> Layout | None:
    """The layout of the broadcast of some inputs; None where a row axis would meet anything but rows or a 1."""
    rank = max(len(f.dims) for f in facts if f.dims is not None)
    rows = {f.row + rank - len(f.dims) for f in facts if f.row is not None and f.dims is not None}
    if len(rows) > 1:
        return None
    dims: list[Size] = []
    for axis in range(rank):
        sizes = {f.dims[axis - rank + len(f.dims)] for f in facts if f.dims is not None and axis >= rank - len(f.dims)}
        sizes.discard(ONE)
        if len(sizes) > 1:
            integers = {s for s in sizes if s.is_static}
            if axis in rows or len(integers) > 1:
                return None
            sizes = integers or {step.fresh(axis)}
        dims.append(sizes.pop() if sizes else ONE)
    return Layout(tuple(dims), rows.pop() if rows else None)


def broadcast_dims(shapes: list[Dims]) -> Dims | None:
    """The broadcast of some shapes where it can be told without a new name; else None."""
    rank = max(len(s) for s in shapes)
    dims: list[Size] = []
    for axis in range(rank):
        sizes = {s[axis - rank + len(s)] for s in shapes if axis >= rank - len(s)} - {ONE}
        if len(sizes) > 1:
            return None
        dims.append(sizes.pop() if sizes else ONE)
    return tuple(dims)


@rule(*UNARY)
def _unary(step: Step) -> list[Layout] | None:
    if any(f.row is not None or f.dims not in ((), (ONE,)) for f in step.known()[1:]):
        return None
    if step.op == "Dropout" and step.fact(2) is not None:
        return None
    return [Layout(step.dims(0), step.row(0))] * len(step.node.outputs)


@rule("CastLike")
def _cast_like(step: Step) -> list[Layout]:
    return [Layout(step.dims(0), step.row(0))]


@rule(*BROADCASTING)
def _broadcasting(step: Step) -> list[Layout] | None:
    layout = broadcast(step.known(), step)
    return None if layout is None else [layout]
