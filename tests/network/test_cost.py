"""Operations are counted for one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recserve.network.canonical import canonical
from recserve.network.cost import flops
from recserve.network.facts import learn
from recserve.rates import Rate

CASES: dict[str, tuple[Callable[[Any], str], int]] = {
    "a product of matrices": (lambda g: g.op("MatMul", "item", g.weight(4, 3)), 2 * 4 * 3),
    "a product of transposed matrices": (
        lambda g: g.op("Gemm", g.op("Transpose", "item"), g.weight(4, 3), transA=1),
        2 * 4 * 3,
    ),
    "a product for 50 assumed steps": (lambda g: g.op("MatMul", "hist", g.weight(4, 3)), 50 * 2 * 4 * 3),
    "an einsum": (lambda g: g.op("Einsum", "hist", "item", equation="nld,nd->nl"), 2 * 50 * 4),
    "a sum": (lambda g: g.op("ReduceSum", "item", g.ints(1)), 4),
    "a copy": (lambda g: g.op("Concat", "item", "item", axis=1), 0),
    "an op without a rule": (lambda g: g.op("Einsum", "item", equation="...d->...d"), 0),
    "a recurrent cell": (
        lambda g: g.op(
            "GRU", g.op("Transpose", "hist", perm=[1, 0, 2]), g.weight(1, 6, 4), g.weight(1, 6, 2), hidden_size=2
        ),
        2 * 50 * (6 * 4 + 6 * 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operations_are_counted(case: str, sketch: Any) -> None:
    build, expected = CASES[case]
    g = sketch()
    g.input("item", Rate.ITEM, 4)
    g.input("hist", Rate.REQUEST, "L", 4)
    name = build(g)
    g.output(name)
    model = canonical(g.network())
    facts = learn(model, g.rates)
    node = next(n for n in model.graph if n.outputs[0].name == name)
    assert flops(node, facts) == expected
