"""Nodes that no rule handles are told by name and op, with their share and what a user can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from recserve.network.model import Network
from recserve.network.split import SplitNetwork, split_network
from recserve.network.unhandled import REASONS, Unhandled
from recserve.rates import Rate

USER, ITEM, CAND = Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE


def split_of(g: Any) -> SplitNetwork:
    graph = helper.make_graph(g.nodes, "sketch", g.inputs, g.outputs, g.weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return split_network(Network.from_bytes(model.SerializeToString(), "sketch"), g.rates)


def fused(g: Any, user: str) -> tuple[str, int]:
    return g.op("FusedMatMul", user, g.weight(9, 9), domain="com.microsoft"), 2 * 9 * 9


def no_rule(g: Any, user: str) -> tuple[str, int]:
    return g.op("Reshape", g.op("Det", g.op("Reshape", user, g.ints(-1, 3, 3))), g.ints(-1, 1)), 9 * 3 * 2 // 3


def mixed(g: Any, user: str) -> tuple[str, int]:
    return g.op("Softmax", user, axis=0), 9


def looped(g: Any, user: str) -> tuple[str, int]:
    """Three products with one matrix."""
    scalar = [helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("go", TensorProto.BOOL))]
    state = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("state", "next")]
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    nodes = [
        helper.make_node("MatMul", ["state", g.weight(9, 9)], ["next"]),
        helper.make_node("Identity", ["go"], ["on"]),
    ]
    body = helper.make_graph(nodes, "body", [*scalar, state[0]], [on, state[1]])
    turns, always = g.constant(3, np.int64), g.constant(True, np.bool_)
    return g.op("Loop", turns, always, user, body=body), 3 * 2 * 9 * 9


CASES: dict[str, tuple[Callable[[Any, str], tuple[str, int]], str]] = {
    "FusedMatMul": (fused, "fused"),
    "Det": (no_rule, "no_rule"),
    "Softmax": (mixed, "mixed"),
    "Loop": (looped, "subgraph"),
}


@pytest.mark.parametrize("op", CASES)
@pytest.mark.parametrize("rate", [USER, ITEM, CAND])
def test_a_node_that_stays_whole_is_told_with_its_operations_and_what_waits_for_it(
    op: str, rate: Rate, sketch: Any
) -> None:
    write, reason = CASES[op]
    g = sketch()
    value, flops = write(g, g.op("Tanh", g.input("x", rate, 9)))
    width = 1 if op == "Det" else 9
    g.output(g.linear(g.op("Concat", value, g.input("item", ITEM, 4), axis=1), width + 4, 1))
    report = split_of(g).report
    (found,) = report.unhandled
    assert (found.op, found.reason, found.reads, found.flops) == (op, reason, rate, flops)
    assert found.domain == ("com.microsoft" if reason == "fused" else "")
    assert found.behind >= 2
    assert found.behind_flops >= 2 * (width + 4)
    assert report.flops[CAND] >= flops + found.behind_flops
    assert report.flat_flops >= flops + found.behind_flops
    assert found.share(report.flops[CAND]) == pytest.approx(flops / report.flops[CAND])


def test_a_network_whose_ops_all_have_rules_has_none(sketch: Any) -> None:
    g = sketch()
    both = g.op("Concat", g.input("user", USER, 4), g.input("item", ITEM, 4), axis=1)
    g.output(g.op("Sigmoid", g.linear(both, 8, 1)))
    assert split_of(g).report.unhandled == ()


def test_operations_that_no_shape_tells_are_unknown_and_lead(sketch: Any) -> None:
    g = sketch()
    x = g.op("Concat", g.input("user", USER, 4), g.input("item", ITEM, 4), axis=1)
    strange = g.op("NhwcMaxPool", g.op("QuickGelu", x, domain="com.microsoft"), domain="com.microsoft")
    g.output(g.op("QuickGelu", strange, domain="com.microsoft"))
    found = split_of(g).report.unhandled
    assert [(u.op, u.flops) for u in found] == [("NhwcMaxPool", None), ("QuickGelu", None), ("QuickGelu", 8)]
    assert [u.share(80) for u in found] == [None, None, 0.1]
    assert [u.behind for u in found] == [0, 0, 0]


def test_an_input_whose_axes_are_named_alike_is_told(sketch: Any, prove: Any) -> None:
    g = sketch()
    square = g.input("square", CAND, "N")
    g.output(g.op("Add", g.op("ReduceMean", square, g.ints(1)), g.linear(g.input("item", ITEM, 4), 4, 1)))
    (found,) = prove(g.network(), g.rates, rows=4).report.unhandled
    assert (found.name, found.op, found.reason, found.flops) == ("square", "Input", "input", 0)
    assert found.behind >= 2
    assert found.why() == (
        "'square' (Input) stays whole at candidate rate: two of its axes have the symbol of the candidates."
    )
    assert found.advice() == "Give each axis of the input a symbol of its own, or a fixed size."


def one(reason: str, reads: Rate, domain: str = "") -> Unhandled:
    return Unhandled("v5", "Odd", domain, reason, reads, 10, 2, 30)


@pytest.mark.parametrize(
    ("reason", "why", "advice"),
    [
        ("fused", "it is an op of ONNX Runtime's own", "Save the network before an optimiser fuses its ops"),
        ("subgraph", "it runs a graph of its own", "Export it unrolled, or with GRU, LSTM, RNN or plain ops"),
        ("no_rule", "no rule handles the op", "Write it with products, elementwise ops, reductions and slices"),
        ("mixed", "the rule of the op cannot tell candidates apart on these inputs", "no ellipsis in an Einsum"),
        ("input", "two of its axes have the symbol of the candidates", "a symbol of its own, or a fixed size"),
    ],
)
def test_a_message_says_what_stays_why_and_what_helps(reason: str, why: str, advice: str) -> None:
    assert one(reason, CAND).why() == f"'v5' (Odd) stays whole at candidate rate: {why}."
    assert advice in one(reason, CAND).advice()
    assert set(REASONS) == {"fused", "subgraph", "no_rule", "mixed", "input"}


def test_an_op_is_told_with_a_domain_that_is_not_that_of_onnx() -> None:
    assert one("fused", CAND, "com.microsoft").why().startswith("'v5' (com.microsoft.Odd) stays whole")


@pytest.mark.parametrize(("rate", "owner"), [(USER, "the request"), (ITEM, "the item"), (CAND, None)])
def test_what_depends_on_one_side_may_be_computed_outside(rate: Rate, owner: str | None) -> None:
    outside = f"It depends on {owner} alone: or compute it outside, as a feature."
    assert one("no_rule", rate).advice().endswith(outside) is (owner is not None)


def test_it_survives_json() -> None:
    found = one("fused", ITEM, "com.microsoft")
    assert Unhandled.from_dict(found.as_dict()) == found
    with pytest.raises(ValueError, match="'odd' is no reason to stay whole"):
        Unhandled.from_dict({**found.as_dict(), "reason": "odd"})
    with pytest.raises(ValueError, match="'odd' is not a valid Rate"):
        Unhandled.from_dict({**found.as_dict(), "reads": "odd"})
