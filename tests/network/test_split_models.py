"""Hand-made graphs of known model families leave only what is pairwise to the candidate rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from recserve.network.evaluate import run_split
from recserve.network.split import SplitNetwork, split_network
from recserve.rates import Rate

USER, ITEM, CAND = Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE


def weights_of(model: bytes) -> list[tuple[int, ...]]:
    """The shapes of the weight matrices that products multiply with."""
    graph = onnx.load_model_from_string(model).graph
    shapes = {w.name: tuple(w.dims) for w in graph.initializer}
    return [shapes[node.input[1]] for node in graph.node if node.op_type == "MatMul" and node.input[1] in shapes]


def wide_and_deep(g: Any) -> Any:
    user, item, price = g.input("user", USER, 8), g.input("item", ITEM, 8), g.input("price", ITEM, 1)
    position = g.input("position", CAND, 2)
    both = g.op("Concat", user, item, price, position, axis=1)
    hidden = g.op("Relu", g.linear(both, 19, 16))
    deep = g.linear(g.op("Relu", g.linear(hidden, 16, 8)), 8, 1)
    wide = g.linear(g.op("Concat", price, user, axis=-1), 9, 1)
    g.output(g.op("Sigmoid", g.op("Add", deep, wide)))
    return g


def two_tower(g: Any) -> Any:
    user, item = g.input("user", USER, 8), g.input("item", ITEM, 6)
    towers = []
    for x, width in ((user, 8), (item, 6)):
        y = g.linear(g.op("Relu", g.linear(x, width, 16)), 16, 4)
        towers.append(g.op("Div", y, g.op("ReduceL2", y, g.ints(1), keepdims=1)))
    g.output(g.op("ReduceSum", g.op("Mul", *towers), g.ints(1), keepdims=0), dims=())
    return g


def deep_fm(g: Any) -> Any:
    fields = [g.input(f"u{i}", USER, 4) for i in range(3)] + [g.input(f"i{i}", ITEM, 4) for i in range(4)]
    fields = [fields[k] for k in (0, 3, 1, 4, 5, 2, 6)]
    stack = g.op("Concat", *[g.op("Unsqueeze", f, g.ints(1)) for f in fields], axis=1)
    square_of_sum = g.op("Pow", g.op("ReduceSum", stack, g.ints(1), keepdims=0), g.constant(2.0, np.float32))
    sum_of_squares = g.op("ReduceSum", g.op("Mul", stack, stack), g.ints(1), keepdims=0)
    pairs = g.op("ReduceSum", g.op("Sub", square_of_sum, sum_of_squares), g.ints(1), keepdims=1)
    half = g.op("Mul", pairs, g.constant(0.5, np.float32))
    flat = g.op("Reshape", stack, g.ints(-1, 28))
    deep = g.linear(g.op("Relu", g.linear(flat, 28, 16)), 16, 1)
    g.output(g.op("Sigmoid", g.op("Add", half, deep)))
    return g


def din(g: Any, opset_style: str = "expand") -> Any:
    user, item = g.input("user", USER, 4), g.input("item", ITEM, 8)
    hist = g.input("hist", USER, "L", 8)
    lengths = g.input("hist.lengths", USER, dtype=onnx.TensorProto.INT64)
    steps = g.op("Shape", hist, start=1, end=2)
    shape = g.op("Concat", g.ints(1), steps, g.ints(1), axis=0)
    q = g.op("Expand", g.op("Unsqueeze", item, g.ints(1)), shape)
    pairs = g.op("Concat", q, hist, g.op("Sub", q, hist), g.op("Mul", q, hist), axis=2)
    if opset_style == "merged":
        flat = g.op("Reshape", pairs, g.ints(-1, 32))
        hidden = g.op("Sigmoid", g.op("Add", g.op("MatMul", flat, g.weight(32, 16)), g.weight(16)))
        scores = g.op("Reshape", g.op("MatMul", hidden, g.weight(16, 1)), g.op("Shape", hist, start=0, end=2))
    else:
        hidden = g.op("Sigmoid", g.op("Add", g.op("MatMul", pairs, g.weight(32, 16)), g.weight(16)))
        scores = g.op("Squeeze", g.op("MatMul", hidden, g.weight(16, 1)), g.ints(2))
    places = g.op("Range", g.constant(0, np.int64), g.op("Squeeze", steps, g.ints(0)), g.constant(1, np.int64))
    mask = g.op("Less", g.op("Unsqueeze", places, g.ints(0)), g.op("Unsqueeze", lengths, g.ints(1)))
    scores = g.op("Where", mask, scores, g.constant(-1e9, np.float32))
    weights = g.op("Unsqueeze", g.op("Softmax", scores, axis=1), g.ints(2))
    interest = g.op("ReduceSum", g.op("Mul", weights, hist), g.ints(1), keepdims=0)
    top = g.op("Relu", g.linear(g.op("Concat", user, item, interest, axis=1), 20, 16))
    g.output(g.op("Sigmoid", g.linear(top, 16, 1)))
    return g


def mmoe(g: Any) -> Any:
    both = g.op("Concat", g.input("user", USER, 8), g.input("item", ITEM, 8), axis=1)
    experts = [g.op("Relu", g.linear(both, 16, 6)) for _ in range(3)]
    stack = g.op("Concat", *[g.op("Unsqueeze", e, g.ints(1)) for e in experts], axis=1)
    for goal in ("ctr", "cvr"):
        gate = g.op("Unsqueeze", g.op("Softmax", g.linear(both, 16, 3), axis=-1), g.ints(2))
        mixed = g.op("ReduceSum", g.op("Mul", stack, gate), g.ints(1), keepdims=0)
        g.output(g.op("Sigmoid", g.linear(mixed, 6, 1)), goal)
    return g


MODELS = {"wide_and_deep": wide_and_deep, "two_tower": two_tower, "deep_fm": deep_fm, "din": din, "mmoe": mmoe}


@pytest.fixture
def split(sketch: Any, prove: Any) -> Any:
    def build(name: str) -> SplitNetwork:
        g = MODELS[name](sketch())
        done: SplitNetwork = prove(g.network(), g.rates)
        return done

    return build


def test_the_candidate_part_of_wide_and_deep_multiplies_only_candidate_inputs_with_the_first_layer(split: Any) -> None:
    done = split("wide_and_deep")
    assert weights_of(done.candidate.model) == [(2, 16), (16, 8), (8, 1)]
    assert sorted(weights_of(done.item.model)) == [(1, 1), (9, 16)]
    assert "user" not in done.crossings


def test_the_candidate_part_of_two_towers_is_the_dot_product(split: Any, ops_of: Any) -> None:
    done = split("two_tower")
    assert set(ops_of(done.candidate.model)) <= {"MatMul", "Squeeze", "Unsqueeze", "Identity"}
    assert ops_of(done.candidate.model).count("MatMul") == 1
    assert weights_of(done.candidate.model) == []
    assert done.report.item_bytes == 16
    assert done.report.flops[Rate.CANDIDATE] == 8


def test_the_candidate_part_of_deep_fm_adds_sums_over_fields(split: Any, ops_of: Any) -> None:
    done = split("deep_fm")
    ops = ops_of(done.candidate.model)
    assert weights_of(done.candidate.model) == [(16, 1)]
    assert ops.count("ReduceSum") == 1
    assert "Concat" not in ops
    assert done.report.item_bytes == 4 * (4 + 4 + 16)


@pytest.mark.parametrize("style", ["expand", "merged"])
def test_the_candidate_part_of_din_multiplies_only_the_product_term(sketch: Any, prove: Any, style: str) -> None:
    g = din(sketch(), style)
    done = prove(g.network(), g.rates)
    assert weights_of(done.candidate.model)[0] == (8, 16)
    assert sorted(weights_of(done.candidate.model)) == [(8, 16), (8, 16), (16, 1), (16, 1)]
    assert (8, 16) in weights_of(done.item.model)
    assert (8, 16) in weights_of(done.request.model)


def test_padding_does_not_change_the_scores_of_din(sketch: Any, draw_feeds: Any) -> None:
    g = din(sketch())
    done = split_network(g.network(), g.rates)
    item, request, candidate, index = draw_feeds(g.network(), g.rates, steps=3)
    request["hist.lengths"][:] = 3
    longer = request | {"hist": np.pad(request["hist"], ((0, 0), (0, 5), (0, 0)))}
    short, long = (run_split(done, item, feeds, candidate, index) for feeds in (request, longer))
    np.testing.assert_allclose(long["ctr"], short["ctr"], rtol=1e-6)


def test_the_first_layers_and_gates_of_mmoe_leave_the_candidate_rate(split: Any) -> None:
    done = split("mmoe")
    assert weights_of(done.candidate.model) == [(6, 1), (6, 1)]
    assert len(weights_of(done.item.model)) == 5


@pytest.mark.parametrize("name", MODELS)
def test_a_score_does_not_depend_on_the_other_candidates(name: str, split: Any, sketch: Any, draw_feeds: Any) -> None:
    g = MODELS[name](sketch())
    item, request, candidate, index = draw_feeds(g.network(), g.rates, rows=9)
    done = split(name)
    together = run_split(done, item, request, candidate, index)
    for row in range(9):
        own = {k: v[row : row + 1] for k, v in candidate.items()}
        alone = run_split(done, item, request, own, index[row : row + 1])
        for goal, scores in alone.items():
            np.testing.assert_allclose(scores[0], together[goal][row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_candidate_part_does_less_work_than_the_flat_network(name: str, split: Any) -> None:
    report = split(name).report
    assert report.flops[Rate.CANDIDATE] < 0.6 * report.flat_flops
