from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from recserve.errors import InvariantError
from recserve.features import ops
from recserve.features.feature_set import FeatureSet
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.infer import infer
from recserve.features.ops import Op, Value
from recserve.features.verify import verify
from recserve.rates import Rate

SPLIT = ops.SplitSteps("s", "user", ";", None, True)
TOKENS = ops.ParseTokens("a", "item", (), None)


def values_of(*given: Op) -> list[Value]:
    values: list[Value] = []
    for number, op in enumerate(given):
        values.append(infer(op, number, given, values))
    return values


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([ops.HashIds(0)], r"HashIds reads values \(0,\), and only 0 are before it"),
        ([TOKENS, ops.Bucketize(0)], "Bucketize.source reads value 0, which is tokens"),
        ([ops.ParseTokens("a", "items", (), None)], "has the unknown side 'items'"),
        ([SPLIT, ops.ParseTokens("a", "user", (), 0)], "column 'a' reads steps of something else"),
        (
            [SPLIT, TOKENS, ops.Broadcast(1, 0), ops.JoinTokens((1, 2))],
            "JoinTokens reads values over different domains",
        ),
        ([SPLIT, TOKENS, ops.Broadcast(1, 0), ops.Broadcast(2, 0)], "Broadcast reads value 2, which is not over rows"),
        ([TOKENS, ops.FlattenSteps(0)], "FlattenSteps reads value 0, which is over rows"),
        ([SPLIT, TOKENS, ops.AlignSteps(1, 0)], "AlignSteps reads value 1, which is over rows"),
        ([ops.JoinTokens(())], "JoinTokens reads nothing"),
        ([SPLIT, TOKENS, ops.Broadcast(1, 0), ops.ElementSteps(2)], "ElementSteps reads values over steps"),
        ([Op()], "unknown op Op"),
    ],
)
def test_an_op_that_breaks_a_rule_is_named(given: list[Op], message: str) -> None:
    with pytest.raises(InvariantError, match=message):
        values_of(*given)


def test_values_are_known_before_anything_runs() -> None:
    pairs = [ops.PairKeys("m", "user", (), ":", None), ops.PairNumbers("m", "user", (), ":", 1.0, None)]
    weighted, dense = ops.AttachWeights(0, 1), ops.ToDense(1, (0.0, 1.0))
    found = values_of(*pairs, weighted, ops.HashIds(2, 5), dense, ops.Literal(("a",)), TOKENS, ops.JoinTokens((0, 6)))
    assert [value.rate for value in found[5:]] == [Rate.CONSTANT, Rate.ITEM, Rate.CANDIDATE]
    assert (found[3].is_weighted, found[4].dim, found[4].rate) == (True, 2, Rate.REQUEST)


GRAPH = FeatureSet.from_fg_json(
    {
        "features": [
            {"feature_type": "sequence_id_feature", "feature_name": "a", "expression": "user:s"},
            {"feature_type": "raw_feature", "feature_name": "b", "expression": "user:x"},
        ]
    }
).graph


def changed(**parts: Any) -> PlanGraph:
    return dataclasses.replace(GRAPH, **parts)


def output(number: int, **parts: Any) -> tuple[GraphOutput, ...]:
    outputs = list(GRAPH.outputs)
    outputs[number] = dataclasses.replace(outputs[number], **parts)
    return tuple(outputs)


def test_a_lowered_plan_keeps_the_rules() -> None:
    verify(GRAPH)


def test_what_is_recorded_of_values_must_be_true() -> None:
    lie = (dataclasses.replace(GRAPH.values[0], rate=Rate.ITEM), *GRAPH.values[1:])
    for broken, message in (
        (changed(values=lie), "value 0 of SplitSteps is recorded as"),
        (changed(values=GRAPH.values[1:]), f"{len(GRAPH.ops)} ops, but {len(GRAPH.ops) - 1} values"),
        (changed(outputs=output(0, value=99)), "output 'a' is value 99, which there is not"),
        (changed(outputs=output(0, value=0)), "output 'a' is a value of kind steps"),
        (changed(outputs=output(0, steps=None)), "output 'a' has the steps None, but its value is over 0"),
        (
            changed(outputs=output(1, spec=dataclasses.replace(GRAPH.outputs[1].spec, rate=Rate.ITEM))),
            "output 'b' is recorded with another rate",
        ),
    ):
        with pytest.raises(InvariantError, match=message):
            verify(broken)
