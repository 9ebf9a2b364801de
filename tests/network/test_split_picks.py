"""One row read of many, and constant masks: what is not read or not seen leaves the candidate rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recserve.rates import Rate

USER, ITEM = Rate.REQUEST, Rate.ITEM
STEPS, WIDTH = 3, 4


def rows(g: Any) -> str:
    """[N, 4, 4] in which every row depends on user and item, so that no concatenation helps."""
    hist, item = g.input("hist", USER, STEPS, WIDTH), g.input("item", ITEM, 1, WIDTH)
    mixed = g.op("Add", g.op("Concat", hist, item, axis=1), item)
    value: str = g.op("Mul", mixed, g.op("ReduceMax", mixed, axes=[1], keepdims=1))
    return value


def split_heads(g: Any, x: str) -> str:
    halves = g.op("Split", x, g.ints(1, 3), outputs=2, axis=2)
    value: str = g.op("Concat", halves[1], halves[0], axis=-1)
    return value


def heads(g: Any, x: str) -> str:
    """Rows in axis 2 and back: [N, rows, 2, 2] → [N, 2, rows, 2] → [N, rows, 4]."""
    wide = g.op("Transpose", g.op("Reshape", x, g.ints(0, 0, 2, 2)), perm=[0, 2, 1, 3])
    value: str = g.op("Reshape", g.op("Transpose", g.op("Exp", wide), perm=[0, 2, 1, 3]), g.ints(0, 0, 4))
    return value


OPS: dict[str, Callable[[Any, str], str]] = {
    "unary": lambda g, x: g.op("Tanh", x),
    "binary": lambda g, x: g.op("Add", g.op("Mul", x, g.weight(STEPS + 1, 1)), g.weight(WIDTH)),
    "where": lambda g, x: g.op("Where", g.op("Greater", x, g.weight(WIDTH)), x, g.weight(1, STEPS + 1, 1)),
    "matmul": lambda g, x: g.op("MatMul", x, g.weight(WIDTH, WIDTH)),
    "attention": lambda g, x: g.op("MatMul", g.op("MatMul", x, g.op("Transpose", x, perm=[0, 2, 1])), x),
    "norm": lambda g, x: g.op("LayerNormalization", x, g.weight(WIDTH), axis=-1),
    "softmax": lambda g, x: g.op("Softmax", x, axis=-1),
    "softmax over the rows": lambda g, x: g.op("Softmax", x, axis=1),
    "split": split_heads,
    "heads": heads,
    "slice": lambda g, x: g.op("Concat", g.op("Slice", x, g.ints(1), g.ints(3), g.ints(2)), x, axis=2),
    "views": lambda g, x: g.op("Squeeze", g.op("Sin", g.op("Unsqueeze", x, g.ints(1))), g.ints(1)),
}


@pytest.mark.parametrize("position", [-1, 0, 2])
@pytest.mark.parametrize("name", OPS)
def test_a_row_is_read_before_the_ops_that_keep_rows(name: str, position: int, sketch: Any, prove: Any) -> None:
    g = sketch(opset=17)
    value = g.op("Relu", OPS[name](g, g.op("Cos", rows(g))))
    width = 6 if name == "slice" else WIDTH
    g.output(g.op("Gather", value, g.constant(position, np.int64), axis=1), dims=(width,))
    done = prove(g.network(), g.rates)
    assert "pick_early" in {change.rewrite for change in done.report.changes}


def layers(g: Any, hide: Callable[[Any, str], str], count: int, activation: str) -> Any:
    x = g.op("Concat", g.input("hist", USER, STEPS, WIDTH), g.input("item", ITEM, 1, WIDTH), axis=1)
    for _ in range(count):
        q, k, v = (g.op("MatMul", x, g.weight(WIDTH, WIDTH)) for _ in range(3))
        scores = hide(g, g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1])))
        seen = g.op("Softmax", scores, axis=-1) if activation == "Softmax" else scores
        x = g.op("LayerNormalization", g.op("Add", x, g.op("MatMul", seen, v)), g.weight(WIDTH), axis=-1)
    g.output(g.op("Gather", x, g.constant(-1, np.int64), axis=1), dims=(WIDTH,))
    return g


LATER = np.triu(np.ones((STEPS + 1, STEPS + 1)), 1).astype(bool)


def filled(g: Any, scores: str) -> str:
    value: str = g.op("Where", g.constant(LATER, bool), g.constant(-np.inf, np.float32), scores)
    return value


def added(g: Any, scores: str) -> str:
    value: str = g.op("Add", scores, g.constant(np.where(LATER, -np.inf, 0), np.float32))
    return value


def multiplied(g: Any, scores: str) -> str:
    value: str = g.op("Mul", g.op("Sigmoid", scores), g.constant(~LATER, np.float32))
    return value


@pytest.mark.parametrize(
    ("hide", "activation"),
    [(filled, "Softmax"), (added, "Softmax"), (multiplied, "Sigmoid")],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_causal_history_runs_once_per_request(
    hide: Any, activation: str, count: int, sketch: Any, prove: Any
) -> None:
    done = prove(layers(sketch(), hide, count, activation).network(), {"hist": USER, "item": ITEM})
    # Of four rows one is left; keys and values of the last layer's history, which are the wide part, leave too.
    assert done.report.flops[Rate.CANDIDATE] <= 0.45 * done.report.flat_flops


def test_a_history_that_sees_the_item_stays_at_candidate_rate(sketch: Any, prove: Any) -> None:
    done = prove(layers(sketch(), lambda _, scores: scores, 2, "Softmax").network(), {"hist": USER, "item": ITEM})
    assert done.report.flops[Rate.CANDIDATE] > 0.45 * done.report.flat_flops
