"""Shapes for one row are those that a run of one row has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.network.row_shapes import infer_row_shapes
from recserve.network.session import Session
from recserve.rates import Rate

FUSED = "com.microsoft"


def model_of(g: Any, *outputs: str) -> Any:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(FUSED, 1)]
    graph = helper.make_graph(g.nodes, "g", g.inputs, values, g.weights)
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


CASES: dict[str, Callable[[Any], str]] = {
    "a fused activation": lambda g: g.op("FastGelu", "x", domain=FUSED),
    "a fused normalisation": lambda g: g.op("SkipLayerNormalization", "x", "x", g.weight(8), domain=FUSED),
    "a fused product": lambda g: g.op("FusedMatMul", "x", g.weight(6, 8), transB=1, domain=FUSED),
    "a fused product, turned": lambda g: g.op("FusedMatMul", "x", "x", transA=1, domain=FUSED),
    "a fused layer": lambda g: g.op("FusedGemm", "item", g.weight(6, 8), g.weight(6), transB=1, activation="Relu",
                                    domain=FUSED),
    "a fused convolution": lambda g: g.op("FusedConv", "x", g.weight(4, 50, 3), kernel_shape=[3], strides=[2],
                                          activation="Relu", domain=FUSED),
    "attention": lambda g: g.op("MultiHeadAttention", "x", "x", "x", num_heads=2, domain=FUSED),
    "attention and its projections": lambda g: g.op("Attention", "x", g.weight(8, 48), g.weight(48), num_heads=2,
                                                    domain=FUSED),
    "attention of uneven projections": lambda g: g.op("Attention", "x", g.weight(8, 28), g.weight(28), num_heads=2,
                                                      qkv_hidden_sizes=[8, 8, 12], domain=FUSED),
    "a plain product": lambda g: g.op("MatMul", "x", g.weight(8, 40)),
    "a large weight": lambda g: g.op("MatMul", "x", g.weight(8, 400)),
    "an op of ONNX without a rule": lambda g: g.op("ScatterElements", "x", g.constant(np.zeros((1, 1, 8)), np.int64),
                                                   g.weight(1, 1, 8), axis=1),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_shape_is_that_of_a_run(case: str, sketch: Any) -> None:
    g = sketch()
    g.input("x", Rate.REQUEST, "L", 8)
    g.input("item", Rate.ITEM, 8)
    name = CASES[case](g)
    after = g.op("Relu", name)
    model = model_of(g, after)
    shapes = infer_row_shapes(model)
    feeds = {"x": np.ones((1, 50, 8), np.float32), "item": np.ones((1, 8), np.float32)}
    (ran,) = Session(model.SerializeToString(), threads=1).run(feeds).values()
    assert shapes[name] == shapes[after] == ran.shape


def test_what_nobody_can_tell_is_left_out(sketch: Any) -> None:
    g = sketch()
    g.input("x", Rate.REQUEST, 8)
    name = g.op("NobodyKnows", "x", domain=FUSED)
    packed = g.op("MultiHeadAttention", "x", num_heads=1, domain=FUSED)
    made = g.op("Attention", "x", "x", num_heads=1, domain=FUSED)
    shapes = infer_row_shapes(model_of(g, name))
    assert shapes["x"] == (1, 8)
    assert not {name, packed, made} & shapes.keys()


def test_a_packed_product_has_the_width_of_its_attribute(sketch: Any) -> None:
    g = sketch()
    g.input("x", Rate.REQUEST, 16)
    name = g.op("MatMulNBits", "x", "packed", "scales", K=16, N=5, bits=4, block_size=16, domain=FUSED)
    tanh = g.op("GemmFastGelu", name, g.weight(5, 3), domain=FUSED)
    shapes = infer_row_shapes(model_of(g, tanh))
    assert (shapes[name], shapes[tanh]) == ((1, 5), (1, 3))


def test_each_axis_with_the_symbol_of_the_candidates_counts_one(sketch: Any) -> None:
    g = sketch()
    g.input("x", Rate.REQUEST, "N", "L")
    assert infer_row_shapes(model_of(g, g.op("Relu", "x")))["x"] == (1, 1, 50)


def test_a_size_that_another_part_tells_counts_as_one_known_at_run_time_only(sketch: Any) -> None:
    g = sketch()
    g.input("x", Rate.CANDIDATE, "L", 8)
    g.inputs.append(helper.make_tensor_value_info("size.L@request", TensorProto.INT64, [1, 1]))
    steps = g.op("Reshape", "size.L@request", g.ints(1))
    name = g.op("Reshape", "x", g.op("Concat", g.ints(-1), steps, g.ints(4, 2), axis=0))
    assert infer_row_shapes(model_of(g, name))[name] == (1, 50, 4, 2)


def test_values_of_bodies_have_shapes_too(sketch: Any) -> None:
    g = sketch()
    g.input("x", Rate.REQUEST, 5, 4)
    nodes = [helper.make_node("MatMul", ["in", g.weight(4, 3)], ["inside"]),
             helper.make_node("Relu", ["inside"], ["out"])]  # fmt: skip
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("in", "out")]
    body = helper.make_graph(nodes, "body", values[:1], values[1:])
    name = g.op("Scan", "x", body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1])
    model = model_of(g, name)
    before = model.SerializeToString()
    shapes = infer_row_shapes(model)
    assert (shapes["in"], shapes["inside"], shapes[name]) == ((1, 4), (1, 3), (1, 5, 3))
    assert model.SerializeToString() == before


@pytest.mark.parametrize("turns", [3, None])
def test_what_a_loop_carries_keeps_its_shape_and_what_it_emits_is_stacked(turns: int | None, sketch: Any) -> None:
    g = sketch()
    g.input("x", Rate.REQUEST, 4)
    whole = [helper.make_tensor_value_info("turn", TensorProto.INT64, [])]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("in", "out", "each")]
    nodes = [helper.make_node("MatMul", ["in", g.weight(4, 4)], ["out"]), helper.make_node("Relu", ["out"], ["each"]),
             helper.make_node("Identity", ["go"], ["on"])]  # fmt: skip
    body = helper.make_graph(nodes, "body", [*whole, flags[0], values[0]], [flags[1], *values[1:]])
    limit = g.op("Size", "x") if turns is None else g.constant(turns, np.int64)
    last, each = g.op("Loop", limit, g.constant(True, np.bool_), "x", body=body, outputs=2)
    shapes = infer_row_shapes(model_of(g, last, each))
    assert (shapes["in"], shapes["out"], shapes[last]) == ((1, 4), (1, 4), (1, 4))
    assert shapes[each] == (turns or 50, 1, 4)


def test_weights_of_bodies_have_shapes_too() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["c", "c"], ["y"])],
        "then",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((2, 3), np.float32), "c")],
    )
    node = helper.make_node("If", ["is"], ["z"], then_branch=body, else_branch=body)
    inputs = [helper.make_tensor_value_info("is", TensorProto.BOOL, [])]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph([node], "g", inputs, outputs), ir_version=9)
    assert infer_row_shapes(model)["c"] == (2, 3)
