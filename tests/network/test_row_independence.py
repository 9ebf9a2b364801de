"""Rows are called independent only where a slice of the candidates gets the same answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from recserve.network.blocks import make_feeds, step_axes
from recserve.network.row_independence import has_independent_rows
from recserve.network.session import Session
from recserve.network.split import Part, split_network
from recserve.rates import Rate


def pair(g: Any) -> tuple[str, str]:
    return g.input("user", Rate.REQUEST, 4), g.input("item", Rate.ITEM, 4)


def part_of(g: Any) -> Part:
    part = split_network(g.network(), g.rates).candidate
    if has_independent_rows(part):
        feeds = make_feeds(part, {"N": 5} | dict.fromkeys(step_axes(part), 3), np.random.default_rng(0))
        session = Session(part.model)
        cut = {n: a[1:3] if part.inputs[n].dims[0] == "N" else a for n, a in feeds.items()}
        for name, answer in session.run(feeds).items():
            np.testing.assert_allclose(session.run(cut)[name], answer[1:3], rtol=1e-5, atol=1e-6)
    return part


def test_layers_over_both_sides_are_independent(sketch: Any) -> None:
    g = sketch()
    hidden = g.op("Relu", g.linear(g.op("Concat", *pair(g), axis=1), 8, 5))
    g.output(g.linear(hidden, 5, 1))
    assert has_independent_rows(part_of(g))


def test_attention_over_the_steps_of_a_request_is_independent(sketch: Any) -> None:
    g = sketch()
    steps, item = g.input("clicks", Rate.REQUEST, "L", 4), g.input("item", Rate.ITEM, 4)
    scores = g.op("MatMul", steps, g.op("Unsqueeze", item, g.ints(2)))
    weights = g.op("Softmax", scores, axis=1)
    g.output(g.op("ReduceSum", g.op("Mul", weights, steps), g.ints(1), keepdims=0), dims=(4,))
    assert has_independent_rows(part_of(g))


def test_a_mean_over_candidates_is_not_independent(sketch: Any) -> None:
    g = sketch()
    both = g.op("Mul", *pair(g))
    g.output(g.op("Sub", both, g.op("ReduceMean", both, g.ints(0), keepdims=1)), dims=(4,))
    assert not has_independent_rows(part_of(g))


def test_an_op_without_a_rule_is_not_called_independent(sketch: Any) -> None:
    g = sketch()
    g.output(g.op("Einsum", g.op("Mul", *pair(g)), equation="...d->...d"), dims=(4,))
    assert not has_independent_rows(part_of(g))
