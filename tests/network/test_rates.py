"""Rates are the rarest correct ones, and conservative where an op mixes rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.network.rates import infer_rates
from recserve.rates import Rate

USER, ITEM, CAND = Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE

ROW_WISE: dict[str, Callable[[Any], str]] = {
    "a vector of weights is broadcast": lambda g: g.op("Add", "item", g.weight(4)),
    "softmax along features": lambda g: g.op("Softmax", "item", axis=-1),
    "a sum along a negative axis": lambda g: g.op("ReduceSum", "item", g.ints(-1), keepdims=1),
    "a transposed right matrix": lambda g: g.op("Gemm", "item", g.weight(3, 4), transB=1),
    "a product with a vector": lambda g: g.op("MatMul", "item", g.weight(4)),
    "products of each row's matrices": lambda g: g.op("MatMul", "tags", g.op("Transpose", "tags", perm=[0, 2, 1])),
    "rows leave axis 0 and come back": lambda g: g.op(
        "Transpose", g.op("Softmax", g.op("Transpose", "tags", perm=[1, 2, 0]), axis=1), perm=[2, 0, 1]
    ),
    "axes merge and part again": lambda g: g.op(
        "Reshape", g.op("MatMul", g.op("Reshape", "tags", g.ints(-1, 4)), g.weight(4, 2)), g.ints(-1, 3, 2)
    ),
    "a zero in the shape keeps axis 0": lambda g: g.op("Reshape", "tags", g.ints(0, 12)),
    "rows of a weight table": lambda g: g.op("Gather", g.weight(9, 4), g.op("Cast", "item", to=7)),
    "einsum with the row label in front": lambda g: g.op("Einsum", "tags", "tags", equation="bij,bkj->bik"),
    "a constant in the shape of a row": lambda g: g.op(
        "Add", "item", g.op("ConstantOfShape", g.op("Shape", "item"))
    ),
    "a squeeze without axes": lambda g: g.op("ReduceMax", g.op("Unsqueeze", "item", g.ints(1)), g.ints(2)),
    "a slice that takes all rows": lambda g: g.op("Slice", "item", g.ints(0, 1), g.ints(2**62, 3), g.ints(0, 1)),
    "a cumulative sum along features": lambda g: g.op("CumSum", "item", g.constant(1, np.int64)),
    "the largest of a row": lambda g: g.op("TopK", "item", g.ints(2), axis=1, outputs=2)[0],
}  # fmt: skip

MIXES_ROWS: dict[str, Callable[[Any], str]] = {
    "softmax along axis 0": lambda g: g.op("Softmax", "item", axis=0),
    "softmax along a negative axis that is axis 0": lambda g: g.op("Softmax", "item", axis=-2),
    "a sum over axis 0": lambda g: g.op("Sub", "item", g.op("ReduceSum", "item", g.ints(0), keepdims=1)),
    "a sum over all axes": lambda g: g.op("Sub", "item", g.op("ReduceMean", "item")),
    "a transposed left matrix": lambda g: g.op("Gemm", "item", "item", transA=1),
    "a product over rows": lambda g: g.op("MatMul", "item", g.op("Transpose", "item")),
    "one row for all": lambda g: g.op("Add", "item", g.op("Slice", "item", g.ints(0), g.ints(1), g.ints(0))),
    "a picked row": lambda g: g.op("Add", "item", g.op("Gather", "item", g.constant(0, np.int64), axis=0)),
    "rows on two axes": lambda g: g.op("Add", "item", g.op("ReduceSum", "item", g.ints(1), keepdims=0)),
    "a reshape across rows": lambda g: g.op("Reshape", "tags", g.ints(4, -1)),
    "a cumulative sum over rows": lambda g: g.op("CumSum", "item", g.constant(0, np.int64)),
    "the number of rows as a value": lambda g: g.op(
        "Mul", "item", g.op("Cast", g.op("Shape", "item", start=0, end=1), to=1)
    ),
    "the number of each row": lambda g: g.op(
        "Range", *(g.op("Squeeze", x) for x in (g.ints(0), g.op("Shape", "item", start=0, end=1), g.ints(1)))
    ),
    "an op without a rule": lambda g: g.op("Einsum", "item", equation="...d->...d"),
    "concatenated rows": lambda g: g.op("Concat", "item", "item", axis=0),
    "einsum that sums over rows": lambda g: g.op("Einsum", "item", "item", equation="bi,bj->ij"),
    "a random value": lambda g: g.op("RandomNormalLike", "item"),
}  # fmt: skip


def rates_of(g: Any, value: str) -> Rate:
    g.output(value)
    return infer_rates(g.network(), g.rates)[value]


@pytest.fixture
def drawn(sketch: Any) -> Any:
    g = sketch()
    g.input("user", USER, 4)
    g.input("item", ITEM, 4)
    g.input("tags", ITEM, 3, 4)
    return g


@pytest.mark.parametrize("case", ROW_WISE)
def test_row_wise_ops_keep_the_rate_of_their_input(case: str, drawn: Any) -> None:
    assert rates_of(drawn, ROW_WISE[case](drawn)) is ITEM


@pytest.mark.parametrize("case", MIXES_ROWS)
def test_what_mixes_rows_has_candidate_rate(case: str, drawn: Any) -> None:
    assert rates_of(drawn, MIXES_ROWS[case](drawn)) is CAND


def test_two_sides_meet_at_candidate_rate(drawn: Any) -> None:
    assert rates_of(drawn, drawn.op("Add", "user", "item")) is CAND


def test_weights_and_what_is_made_of_them_are_constant(drawn: Any) -> None:
    weight = drawn.weight(4)
    value = drawn.op("Tanh", weight)
    drawn.output(drawn.op("Add", "user", value))
    rates = infer_rates(drawn.network(), drawn.rates)
    assert (rates[weight], rates[value], rates["user"], rates["ctr"]) == (Rate.CONSTANT, Rate.CONSTANT, USER, USER)


def test_a_range_over_the_steps_of_the_user_has_request_rate(sketch: Any) -> None:
    g = sketch()
    steps = g.op("Squeeze", g.op("Shape", g.input("hist", USER, "L", 4), start=1, end=2))
    assert rates_of(g, g.op("Range", g.constant(0, np.int64), steps, g.constant(1, np.int64))) is USER


def test_a_constant_input_counts_as_request(drawn: Any) -> None:
    drawn.output("user")
    rates = infer_rates(drawn.network(), drawn.rates | {"user": Rate.CONSTANT, "unread": ITEM})
    assert rates["user"] is USER


def test_an_input_without_a_rate_is_refused_with_the_nearest_feature(drawn: Any) -> None:
    drawn.output("user")
    with pytest.raises(ConfigError, match=r"input 'user' is no feature, so its rate is unknown\. Did you mean 'users'"):
        infer_rates(drawn.network(), {"users": USER, "item": ITEM, "tags": ITEM})
    with pytest.raises(ConfigError, match="Name the inputs of the network after features"):
        infer_rates(drawn.network(), {"item": ITEM, "tags": ITEM})
