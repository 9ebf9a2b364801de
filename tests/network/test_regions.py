"""Regions keep every node once, never read one another in a circle, and are few."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.network.anatomy import Node
from recserve.network.regions import depths_of, gather
from recserve.rates import Rate

OPS = {"MatMul": 24, "Add": 4, "Relu": 4, "Reshape": 0, "Concat": 0, "Odd": None}


def node(name: str, op: str, *sources: str) -> Node:
    return Node(name, op, Rate.CANDIDATE, OPS[op], 8, (1, 4), sources)


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    nodes: list[Node] = []
    for k in range(draw(st.integers(1, 30))):
        names = ["x", *(n.name for n in nodes)]
        sources = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        nodes.append(node(f"v{k}", draw(st.sampled_from(sorted(OPS))), *sources))
    return nodes


@given(graphs(), st.integers(1, 12))
@settings(max_examples=100)
def test_regions_hold_every_node_once_and_read_only_earlier_ones(nodes: list[Node], limit: int) -> None:
    regions = gather(nodes, limit)
    assert sorted(n.name for region in regions for n in region.nodes) == sorted(n.name for n in nodes)
    assert sum(region.flops for region in regions) == sum(n.flops or 0 for n in nodes)
    assert sum(region.bytes for region in regions) == 8 * len(nodes)
    home = {n.name: region.name for region in regions for n in region.nodes}
    seen = {"x"}
    for region in regions:
        reads = {home.get(s, s) for n in region.nodes for s in n.sources} - {region.name}
        assert reads == set(region.sources)
        assert reads <= seen
        seen.add(region.name)


@given(graphs(), st.integers(1, 12))
@settings(max_examples=50)
def test_there_are_about_so_many_regions_as_asked_for(nodes: list[Node], limit: int) -> None:
    assert len(gather(nodes, limit)) <= 2 * limit + 1


def test_a_product_takes_along_its_bias_and_activation_and_moves_join_a_neighbour() -> None:
    nodes = [node("t", "Reshape", "x"), node("a", "MatMul", "t"), node("b", "Add", "a"), node("c", "Relu", "b"),
             node("d", "MatMul", "c"), node("e", "Relu", "d")]  # fmt: skip
    regions = gather(nodes, 40)
    assert [(region.name, region.sources, region.title()) for region in regions] == [
        ("c", ("x",), "MatMul · Add · Relu"),
        ("e", ("c",), "MatMul · Relu"),
    ]
    assert [region.flops for region in regions] == [32, 28]


def test_branches_stay_apart_until_there_are_too_many() -> None:
    nodes = [node(f"{kind}{k}", op, source) for k in range(8) for kind, op, source in
             (("a", "MatMul", "x"), ("b", "Relu", f"a{k}"))]  # fmt: skip
    nodes.append(node("sum", "Add", *(f"b{k}" for k in range(8))))
    assert len(gather(nodes, 40)) == 9
    (experts, total) = gather(nodes, 5)
    assert experts.title() == "8× MatMul · 8× Relu"
    assert total.sources == (experts.name,)
    assert depths_of((experts, total)) == {experts.name: 1, "sum": 2}


def test_a_region_that_only_moves_elements_names_its_moves() -> None:
    (region,) = gather([node("a", "Reshape", "x"), node("b", "Concat", "a")], 40)
    assert region.title() == "Reshape · Concat"
