"""Large products run in 8-bit integers within half a step of each factor, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as draw_arrays
from onnx import helper, numpy_helper

from recserve.errors import ConfigError
from recserve.network.engines import EngineChoice, open_engine
from recserve.network.quantise import RangeObserver, quantisable, quantise, round_columns, scale_of
from recserve.network.session import Session
from recserve.network.session_openvino import is_available
from recserve.rates import Rate

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
needs_openvino = pytest.mark.skipif(not is_available(), reason="OpenVINO is not installed")


def net(g: Any, hidden: int = 64) -> bytes:
    """Two large layers (a Gemm with turned weights, a MatMul), and a head that is too small."""
    x = g.input("x", Rate.ITEM, 48)
    first = g.op("Relu", g.linear(x, 48, hidden))
    second = g.op("Relu", g.op("MatMul", first, g.weight(hidden, 40)))
    g.output(g.linear(second, 40, 1))
    return g.network().to_bytes()


def feeds(rows: int = 200) -> dict[str, Any]:
    return {"x": np.random.default_rng(1).normal(size=(rows, 48)).astype(np.float32)}


def calibrated(model: bytes) -> tuple[Any, ...]:
    observer = RangeObserver(model)
    observer.observe(feeds())
    return observer.ranges


def by_hand(model: bytes, ranges: Any, x: Any) -> Any:
    """The quantised net in integers, one layer after the other."""
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(model).graph.initializer}
    (first, bias), second, (head, last) = (
        (weights["w0"].T, weights["w1"]),
        weights["w2"],
        (weights["w3"].T, weights["w4"]),
    )

    def product(values: Any, bounds: Any, weight: Any) -> Any:
        scale, zero = scale_of(*bounds[1:])
        steps = np.clip(np.rint(values / scale) + int(zero), 0, 255).astype(np.int64) - int(zero)
        integers, scales = round_columns(weight, 1)
        return (steps @ integers.astype(np.int64)) * (np.float64(scale) * scales)

    hidden = np.maximum(product(x, ranges[0], first) + bias, 0).astype(np.float32)
    hidden = np.maximum(product(hidden, ranges[1], second), 0)
    return hidden @ head + last


def test_only_products_of_some_size_are_quantised(sketch: Any) -> None:
    model = net(sketch())
    assert quantisable(model) == ("x", "v1")
    ops = [node.op_type for node in onnx.load_model_from_string(quantise(model, calibrated(model))).graph.node]
    assert ops.count("QuantizeLinear") == 2
    assert ops.count("DequantizeLinear") == 4


def test_the_fused_form_has_one_node_for_a_product_and_its_bias(sketch: Any) -> None:
    model = net(sketch())
    graph = onnx.load_model_from_string(quantise(model, calibrated(model), is_fused=True)).graph
    ops = [node.op_type for node in graph.node]
    assert ops.count("MatMulIntegerToFloat") == ops.count("QuantizeLinear") == 2
    assert "DequantizeLinear" not in ops
    assert {t.data_type for t in graph.initializer if len(t.dims) == 2 and min(t.dims) > 1} == {onnx.TensorProto.INT8}


@given(
    st.sampled_from(
        ["Gemm", "turned Gemm", "scaled Gemm", "MatMul", "MatMul and bias", "bias and MatMul", "read twice"]
    ),
    st.integers(32, 40),
    st.integers(32, 40),
    st.integers(0, 2**32 - 1),
)
def test_both_forms_give_the_same(kind: str, inner: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(inner, width)), rng.normal(size=width)
    is_turned = kind == "turned Gemm"
    arrays = {"w": weight.T if is_turned else weight, "b": bias}
    weights = [numpy_helper.from_array(np.ascontiguousarray(a, np.float32), name) for name, a in arrays.items()]
    if "Gemm" in kind:
        factors = {"alpha": 0.5, "beta": 2.0} if kind == "scaled Gemm" else {"transB": int(is_turned)}
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], **factors)]
    else:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["p"])]
        pair = ["b", "p"] if kind.startswith("bias") else ["p", "b"]
        nodes.append(helper.make_node("Add", pair if "bias" in kind or "twice" in kind else ["p", "p"], ["s"]))
        nodes.append(helper.make_node("Mul" if kind == "read twice" else "Add", ["s", "p"], ["y"]))
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", d]) for n, d in (("x", inner), ("y", width)))
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    feed = {"x": rng.normal(size=(5, inner)).astype(np.float32)}
    ranges = [("x", float(feed["x"].min()), float(feed["x"].max()))]
    wrapped, fused = (Session(quantise(model, ranges, is_fused=f)).run(feed)["y"] for f in (False, True))
    np.testing.assert_allclose(fused, wrapped, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_the_engines_compute_what_integers_by_hand_give(sketch: Any, engine: str) -> None:
    model = net(sketch())
    ranges = calibrated(model)
    want = by_hand(model, ranges, feeds()["x"])
    found = open_engine(model, EngineChoice(engine, "int8", ranges=ranges)).run(feeds())["ctr"]
    exact = Session(model).run(feeds())["ctr"]
    spread = np.abs(exact - exact.mean()).max()
    # An activation between two steps may be rounded to either; OpenVINO's head may be in bfloat16.
    np.testing.assert_allclose(found, want, atol=0.02 * spread)
    assert 0 < np.abs(found - exact).max() < 0.05 * spread


def test_a_candidate_scores_the_same_beside_any_others(sketch: Any) -> None:
    model = net(sketch())
    engine = open_engine(model, EngineChoice("onnxruntime", "int8", ranges=calibrated(model)))
    every = engine.run(feeds())["ctr"]
    one = engine.run({"x": np.ascontiguousarray(feeds()["x"][7:8])})["ctr"]
    np.testing.assert_allclose(one, every[7:8], rtol=1e-5, atol=1e-6)


def test_values_beyond_the_calibrated_range_are_clipped(sketch: Any) -> None:
    model = net(sketch())
    engine = open_engine(model, EngineChoice("onnxruntime", "int8", ranges=calibrated(model)))
    huge = engine.run({"x": np.full((1, 48), 1e30, np.float32)})["ctr"]
    assert np.isfinite(huge).all()


def test_the_weights_shrink_to_a_quarter(sketch: Any) -> None:
    model = net(sketch(), hidden=512)
    assert len(quantise(model, calibrated(model))) < 0.35 * len(model)


def test_a_network_of_small_products_is_refused(sketch: Any) -> None:
    g = sketch()
    g.output(g.linear(g.input("x", Rate.ITEM, 48), 48, 8), dims=(8,))
    with pytest.raises(ConfigError, match="no product with a matrix of 32 × 32 or more"):
        RangeObserver(g.network().to_bytes())


def test_ranges_of_another_model_are_refused(sketch: Any) -> None:
    with pytest.raises(ConfigError, match="no product of the network reads one of the calibrated tensors other"):
        quantise(net(sketch()), [("other", 0.0, 1.0)])


def test_infinite_values_do_not_widen_a_range(sketch: Any) -> None:
    observer = RangeObserver(net(sketch()))
    x = np.zeros((2, 48), np.float32)
    x[0, 0], x[1, 1] = np.inf, 3.0
    observer.observe({"x": x})
    assert observer.ranges[0] == ("x", 0.0, 3.0)


@given(draw_arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=FLOATS))
def test_a_rounded_matrix_is_within_half_a_step(weight: Any) -> None:
    for axis in (0, 1):
        integers, scales = round_columns(weight, axis)
        steps = scales if axis == 1 else scales[:, None]
        assert np.abs(integers).max() <= 127
        assert (np.abs(integers * np.float64(steps) - weight) <= 0.5001 * steps).all()


@given(st.tuples(FLOATS, FLOATS).map(sorted))
def test_the_scale_spans_its_range_and_keeps_zero(bounds: list[float]) -> None:
    scale, zero = scale_of(*bounds)
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    assert np.isfinite(scale)
    assert scale > 0
    if scale != 1 or high - low > 1:
        assert (0 - int(zero)) * np.float64(scale) <= low + scale
        assert (255 - int(zero)) * np.float64(scale) >= high - scale
