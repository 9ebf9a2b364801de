"""Inputs that a graph takes once, beside others of N rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.errors import ConfigError
from recserve.network.evaluate import run_split
from recserve.network.model import Network
from recserve.network.session import Session
from recserve.network.single_rows import spread_single_rows
from recserve.network.split import split_network
from recserve.rates import Rate

RATES = {"user": Rate.REQUEST, "item": Rate.ITEM}


def gated(user_rows: int | str = 1, opset: int = 18) -> onnx.ModelProto:
    """sigmoid(Σ item ∘ relu(user @ W)), with a user of one row repeated for the items."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["user", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["u"]),
        helper.make_node("Shape", ["item"], ["shape"]),
        helper.make_node("Expand", ["u", "shape"], ["wide"]),
        helper.make_node("Mul", ["item", "wide"], ["product"]),
        helper.make_node("ReduceSum", ["product", "axes"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["ctr"]),
    ]
    weights = [
        numpy_helper.from_array(rng.normal(size=(6, 4)).astype(np.float32), "w"),
        numpy_helper.from_array(np.asarray([1], np.int64), "axes"),
    ]
    inputs = [
        helper.make_tensor_value_info("user", TensorProto.FLOAT, [user_rows, 6]),
        helper.make_tensor_value_info("item", TensorProto.FLOAT, ["items", 4]),
    ]
    outputs = [helper.make_tensor_value_info("ctr", TensorProto.FLOAT, ["items", 1])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def test_a_user_of_one_row_is_asked_for_with_the_rows_of_the_items() -> None:
    network = Network.from_bytes(gated().SerializeToString(), "m.onnx")
    assert network.once == {"user"}
    assert network.inputs["user"].dims == ("items", 6)


def test_scores_are_those_of_the_graph_as_it_was_given_and_the_user_runs_once(ops_of: Any) -> None:
    rng = np.random.default_rng(1)
    user, items = rng.normal(size=(1, 6)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    given = Session(gated().SerializeToString()).run({"user": user, "item": items})["ctr"]
    done = split_network(Network.from_bytes(gated().SerializeToString(), "m.onnx"), RATES)
    index = np.arange(5)
    got = run_split(done, {"item": items}, {"user": user}, {}, index)["ctr"]
    np.testing.assert_allclose(got, given, rtol=1e-5)
    assert done.request is not None
    assert ops_of(done.candidate.model).count("Relu") == 0


def test_an_item_of_one_row_is_refused() -> None:
    network = Network.from_bytes(gated().SerializeToString(), "m.onnx")
    rates = {"user": Rate.ITEM, "item": Rate.REQUEST}
    with pytest.raises(ConfigError, match=r"'user' has the fixed size 1 on axis 0.*each item.*dynamic axis 0"):
        split_network(network, rates)


def test_a_graph_whose_inputs_all_have_rows_stays_as_it_is() -> None:
    proto = gated("items")
    before = proto.SerializeToString()
    assert spread_single_rows(proto) == frozenset()
    assert proto.SerializeToString() == before


def test_names_that_are_taken_are_not_used_again() -> None:
    proto = gated()
    proto.graph.node[1].output[0] = "user.row"
    proto.graph.node[3].input[0] = "user.row"
    assert spread_single_rows(proto) == {"user"}
    onnx.checker.check_model(proto)


def test_a_graph_of_an_old_opset_is_left_to_be_refused() -> None:
    proto = gated()
    proto.opset_import[0].version = 9
    assert spread_single_rows(proto) == frozenset()


def test_subgraphs_read_the_row_too() -> None:
    proto = gated()
    branch = helper.make_graph(
        [helper.make_node("Relu", ["user"], ["copy"])],
        "b",
        [],
        [helper.make_tensor_value_info("copy", TensorProto.FLOAT, [1, 6])],
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(True), "yes"))
    choice = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    proto.graph.node[0].input[0] = "chosen"
    proto.graph.node.insert(0, choice)
    assert spread_single_rows(proto) == {"user"}
    inner = next(n for n in proto.graph.node if n.op_type == "If").attribute[0].g
    assert inner.node[0].input[0] == "user.row"
