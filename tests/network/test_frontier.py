"""The frontier of a minimum cut is the cheapest of all frontiers, tried one by one."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.network.frontier import Frontier, ItemGraph, Step, Tensor, explain_stored


def every_frontier(graph: ItemGraph) -> list[Frontier]:
    """Slow and obvious: each set of tensors."""
    names = sorted(graph.tensors)
    sets = [frozenset(c) for count in range(len(names) + 1) for c in combinations(names, count)]
    return [found for stored in sets if (found := graph.evaluate(stored)) is not None]


@st.composite
def item_graphs(draw: st.DrawFn) -> ItemGraph:
    price = st.one_of(st.none(), st.integers(0, 12))
    steps: list[Step] = []
    names: list[str] = []
    for number in range(draw(st.integers(1, 6))):
        outputs = tuple(
            Tensor(f"t{number}.{k}", draw(st.integers(1, 20)), draw(price))
            for k in range(draw(st.sampled_from([1, 1, 2])))
        )
        sources = tuple(draw(st.lists(st.sampled_from(names), max_size=3, unique=True))) if names else ()
        steps.append(Step(outputs, sources, draw(price), draw(st.integers(0, 5))))
        names += [tensor.name for tensor in outputs]
        if len(names) >= 8:
            break
    demanded = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    return ItemGraph(tuple(steps), frozenset(demanded))


@settings(max_examples=100, deadline=None)
@given(item_graphs())
def test_the_cut_costs_what_the_cheapest_of_all_frontiers_costs(graph: ItemGraph) -> None:
    every = every_frontier(graph)
    found = graph.cheapest()
    if not every:
        assert found is None
        return
    assert found is not None
    assert found.cost == min(f.cost for f in every)


@settings(max_examples=100, deadline=None)
@given(item_graphs(), st.integers(0, 60))
def test_a_budget_is_kept_at_the_least_cost(graph: ItemGraph, max_bytes: int) -> None:
    within = [f for f in every_frontier(graph) if f.size_bytes <= max_bytes]
    found = graph.cheapest_within(max_bytes)
    if not within:
        assert found is None
        return
    assert found is not None
    assert found.size_bytes <= max_bytes
    assert found.cost == min(f.cost for f in within)


@settings(max_examples=60, deadline=None)
@given(item_graphs())
def test_the_smallest_frontier_has_the_fewest_bytes(graph: ItemGraph) -> None:
    every, found = every_frontier(graph), graph.smallest()
    assert (found is None) == (not every)
    if found is not None:
        least = min(f.size_bytes for f in every)
        assert found.size_bytes == least
        assert found.cost == min(f.cost for f in every if f.size_bytes == least)


def chain(wide: int = 1000, *, again: float = 3.0) -> ItemGraph:
    """An embedding of 64 bytes, and a wide layer of it."""
    embedding = Step((Tensor("embedding", 64, 1.0),), (), None, 0.0)
    layer = Step((Tensor("layer", wide, wide / 64),), ("embedding",), again, 0.5)
    return ItemGraph((embedding, layer), frozenset({"layer"}))


def test_a_cheap_wide_layer_is_computed_again_and_its_narrow_source_stored() -> None:
    found = chain().cheapest()
    assert found == Frontier(frozenset({"embedding"}), frozenset({1}), frozenset({0}), 4.0, 64)


def test_a_dear_layer_is_stored() -> None:
    found = chain(again=100.0).cheapest()
    assert found is not None
    assert found.stored == {"layer"}
    assert found.once == {0, 1}


def test_a_step_may_run_for_items_and_for_candidates() -> None:
    steps = (
        Step((Tensor("embedding", 4, 1.0),), (), None, 0.0),
        Step((Tensor("hidden", 400, 100.0),), ("embedding",), 2.0, 0.5),
        Step((Tensor("gate", 4, 1.0),), ("hidden",), 50.0, 0.5),
    )
    found = ItemGraph(steps, frozenset({"hidden", "gate"})).cheapest()
    assert found is not None
    assert found.stored == {"embedding", "gate"}
    assert 1 in found.again & found.once


def test_each_stored_tensor_says_what_doing_without_it_would_cost() -> None:
    graph = chain(again=100.0)
    chosen = graph.cheapest()
    assert chosen is not None
    assert explain_stored(graph, chosen) == {"layer": pytest.approx(101.0 - 1000 / 64 - 0.5)}
    near = chain()
    stored = near.cheapest()
    assert stored is not None
    assert explain_stored(near, stored) == {"embedding": pytest.approx(1000 / 64 + 0.5 - 4.0)}
    assert explain_stored(near, stored, max_bytes=100) == {"embedding": None}
