"""Operations of a node are those that a slow loop over all multiplications counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from recserve.network.operations import FREE_OPS, PRODUCTS, count_graph, count_operations

TURNS = 7
small = st.integers(1, 4)


def count(
    op: str, inputs: Sequence[tuple[int, ...] | None], out: tuple[int, ...] | None, domain: str = "", **attributes: Any
) -> int | None:
    names = [f"x{i}" if shape is not None else "" for i, shape in enumerate(inputs)]
    node = ir.serde.deserialize_node(helper.make_node(op, names, ["y"], domain=domain, **attributes))
    shapes = {**dict(zip(names, inputs, strict=True)), "y": out}
    return count_operations(node, lambda value: shapes.get(str(value.name)), TURNS)


def positions(*sizes: int) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, sizes))


def slow_matmul(batch: tuple[int, ...], m: int, k: int, n: int) -> int:
    return sum(2 for _ in positions(*batch, m, n, k))


@given(st.lists(small, max_size=2).map(tuple), small, small, small)
@settings(max_examples=40)
def test_a_product_counts_each_multiplication_and_each_addition(batch: tuple[int, ...], m: int, k: int, n: int) -> None:
    slow = slow_matmul(batch, m, k, n)
    left, right, out = (*batch, m, k), (*batch, k, n), (*batch, m, n)
    for op in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        assert count(op, [left, right], out) == slow
    turned = (*batch, k, m)
    assert count("FusedMatMul", [turned, right], out, "com.microsoft", transA=1) == slow
    assert count("MatMulNBits", [left, (n, 1, 8)], out, "com.microsoft", K=k, N=n, bits=4, block_size=16) == slow
    assert count("MatMul", [(k,), right], (*batch, n)) == slow_matmul(batch, 1, k, n)
    assert count("Gemm", [(m, k), (k, n)], (m, n)) == slow_matmul((), m, k, n)
    assert count("FusedGemm", [(k, m), (k, n)], (m, n), "com.microsoft", transA=1) == slow_matmul((), m, k, n)


def slow_conv(x: tuple[int, ...], w: tuple[int, ...], group: int) -> tuple[tuple[int, ...], int]:
    """Of no padding: the shape of the result, and the operations."""
    spatial = [a - b + 1 for a, b in zip(x[2:], w[2:], strict=True)]
    work = 0
    for _row, out_channel, *_place in positions(x[0], w[0], *spatial):
        mine = out_channel * group // w[0]
        for in_channel, *_tap in positions(x[1], *w[2:]):
            work += 2 * (in_channel * group // x[1] == mine)
    return (x[0], w[0], *spatial), work


@given(small, st.integers(1, 2), small, small, st.lists(st.tuples(small, small), min_size=1, max_size=2))
@settings(max_examples=40)
def test_a_convolution_counts_each_tap_of_each_channel_of_its_group(
    rows: int, group: int, inner: int, outer: int, spatial: list[tuple[int, int]]
) -> None:
    x = (rows, group * inner, *(max(a, b) for a, b in spatial))
    w = (group * outer, inner, *(min(a, b) for a, b in spatial))
    out, slow = slow_conv(x, w, group)
    assert count("Conv", [x, w], out, group=group) == slow
    assert count("FusedConv", [x, w], out, "com.microsoft", group=group) == slow
    assert count("QLinearConv", [x, (), (), w], out, group=group) == slow
    # Backwards, each element of what was the result reaches the same taps.
    assert count("ConvTranspose", [out, w], x, group=group) == slow


@pytest.mark.parametrize(
    "equation",
    ["nld,nd->nl", "ab,bc", "...d,d->...", "n...d,nd...->n...", "ii->i", "ab,bc,cd->ad", "nhd->nh"],
)
@given(sizes=st.lists(small, min_size=6, max_size=6))
@settings(max_examples=10)
def test_an_einsum_counts_each_combination_of_labels_once_an_operand(equation: str, sizes: list[int]) -> None:
    by_label = dict(zip("nldabchi.", [*sizes, *sizes], strict=False))
    terms = equation.split("->", maxsplit=1)[0].split(",")
    shapes = [tuple(by_label[label] for label in term.replace("...", ".")) for term in terms]
    labels = set("".join(terms).replace("...", "."))
    slow = sum(len(terms) for _ in positions(*(by_label[label] for label in labels)))
    assert count("Einsum", shapes, None, equation=equation) == slow


@given(st.tuples(small, small, small, small), st.sampled_from([("GRU", 3), ("LSTM", 4), ("RNN", 1)]), st.booleans())
@settings(max_examples=30)
def test_a_recurrent_cell_counts_its_weights_each_step_of_each_row(
    sizes: tuple[int, int, int, int], cell: tuple[str, int], is_double: bool
) -> None:
    steps, rows, width, hidden = sizes
    op, gates = cell
    ways = 2 if is_double else 1
    slow = sum(
        slow_matmul((), 1, width, gates * hidden) + slow_matmul((), 1, hidden, gates * hidden)
        for _ in positions(steps, rows, ways)
    )
    w, r = (ways, gates * hidden, width), (ways, gates * hidden, hidden)
    assert count(op, [(steps, rows, width), w, r], None) == slow


@given(st.tuples(small, small, small, small, small))
@settings(max_examples=30)
def test_attention_counts_scores_softmax_and_the_weighted_sum(sizes: tuple[int, int, int, int, int]) -> None:
    rows, heads, queries, keys, width = sizes
    slow = sum(
        slow_matmul((), queries, width, keys) + queries * keys + slow_matmul((), queries, keys, width)
        for _ in positions(rows, heads)
    )
    flat = [(rows, steps, heads * width) for steps in (queries, keys, keys)]
    deep = [(rows, heads, steps, width) for steps in (queries, keys, keys)]
    named = {"q_num_heads": heads, "kv_num_heads": heads}
    assert count("Attention", flat, flat[0], **named) == slow
    assert count("Attention", deep, deep[0]) == slow
    assert count("MultiHeadAttention", flat, flat[0], "com.microsoft", num_heads=heads) == slow
    assert count("MultiHeadAttention", [flat[0], *deep[1:]], flat[0], "com.microsoft", num_heads=heads) == slow
    if queries == keys:
        packed = (rows, keys, heads, 3, width)
        assert count("MultiHeadAttention", [packed], flat[0], "com.microsoft", num_heads=heads) == slow
        weight = (5, 3 * heads * width)
        whole = slow + sum(slow_matmul((), keys, *weight) for _ in range(rows))
        x = (rows, keys, 5)
        assert count("Attention", [x, weight], flat[0], "com.microsoft", num_heads=heads) == whole
    cached = [*flat[:3], None, (rows, heads, 2, width), (rows, heads, 2, width)]
    longer = [flat[0], (rows, keys + 2, heads * width), (rows, keys + 2, heads * width)]
    assert count("Attention", cached, flat[0], **named) == count("Attention", longer, flat[0], **named)


def body(width: int, name: str) -> Any:
    """A product, then an activation: the operations of both."""
    x, y = (helper.make_tensor_value_info(f"{name}.{end}", TensorProto.FLOAT, [1, width]) for end in "xy")
    nodes = [
        helper.make_node("MatMul", [f"{name}.x", "w"], [f"{name}.z"]),
        helper.make_node("Tanh", [f"{name}.z"], [f"{name}.y"]),
    ]
    return helper.make_graph(nodes, name, [x], [y])


def of_bodies(node: Any, turns_of: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> int | None:
    """The count of a node whose bodies read the weight w [3, 3]."""
    inner = {f"{name}.{end}": (1, 3) for name in ("then", "else", "body") for end in "xyz"}
    parsed = ir.serde.deserialize_node(node)
    for value in parsed.inputs:
        if value is not None and value.name in turns_of:
            value.const_value = ir.tensor(turns_of[value.name])
    known = inner | {"w": (3, 3)} | shapes
    return count_operations(parsed, lambda value: known.get(str(value.name)), TURNS)


EACH = 2 * 3 * 3 + 3


def test_a_loop_counts_its_body_by_its_trip_count_where_that_is_a_weight() -> None:
    node = helper.make_node("Loop", ["m", "go", "x"], ["y"], body=body(3, "body"))
    assert of_bodies(node, {"m": np.asarray(4)}, {}) == sum(EACH for _ in range(4))
    assert of_bodies(node, {}, {}) == TURNS * EACH


def test_a_scan_counts_its_body_for_each_step() -> None:
    node = helper.make_node("Scan", ["s", "x"], ["t", "y"], body=body(3, "body"), num_scan_inputs=1)
    assert of_bodies(node, {}, {"x": (5, 1, 3)}) == 5 * EACH
    node = helper.make_node("Scan", ["x"], ["y"], body=body(3, "body"), num_scan_inputs=1, scan_input_axes=[1])
    assert of_bodies(node, {}, {"x": (1, 6, 3)}) == 6 * EACH
    assert of_bodies(node, {}, {}) is None


def test_a_branch_counts_the_dearer_side() -> None:
    cheap = helper.make_graph([helper.make_node("Identity", ["x"], ["else.y"])], "else", [], body(3, "else").output)
    node = helper.make_node("If", ["is"], ["y"], then_branch=body(3, "then"), else_branch=cheap)
    assert of_bodies(node, {}, {}) == EACH
    unknown = helper.make_graph([helper.make_node("Relu", ["?"], ["?y"])], "else", [], body(3, "else").output)
    node = helper.make_node("If", ["is"], ["y"], then_branch=body(3, "then"), else_branch=unknown)
    assert of_bodies(node, {}, {}) is None


def test_a_map_over_a_sequence_counts_its_body_an_assumed_number_of_times() -> None:
    assert of_bodies(helper.make_node("SequenceMap", ["x"], ["y"], body=body(3, "body")), {}, {}) == TURNS * EACH


def test_elimination_counts_two_thirds_of_the_cube() -> None:
    slow = sum(2 for k in range(30) for _ in positions(29 - k, 29 - k))
    assert count("Det", [(2, 30, 30)], (2,)) == pytest.approx(2 * slow, rel=0.1)
    assert count("Inverse", [(2, 5, 5)], (2, 5, 5), "com.microsoft") == 2 * 2 * 5**3


def test_a_pool_counts_each_element_of_each_window() -> None:
    assert count("MaxPool", [(1, 2, 9)], (1, 2, 7), kernel_shape=[3]) == sum(1 for _ in positions(2, 7, 3))


def test_models_of_ai_onnx_ml_count_their_coefficients_or_the_depth_of_their_trees() -> None:
    domain = "ai.onnx.ml"
    assert count("LinearRegressor", [(1, 3)], (1, 2), domain, coefficients=[0.5] * 6) == 12
    assert count("LinearRegressor", [(3,)], (1,), domain, coefficients=[0.5] * 3) == 6
    assert count("TreeEnsembleRegressor", [(1, 4)], (1, 1), domain, nodes_treeids=[0] * 7 + [1] * 7) == 2 * 3
    assert count("TreeEnsembleRegressor", [(4,)], (1, 1), domain) is None


@pytest.mark.parametrize("op", sorted(FREE_OPS))
def test_what_only_moves_elements_is_free_even_where_nothing_is_known(op: str) -> None:
    assert count(op, [None], None) == 0


def test_any_other_op_counts_its_largest_value() -> None:
    assert count("Sigmoid", [(2, 3)], (2, 3)) == 6
    assert count("ReduceSum", [(2, 3)], (2,)) == 6
    assert count("NobodyKnows", [(2, 3), None], (2, 8), "com.microsoft") == 16


@pytest.mark.parametrize("op", sorted(PRODUCTS))
def test_a_product_of_unknown_shapes_is_unknown(op: str) -> None:
    assert count(op, [None, None], None, equation="a,b->ab") is None


def test_operations_of_a_graph_are_those_of_its_nodes_or_unknown() -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2])],
            [numpy_helper.from_array(np.ones((3, 2), np.float32), "w")],
        )
    )
    graph = ir.serde.deserialize_model(model).graph
    shapes = {"x": (1, 3), "w": (3, 2), "y": (1, 2), "z": (1, 2)}
    assert count_graph(graph, lambda value: shapes.get(str(value.name)), TURNS) == 2 * math.prod((1, 3, 2)) + 2
    assert count_graph(graph, lambda value: {**shapes, "w": None}.get(str(value.name)), TURNS) == 12 + 2
    assert count_graph(graph, lambda value: {**shapes, "x": None}.get(str(value.name)), TURNS) is None
