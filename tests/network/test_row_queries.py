"""One query a candidate over what a request shares becomes one product of N rows, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.network.blocks import make_feeds
from recserve.network.row_independence import has_independent_rows
from recserve.network.row_queries import fold_queries
from recserve.network.session import Session
from recserve.network.session_openvino import OpenVinoSession, is_available
from recserve.network.split import Part, split_network
from recserve.rates import Rate


@pytest.fixture
def unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recserve.network.split.fold_queries", lambda part: part)


def attention(g: Any, heads: int, scale: bool, mask: bool, keeps_weights: bool = False) -> Part:
    """softmax(q·K / 2 + mask)·V of `heads` heads of width 3."""
    width = 3 * heads
    item, steps = g.input("item", Rate.ITEM, width), g.input("clicks", Rate.REQUEST, "L", width)
    q = g.op("Transpose", g.op("Reshape", item, g.ints(-1, 1, heads, 3)), perm=[0, 2, 1, 3])
    k = g.op("Transpose", g.op("Reshape", steps, g.ints(0, 0, heads, 3)), perm=[0, 2, 3, 1])
    v = g.op("Transpose", g.op("Reshape", steps, g.ints(0, 0, heads, 3)), perm=[0, 2, 1, 3])
    scores = g.op("MatMul", q, k)
    if scale:
        scores = g.op("Div", scores, g.constant(2.0, np.float32))
    if mask:
        scores = g.op("Add", scores, g.op("Unsqueeze", g.input("mask", Rate.REQUEST, 1, "L"), g.ints(1)))
    weights = g.op("Softmax", scores, axis=-1)
    g.output(g.op("Reshape", g.op("MatMul", weights, v), g.ints(-1, width)), dims=(width,))
    if keeps_weights:
        g.output(g.op("ReduceMax", weights, g.ints(1, 2, 3), keepdims=0), "most", dims=())
    return split_network(g.network(), g.rates).candidate


def answers(part: Part, rows: int, steps: int) -> dict[str, Any]:
    feeds = make_feeds(part, _sizes(part, rows, steps), np.random.default_rng(0))
    return Session(part.model).run(feeds)


def _sizes(part: Part, rows: int, steps: int) -> dict[str, int]:
    names = {dim for spec in part.inputs.values() for dim in spec.dims if isinstance(dim, str)}
    return dict.fromkeys(names, steps) | {"N": rows}


def turns(part: Part) -> int:
    return sum(n.op_type == "Transpose" for n in onnx.load_model_from_string(part.model).graph.node)


@pytest.mark.usefixtures("unfolded")
@settings(max_examples=30)
@given(sizes=st.tuples(*[st.integers(1, 4)] * 3), form=st.tuples(*[st.booleans()] * 3))
def test_folded_attention_gives_what_the_products_one_by_one_give(
    sketch: Any, sizes: tuple[int, int, int], form: tuple[bool, bool, bool]
) -> None:
    heads, rows, steps = sizes
    part = attention(sketch(), heads, *form)
    folded = fold_queries(part)
    assert folded is not part
    assert has_independent_rows(folded) == has_independent_rows(part)
    want = answers(part, rows, steps)
    for name, found in answers(folded, rows, steps).items():
        np.testing.assert_allclose(found, want[name], rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("unfolded")
def test_scale_mask_and_softmax_between_two_products_are_not_turned_back(sketch: Any) -> None:
    part = attention(sketch(), 2, True, True)
    assert turns(fold_queries(part)) <= turns(part) + 2


def test_a_split_folds_its_candidate_part_once(sketch: Any) -> None:
    part = attention(sketch(), 2, True, True)
    assert "~rows" in str(onnx.load_model_from_string(part.model))
    assert fold_queries(part) is part


@pytest.mark.skipif(not is_available(), reason="OpenVINO is not installed")
def test_folded_attention_is_near_in_bfloat16(sketch: Any) -> None:
    part = attention(sketch(), 2, True, True)
    feeds = make_feeds(part, _sizes(part, 33, 4), np.random.default_rng(0))
    want, got = Session(part.model).run(feeds), OpenVinoSession(part.model, "bf16").run(feeds)
    np.testing.assert_allclose(got["ctr"], want["ctr"], atol=0.02)


@pytest.mark.usefixtures("unfolded")
def test_products_with_weights_and_with_sequences_of_candidates_stay(sketch: Any) -> None:
    g = sketch()
    item = g.op("Unsqueeze", g.op("Mul", g.input("user", Rate.REQUEST, 4), g.input("item", Rate.ITEM, 4)), g.ints(1))
    own = g.op("Transpose", item, perm=[0, 2, 1])
    g.output(g.op("Squeeze", g.op("MatMul", g.op("MatMul", item, g.weight(4, 4)), own), g.ints(2)))
    part = split_network(g.network(), g.rates).candidate
    assert fold_queries(part) is part
