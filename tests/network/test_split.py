"""The contract of a split network: crossings, errors, odd graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from recserve.errors import ConfigError
from recserve.network.model import Network, TensorSpec
from recserve.network.split import split_network
from recserve.rates import Rate

USER, ITEM, CAND = Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE


def test_every_input_of_the_candidate_part_has_a_crossing_rate(sketch: Any, prove: Any) -> None:
    g = sketch()
    parts = [g.input("user", USER, 4), g.input("item", ITEM, 4), g.input("position", CAND, 2)]
    g.output(g.linear(g.op("Relu", g.linear(g.op("Concat", *parts, axis=1), 10, 6)), 6, 1))
    done = prove(g.network(), g.rates)
    assert done.candidate.inputs.keys() == done.crossings.keys()
    assert done.crossings["position"] is CAND
    first = {
        rate: {spec.dims[0] for n, spec in done.candidate.inputs.items() if done.crossings[n] is rate}
        for rate in (ITEM, USER, CAND)
    }
    assert first == {ITEM: {"N"}, USER: {1}, CAND: {"N"}}
    assert done.item.inputs == {"item": TensorSpec("item", "float32", ("I", 4))}
    assert [spec.dims for spec in done.item.outputs.values()] == [("I", 6)]
    assert [spec.dims for spec in done.request.outputs.values()] == [(1, 6)]


@pytest.mark.parametrize("side", [USER, ITEM])
def test_an_output_of_one_side_has_a_row_per_candidate(side: Rate, sketch: Any, prove: Any) -> None:
    g = sketch()
    g.input("other", ITEM, 2)
    g.output(g.linear(g.input("x", side, 4), 4, 1))
    prove(g.network(), g.rates)


def test_an_output_that_is_an_input_has_a_row_per_candidate(sketch: Any, prove: Any) -> None:
    g = sketch()
    g.output(g.input("user", USER, 4), dims=(4,))
    g.output(g.input("item", ITEM, 4), "cvr", dims=(4,))
    done = prove(g.network(), g.rates)
    assert done.item is None
    assert done.request is None


def test_item_tensors_of_dynamic_length_are_pooled_before_they_cross(sketch: Any, prove: Any) -> None:
    g = sketch()
    pooled = g.op("ReduceSum", g.op("Relu", g.input("tags", ITEM, "T", 4)), g.ints(1), keepdims=0)
    g.output(g.op("Mul", pooled, g.input("user", USER, 4)), dims=(4,))
    assert prove(g.network(), g.rates).report.item_bytes == 16


def test_a_dynamic_item_sequence_that_meets_the_user_is_refused(sketch: Any) -> None:
    g = sketch()
    tall = g.op("Unsqueeze", g.input("user", USER, 4), g.ints(1))
    g.output(g.op("ReduceMax", g.op("Mul", g.input("tags", ITEM, "T", 4), tall), g.ints(1), keepdims=0), dims=(4,))
    with pytest.raises(ConfigError, match=r"sketch: the item value 'tags' has an axis of unknown size.*fixed size"):
        split_network(g.network(), g.rates)


def test_a_dynamic_item_sequence_is_unpooled_only_as_far_as_needed(sketch: Any) -> None:
    g = sketch()
    steps = g.op("Shape", g.input("tags", ITEM, "T", 4), start=1, end=2)
    count = g.op("Cast", steps, to=1)
    g.output(g.op("Mul", g.op("Unsqueeze", count, g.ints(0)), g.input("user", USER, 4)), dims=(4,))
    with pytest.raises(ConfigError, match="the item value 'tags'"):
        split_network(g.network(), g.rates)


def test_a_network_of_the_user_alone_is_refused(sketch: Any) -> None:
    g = sketch()
    g.output(g.linear(g.input("user", USER, 4), 4, 1))
    with pytest.raises(ConfigError, match="no output depends on an item or a candidate"):
        split_network(g.network(), g.rates)


def test_a_name_for_both_an_input_and_an_output_is_refused() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph([], "g", [value], [value])
    network = Network.from_bytes(helper.make_model(graph).SerializeToString(), "m")
    with pytest.raises(ConfigError, match="'x' is both an input and an output"):
        split_network(network, {"x": ITEM})


def test_branches_read_values_of_the_graph_around_them(sketch: Any, prove: Any) -> None:
    g = sketch()
    user, item = g.op("Tanh", g.input("user", USER, 4)), g.op("Tanh", g.input("item", ITEM, 4))
    first = g.op("Squeeze", g.op("Greater", g.op("ReduceSum", item, keepdims=0), g.constant(0.0, np.float32)))
    branches = {}
    for name, op in (("then_branch", "Add"), ("else_branch", "Sub")):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        branches[name] = helper.make_graph([helper.make_node(op, [item, user], [f"{name}_out"])], name, [], [out])
    g.output(g.op("If", first, **branches), dims=(4,))
    done = prove(g.network(), g.rates)
    assert sorted(done.crossings.values(), key=str) == [ITEM, USER]


def test_sizes_in_int32_are_followed_as_tensorflow_writes_them(sketch: Any, prove: Any) -> None:
    g = sketch()
    hist = g.input("hist", USER, "L", 4)
    shape = g.op("Cast", g.op("Shape", hist), to=TensorProto.INT32)
    ends = [g.op("Slice", shape, g.ints(i), g.ints(i + 1), g.ints(0)) for i in (0, 1)]
    target = g.op("Cast", g.op("Concat", *ends, g.constant([2], np.int32), axis=0), to=TensorProto.INT64)
    flat = g.op("MatMul", g.op("Reshape", hist, g.ints(-1, 4)), g.weight(4, 2))
    pooled = g.op("ReduceMax", g.op("Reshape", flat, target), g.ints(1), keepdims=0)
    g.output(g.op("Mul", pooled, g.input("item", ITEM, 2)), dims=(2,))
    assert prove(g.network(), g.rates).report.flops[CAND] == 2


def test_graphs_of_old_opsets_are_converted(sketch: Any, prove: Any) -> None:
    g = sketch(opset=11)
    tall = g.op("Unsqueeze", g.input("user", USER, 4), axes=[1])
    wide = g.op("Concat", tall, g.op("Unsqueeze", g.input("item", ITEM, 4), axes=[1]), axis=1)
    g.output(g.op("ReduceSum", wide, axes=[1], keepdims=0), dims=(4,))
    assert prove(g.network(), g.rates).report.flops[CAND] == 4


def test_weights_that_are_listed_as_inputs_are_weights(sketch: Any, prove: Any) -> None:
    g = sketch()
    g.output(g.linear(g.op("Concat", g.input("user", USER, 4), g.input("item", ITEM, 4), axis=1), 8, 1))
    proto = onnx.load_model_from_string(g.network().to_bytes())
    for weight in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    network = Network.from_bytes(proto.SerializeToString(), "old style")
    assert set(network.inputs) == {"user", "item"}
    prove(network, g.rates)


def test_functions_of_a_graph_are_inlined(sketch: Any, prove: Any) -> None:
    g = sketch()
    g.output(g.op("Half", g.op("Add", g.input("user", USER, 4), g.input("item", ITEM, 4)), domain="own"), dims=(4,))
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Add", ["y", "x"], ["z"])]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    half = helper.make_function("own", "Half", ["x"], ["z"], nodes, opsets[:1])
    graph = helper.make_graph(g.nodes, "g", g.inputs, g.outputs, g.weights)
    model = helper.make_model(graph, opset_imports=opsets, functions=[half], ir_version=9)
    done = prove(Network.from_bytes(model.SerializeToString(), "m"), g.rates)
    assert done.report.nodes[CAND] == 3


def test_the_report_says_what_was_split_and_why(sketch: Any, prove: Any) -> None:
    g = sketch()
    g.output(g.linear(g.op("Concat", g.input("user", USER, 4), g.input("item", ITEM, 4), axis=1), 8, 2), dims=(2,))
    report = prove(g.network(), g.rates).report
    assert report.flat_flops == 2 * 8 * 2
    assert report.flops == {CAND: 2, ITEM: 16, USER: 18}
    assert report.item_bytes == 8
    change = next(c for c in report.changes if c.rewrite == "split_affine")
    assert change.what == "a product per rate of user (request), item (item)"


def test_a_value_that_is_flattened_twice_keeps_both_shapes(sketch: Any, prove: Any) -> None:
    g = sketch()
    tags = g.op("Relu", g.input("tags", ITEM, 3, 4))
    _, right = g.op("Split", g.op("Flatten", tags), outputs=2, axis=1, num_outputs=2)
    g.output(g.op("Relu", g.op("Flatten", tags)), dims=(12,))
    g.output(right, "cvr", dims=(6,))
    prove(g.network(), g.rates)
