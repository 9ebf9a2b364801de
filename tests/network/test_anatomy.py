"""Taking a split network apart agrees with the report of the split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.network.anatomy import Ceilings, dissect, measure_ceilings
from recserve.rates import Rate

USER, ITEM, CAND = Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE


@pytest.fixture
def split(sketch: Any, prove: Any) -> Any:
    g = sketch()
    both = g.op("Concat", g.input("user", USER, 8), g.input("item", ITEM, 4), g.input("place", CAND, 2), axis=1)
    g.output(g.op("Sigmoid", g.linear(g.op("Relu", g.linear(both, 14, 16)), 16, 1)))
    return prove(g.network(), g.rates)


def test_operations_are_those_of_the_report(split: Any) -> None:
    anatomy = dissect(split)
    assert {rate: anatomy.flops(rate) for rate in anatomy.nodes} == split.report.flops
    assert anatomy.item_bytes == split.report.item_bytes == 64


def test_weights_count_where_they_are_read(split: Any) -> None:
    anatomy = dissect(split)
    assert anatomy.weight_bytes(ITEM) == 4 * 4 * 16
    assert anatomy.weight_bytes(CAND) == 4 * (2 * 16 + 16 + 1)


def test_a_node_lists_the_nodes_and_inputs_that_it_reads(split: Any) -> None:
    nodes = {node.name: node for node in dissect(split).nodes[CAND]}
    product = next(n for n in nodes.values() if n.op == "MatMul" and n.sources == ("place",))
    assert product.shape == (1, 16)
    assert product.flops == 2 * 2 * 16
    assert any(product.name in node.sources for node in nodes.values())


def test_the_operations_of_a_recurrent_cell_count_its_weights_each_step(sketch: Any, prove: Any) -> None:
    g = sketch()
    steps = g.op("Transpose", g.input("hist", USER, 5, 4), perm=[1, 0, 2])
    _, state = g.op("GRU", steps, g.weight(1, 9, 4), g.weight(1, 9, 3), outputs=2, hidden_size=3)
    g.output(g.op("Mul", g.op("Squeeze", state, g.ints(0)), g.input("item", ITEM, 3)), dims=(3,))
    anatomy = dissect(prove(g.network(), g.rates))
    assert next(n.flops for n in anatomy.nodes[USER] if n.op == "GRU") == 2 * 5 * (36 + 27)


def test_the_floor_is_the_slower_of_operations_and_bytes(split: Any) -> None:
    anatomy = dissect(split)
    compute = Ceilings(flops=1e9, bytes=1e15).floor_us(anatomy, 500)
    assert compute == pytest.approx(anatomy.flops(CAND) * 500 / 1e3)
    moved = Ceilings(flops=1e18, bytes=1e9).floor_us(anatomy, 500)
    assert moved == pytest.approx((anatomy.weight_bytes(CAND) + 64 * 500) / 1e3)


def test_what_nodes_write_is_counted_for_one_row(split: Any) -> None:
    anatomy = dissect(split)
    assert anatomy.activation_bytes(ITEM) == 4 * 16
    assert anatomy.storing is split.report.storing


def test_ceilings_are_measured() -> None:
    ceilings = measure_ceilings()
    assert np.isfinite([ceilings.flops, ceilings.bytes]).all()
    assert min(ceilings.flops, ceilings.bytes) > 1e6
