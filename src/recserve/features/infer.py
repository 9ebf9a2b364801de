"""What is known of an op's value, from the op and the values that it reads; and the rules that ops must keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recserve.errors import InvariantError
from recserve.features import ops
from recserve.features.ops import Kind, Op, Value
from recserve.rates import SIDE_RATES, Rate, join

_ANY: Final = tuple(Kind)
_ONE_SOURCE: Final[dict[Kind, tuple[type[Op], ...]]] = {
    Kind.TOKENS: (
        *(ops.PrefixTokens, ops.SplitTokens, ops.FillTokens, ops.RegexReplace, ops.NormalizeText, ops.Tokenize),
        *(ops.TokensToNumbers, ops.HashIds, ops.VocabIds, ops.ParseInts, ops.SemanticIds, ops.VocabNumbers),
    ),
    Kind.NUMBERS: (
        *(ops.TruncateToIds, ops.Bucketize, ops.NumbersToTokens, ops.FillNumbers, ops.Normalize),
        *(ops.CombineNumbers, ops.ToDense),
    ),
    Kind.IDS: (ops.FillIds, ops.IdsToTokens, ops.IdsToNumbers),
    Kind.DENSE: (ops.DenseToNumbers,),
}
"""Ops that read one value, `source`, of one kind."""
_READS: Final[dict[type[Op], dict[str, tuple[Kind, ...]]]] = {
    ops.Broadcast: {"source": _ANY, "steps": (Kind.STEPS,)},
    ops.FlattenSteps: {"source": (Kind.TOKENS, Kind.NUMBERS, Kind.IDS)},
    ops.LongestSteps: {"sources": (Kind.STEPS,)},
    ops.AlignSteps: {"source": _ANY, "steps": (Kind.STEPS,)},
    ops.ElementSteps: {"source": (Kind.TOKENS, Kind.NUMBERS, Kind.IDS)},
    ops.SpreadElements: {"source": (Kind.TOKENS, Kind.NUMBERS, Kind.IDS), "steps": (Kind.STEPS,)},
    ops.JoinTokens: {"sources": (Kind.TOKENS,)},
    ops.ConcatTokens: {"sources": (Kind.TOKENS,)},
    ops.CrossIds: {"sources": (Kind.IDS,)},
    ops.MaskTokens: {"source": (Kind.TOKENS,), "mask": (Kind.TOKENS,)},
    ops.EditDistance: {"left": (Kind.TOKENS,), "right": (Kind.TOKENS,)},
    ops.Overlap: {"query": (Kind.TOKENS,), "title": (Kind.TOKENS,)},
    ops.AttachWeights: {"source": (Kind.TOKENS, Kind.IDS), "weights": (Kind.NUMBERS,)},
    ops.FirstElements: {"source": (Kind.TOKENS, Kind.NUMBERS, Kind.IDS)},
    ops.Evaluate: {"sources": (Kind.NUMBERS,)},
    ops.CallForNumbers: {"sources": (Kind.NUMBERS, Kind.TOKENS)},
    ops.CallForTokens: {"sources": (Kind.NUMBERS, Kind.TOKENS)},
    ops.CallCompiled: {"sources": (Kind.NUMBERS,)},
    ops.BuildMap: {"keys": (Kind.IDS,)},
    ops.LookupNumbers: {"map": (Kind.MAP,), "values": (Kind.NUMBERS,), "keys": (Kind.IDS,)},
    ops.LookupIds: {"map": (Kind.MAP,), "values": (Kind.IDS,), "keys": (Kind.IDS,)},
    ops.LookupTokens: {"map": (Kind.MAP,), "values": (Kind.TOKENS,), "keys": (Kind.IDS,)},
    ops.DotProduct: {
        "map": (Kind.MAP,),
        "values": (Kind.NUMBERS,),
        "keys": (Kind.IDS,),
        "factors": (Kind.NUMBERS,),
    },
    **{op: {"source": (kind,)} for kind, found in _ONE_SOURCE.items() for op in found},
}
"""Kinds that each field of an op may name. Ops that read columns are not here: they read none but steps."""

_KEEPS_WEIGHTS: Final = (
    *(ops.Broadcast, ops.FlattenSteps, ops.AlignSteps, ops.SpreadElements, ops.PrefixTokens),
    *(ops.FillTokens, ops.RegexReplace, ops.NormalizeText, ops.HashIds, ops.VocabIds, ops.ParseInts, ops.FillIds),
    *(ops.FirstElements, ops.SemanticIds),
)
_ROW_STEPS: Final = (ops.SplitSteps, ops.LongestSteps, ops.ElementSteps)
Reader = (
    ops.ParseTokens
    | ops.ParseNumbers
    | ops.PairKeys
    | ops.PairTokens
    | ops.PairNumbers
    | ops.NestedPairs
    | ops.SplitSteps
)


def infer(op: Op, number: int, before: Sequence[Op], values: Sequence[Value], feature: str = "") -> Value:
    """What is known of the value of `op`.

    Args:
        op: reads only values before `number`.
        number: of its own value.
        before: the ops; those from `number` on are not looked at.
        values: what is known of their values.
        feature: what the value is made for.

    Raises:
        InvariantError: the op breaks a rule: order, kinds, domains or alignment.
    """
    name = type(op).__name__
    if any(not 0 <= i < number for i in op.inputs):
        raise InvariantError(f"{name} reads values {op.inputs}, and only {number} are before it")
    if isinstance(op, Reader):
        return _infer_reader(op, before, values, feature)
    if isinstance(op, ops.Literal):
        return Value(Kind.TOKENS, Rate.CONSTANT, feature=feature)
    _check_kinds(op, values)
    inputs = [values[i] for i in op.inputs]
    first = inputs[0]
    return Value(
        getattr(op, "kind", first.kind),
        join(value.rate for value in inputs),
        _domain(op, values),
        is_weighted=isinstance(op, ops.AttachWeights) or (isinstance(op, _KEEPS_WEIGHTS) and first.is_weighted),
        dim=len(op.default) if isinstance(op, ops.ToDense) else first.dim if not hasattr(op, "kind") else 0,
        feature=feature,
    )


def _infer_reader(op: Reader, before: Sequence[Op], values: Sequence[Value], feature: str) -> Value:
    rate = SIDE_RATES.get(op.side)
    if rate is None:
        raise InvariantError(f"{type(op).__name__} of column {op.column!r} has the unknown side {op.side!r}")
    steps = None if isinstance(op, ops.SplitSteps) else op.steps
    if steps is not None:
        split = before[steps]
        if not isinstance(split, ops.SplitSteps) or (split.column, split.side) != (op.column, op.side):
            raise InvariantError(f"{type(op).__name__} of column {op.column!r} reads steps of something else: {split}")
        rate = values[steps].rate
    return Value(op.kind, rate, steps, feature=feature)


def _check_kinds(op: Op, values: Sequence[Value]) -> None:
    if type(op) not in _READS:
        raise InvariantError(f"unknown op {type(op).__name__}")
    for field, kinds in _READS[type(op)].items():
        named = getattr(op, field)
        for i in named if isinstance(named, tuple) else (named,):
            if values[i].kind not in kinds:
                raise InvariantError(f"{type(op).__name__}.{field} reads value {i}, which is {values[i].kind.value}")
    if not op.inputs:
        raise InvariantError(f"{type(op).__name__} reads nothing")


def _domain(op: Op, values: Sequence[Value]) -> int | None:
    """The domain of the op's value, after a check of its inputs'."""
    name = type(op).__name__
    match op:
        case ops.Broadcast(source, steps) | ops.SpreadElements(source, steps):
            if values[source].domain is not None:
                raise InvariantError(f"{name} reads value {source}, which is not over rows")
            return steps
        case ops.AlignSteps(source, steps):
            if values[source].domain is None:
                raise InvariantError(f"AlignSteps reads value {source}, which is over rows")
            return steps
        case ops.FlattenSteps(source):
            if values[source].domain is None:
                raise InvariantError(f"FlattenSteps reads value {source}, which is over rows")
            return None
    domains = {values[i].domain for i in op.inputs}
    if len(domains) > 1:
        raise InvariantError(f"{name} reads values over different domains: {op.inputs}")
    domain = domains.pop()
    if isinstance(op, _ROW_STEPS) and domain is not None:
        raise InvariantError(f"{name} reads values over steps")
    return domain
