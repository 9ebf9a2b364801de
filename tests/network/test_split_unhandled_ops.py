"""Ops without a rule serve at candidate rate; ops that nobody defines are refused with node and domain."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from recserve.errors import ConfigError
from recserve.network.model import Network
from recserve.network.split import split_network
from recserve.rates import Rate

USER, ITEM = Rate.REQUEST, Rate.ITEM


def joined(g: Any, width: int = 10) -> str:
    value: str = g.op("Concat", g.input("user", USER, 4), g.input("item", ITEM, width - 4), axis=1)
    return value


def determinant(g: Any) -> None:
    g.output(g.op("Det", g.op("Reshape", joined(g, 9), g.ints(-1, 3, 3))), dims=())


def scattered(g: Any) -> None:
    x = joined(g)
    update = g.op("Mul", g.op("Slice", x, g.ints(0), g.ints(1), g.ints(1)), g.constant(2, np.float32))
    where = g.op("Cast", g.op("Mul", update, g.constant(0, np.float32)), to=TensorProto.INT64)
    g.output(g.op("ScatterElements", x, where, update, axis=1), dims=(10,))


def non_zero(g: Any) -> None:
    """Rows that depend on one another: a count over all candidates."""
    positive = g.op("NonZero", g.op("Relu", joined(g)))
    count = g.op("Cast", g.op("Shape", positive, start=1, end=2), to=TensorProto.FLOAT)
    g.output(g.op("Add", g.linear("user", 4, 1), g.op("Mul", count, g.constant(0.01, np.float32))))


@pytest.mark.parametrize("write", [determinant, scattered, non_zero])
def test_an_op_without_a_rule_runs_per_candidate_and_scores_as_the_flat_graph(
    write: Any, sketch: Any, prove: Any, ops_of: Any
) -> None:
    g = sketch()
    write(g)
    network = g.network()
    done = prove(network, g.rates, rows=9)
    unhandled = {"determinant": "Det", "scattered": "ScatterElements", "non_zero": "NonZero"}[write.__name__]
    assert unhandled in ops_of(done.candidate.model)


@pytest.mark.parametrize("op", ["Gelu", "FastGelu", "QuickGelu"])
def test_an_op_of_the_engine_serves_per_candidate(op: str, sketch: Any, prove: Any, ops_of: Any) -> None:
    g = sketch()
    hidden = g.op("Relu", g.linear(joined(g), 10, 3))
    g.output(g.linear(g.op(op, hidden), 3, 1))
    model = helper.make_model(
        helper.make_graph(g.nodes, "sketch", g.inputs, g.outputs, g.weights),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
    )
    for node in model.graph.node:
        if node.op_type == op:
            node.domain = "com.microsoft"
    network = Network.from_bytes(model.SerializeToString(), "sketch")
    done = prove(network, g.rates)
    assert op in ops_of(done.candidate.model)
    assert done.item is not None  # the layer in front of it is split as ever
    assert done.request is not None


def test_a_function_inside_the_model_is_inlined_and_split(sketch: Any, prove: Any) -> None:
    g = sketch()
    g.output(g.op("Squash", g.linear(joined(g), 10, 1)))
    model = onnx.load_model_from_string(_unchecked(g, "mine"))
    body = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["s", "s"], ["y"])]
    model.functions.append(helper.make_function("mine", "Squash", ["x"], ["y"], body, [helper.make_opsetid("", 18)]))
    done = prove(Network.from_bytes(model.SerializeToString(), "sketch"), g.rates)
    assert done.report.flops[Rate.CANDIDATE] < 0.3 * done.report.flat_flops


def _unchecked(g: Any, domain: str) -> bytes:
    graph = helper.make_graph(g.nodes, "sketch", g.inputs, g.outputs, g.weights)
    for node in graph.node:
        if node.op_type == "Squash":
            node.domain, node.name = domain, "squash_1"
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return data


def test_an_op_of_an_unknown_domain_is_refused_with_its_node(sketch: Any) -> None:
    g = sketch()
    g.output(g.op("Squash", g.linear(joined(g), 10, 1)))
    network = Network.from_bytes(_unchecked(g, "my.ops"), "model.onnx")
    with pytest.raises(ConfigError, match=r"node 'squash_1' is the op 'Squash' of the domain 'my\.ops'") as caught:
        split_network(network, g.rates)
    assert caught.value.code == "unsupported_element"
