"""Graphs as tf2onnx and Keras exporters write them: shape chains, transposed channels, old opsets, axes as inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from recserve.rates import Rate

USER, ITEM = Rate.REQUEST, Rate.ITEM


def as_batch(g: Any, x: str, *rest: int) -> str:
    """Reshape to [batch, ...] by the chain Shape → Cast → Slice → Squeeze → Unsqueeze → Concat → Cast."""
    shape = g.op("Cast", g.op("Shape", x), to=TensorProto.INT32)
    first = g.op("Squeeze", g.op("Slice", shape, g.ints(0), g.ints(1), g.ints(0)), g.ints(0))
    parts = [g.op("Unsqueeze", first, g.ints(0)), *(g.constant([size], np.int32) for size in rest)]
    value: str = g.op("Reshape", x, g.op("Cast", g.op("Concat", *parts, axis=0), to=TensorProto.INT64))
    return value


def dense(g: Any, x: str, before: int, after: int) -> str:
    value: str = g.op("Add", g.op("MatMul", x, g.weight(before, after)), g.weight(after))
    return value


def deep(g: Any) -> float:
    """A wide and deep net whose fields pass through shape chains and a BatchNorm that stands alone."""
    fields = [as_batch(g, g.input(name, rate, 2, 4), 8) for name, rate in (("user", USER), ("item", ITEM))]
    x = g.op("Concat", *fields, axis=-1)
    spread = g.constant(g.rng.uniform(0.5, 2, 16).astype(np.float32))
    x = g.op("BatchNormalization", x, g.weight(16), g.weight(16), g.weight(16), spread)
    g.output(g.op("Sigmoid", dense(g, g.op("Relu", dense(g, x, 16, 12)), 12, 1)))
    return 0.2


def attention(g: Any) -> float:
    """DIN with a Tile by a computed multiple, a dense layer on [N·L, d], and a mask by Where."""
    hist, item = g.input("hist", USER, "L", 8), g.input("item", ITEM, 8)
    steps = g.op("Slice", g.op("Shape", hist), g.ints(1), g.ints(2), g.ints(0))
    query = g.op("Tile", g.op("Unsqueeze", item, g.ints(1)), g.op("Concat", g.ints(1), steps, g.ints(1), axis=0))
    pairs = g.op("Concat", query, hist, g.op("Sub", query, hist), g.op("Mul", query, hist), axis=-1)
    merged = g.op("Reshape", pairs, g.ints(-1, 32))
    hidden = g.op("Sigmoid", dense(g, merged, 32, 16))
    shape = g.op("Concat", g.op("Slice", g.op("Shape", hist), g.ints(0), g.ints(2), g.ints(0)), g.ints(1), axis=0)
    scores = g.op("Squeeze", g.op("Reshape", dense(g, hidden, 16, 1), shape), g.ints(-1))
    seen = g.op("Greater", g.op("ReduceSum", g.op("Abs", hist), g.ints(2), keepdims=0), g.constant(0.5, np.float32))
    kept = g.op("Where", seen, scores, g.constant(-4.2e9, np.float32))
    weights = g.op("Unsqueeze", g.op("Softmax", kept, axis=-1), g.ints(1))
    interest = g.op("Squeeze", g.op("MatMul", weights, hist), g.ints(1))
    g.output(g.op("Sigmoid", dense(g, g.op("Concat", item, interest, axis=1), 16, 1)))
    return 0.45


def channels_first(g: Any) -> float:
    """A Conv1D of width 1 over fields, as tf2onnx writes it: transposed in front and behind."""
    x = g.op("Concat", g.input("user", USER, 2, 4), g.input("item", ITEM, 2, 4), axis=1)
    y = g.op("Conv", g.op("Transpose", x, perm=[0, 2, 1]), g.weight(6, 4, 1), g.weight(6), kernel_shape=[1])
    y = g.op("Relu", g.op("Transpose", y, perm=[0, 2, 1]))
    g.output(dense(g, as_batch(g, y, 24), 24, 1))
    return 1.01


def einsum_experts(g: Any) -> float:
    both = g.op("Concat", g.input("user", USER, 8), g.input("item", ITEM, 8), axis=1)
    experts = g.op("Relu", g.op("Einsum", both, g.weight(16, 3, 6), equation="ab,bcd->acd"))
    gate = g.op("Softmax", dense(g, both, 16, 3), axis=-1)
    g.output(dense(g, g.op("Einsum", gate, experts, equation="ab,abc->ac"), 6, 1))
    return 0.3


def batched_product(g: Any) -> float:
    """A product of queries and keys whose batch axes are merged by ReduceProd and Max, as tf2onnx writes Einsum."""
    hist, item = g.input("hist", USER, "L", 8), g.input("item", ITEM, 8)
    keys = g.op("Transpose", dense(g, hist, 8, 4), perm=[0, 2, 1])
    query = g.op("Unsqueeze", dense(g, item, 8, 4), g.ints(1))
    batch = [
        g.op("ReduceProd", g.op("Gather", g.op("Shape", x), g.ints(0), axis=0), axes=[0], keepdims=1)
        for x in (query, keys)
    ]
    pair = [
        g.op("Reshape", query, g.op("Concat", batch[0], g.ints(1, 4), axis=0)),
        g.op("Reshape", keys, g.op("Concat", batch[1], g.ints(4, -1), axis=0)),
    ]
    shape = g.op("Concat", g.op("Max", *batch), g.ints(1, -1), axis=0)
    weights = g.op("Softmax", g.op("Reshape", g.op("MatMul", *pair), shape), axis=-1)
    g.output(g.op("MatMul", weights, hist), dims=(1, 8))
    return 0.35


@pytest.mark.parametrize("opset", [13, 17])
def test_sizes_made_by_products_and_maxima_are_followed(opset: int, sketch: Any, prove: Any) -> None:
    g = sketch(opset=opset)
    share = batched_product(g)
    done = prove(g.network(), g.rates)
    assert 0 < done.report.flops[Rate.CANDIDATE] <= share * done.report.flat_flops


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 21])
@pytest.mark.parametrize("write", [deep, attention, channels_first, einsum_experts])
def test_a_graph_in_the_style_of_tensorflow_splits(write: Any, opset: int, sketch: Any, prove: Any) -> None:
    g = sketch(opset=opset)
    share = write(g)
    done = prove(g.network(), g.rates)
    assert done.report.flops[Rate.CANDIDATE] <= share * done.report.flat_flops


@pytest.mark.parametrize("opset", [11, 12])
def test_axes_as_attributes_of_old_opsets_are_read(opset: int, sketch: Any, prove: Any) -> None:
    g = sketch(opset=opset)
    user, item = g.input("user", USER, 8), g.input("item", ITEM, 8)
    stack = g.op("Concat", g.op("Unsqueeze", user, axes=[1]), g.op("Unsqueeze", item, axes=[1]), axis=1)
    total = g.op("ReduceSum", stack, axes=[1], keepdims=0)
    flat = g.op("Reshape", stack, g.ints(-1, 16))
    g.output(g.op("Add", dense(g, flat, 16, 1), g.op("ReduceSum", g.op("Mul", total, total), axes=[1], keepdims=1)))
    done = prove(g.network(), g.rates)
    assert done.report.flops[Rate.CANDIDATE] <= 0.5 * done.report.flat_flops
