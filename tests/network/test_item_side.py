"""What a network stores for an item follows the traffic, the machine and the budget; the answers stay the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.network.canonical import canonical
from recserve.network.cost import TYPICAL, OpCosts
from recserve.network.cut import find_demand
from recserve.network.draft import Draft
from recserve.network.evaluate import run_flat, run_split
from recserve.network.item_side import plan_storing
from recserve.network.parts import value_types
from recserve.network.rewrites import rewrite
from recserve.network.split import SplitNetwork, split_network
from recserve.network.storing import StoreOptions
from recserve.rates import Rate

USER, ITEM = Rate.REQUEST, Rate.ITEM


def experts(sketch: Any, *, wide: int = 256) -> Any:
    """Gates of the user over wide experts of an item of 64 bytes, as in a mixture of experts."""
    g = sketch()
    item, user = g.input("item", ITEM, 16), g.input("user", USER, wide)
    hidden = g.op("Relu", g.linear(item, 16, wide))
    g.output(g.op("ReduceSum", g.op("Mul", hidden, user), g.ints(1), keepdims=1))
    return g


def split(g: Any, costs: OpCosts = TYPICAL, **options: Any) -> SplitNetwork:
    return split_network(g.network(), g.rates, storing=StoreOptions(**options), costs=costs)


def hold_to_flat(g: Any, done: SplitNetwork, draw_feeds: Any) -> None:
    feeds = draw_feeds(g.network(), g.rates)
    flat, staged = run_flat(g.network(), *feeds), run_split(done, *feeds)
    for name, expected in flat.items():
        assert staged[name] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_without_a_budget_a_dear_wide_layer_is_stored(sketch: Any, draw_feeds: Any) -> None:
    g = experts(sketch)
    done = split(g, replace(TYPICAL, wide_gflops=1.0, narrow_gflops=1.0))
    assert done.report.item_bytes == 4 * 256
    assert done.report.storing is not None
    (decision,) = done.report.storing.decisions
    assert (decision.action, decision.size_bytes) == ("store", 1024)
    assert decision.us == pytest.approx(TYPICAL.gather_us(1024))
    assert decision.instead_us is not None
    assert decision.instead_us > 0
    hold_to_flat(g, done, draw_feeds)


def test_a_byte_budget_moves_the_cut_to_narrower_values(sketch: Any, draw_feeds: Any) -> None:
    g = experts(sketch)
    done = split(g, replace(TYPICAL, wide_gflops=1.0, narrow_gflops=1.0), max_payload_bytes_per_item=512)
    assert done.report.item_bytes == 64
    assert done.item is None
    assert done.report.storing is not None
    stored, *again = done.report.storing.decisions
    assert (stored.value, stored.action, stored.instead_us) == ("item", "store", None)
    assert {"Gemm", "Relu"} & {d.op for d in again if d.action == "recompute"}
    assert done.report.storing.least_bytes == 64
    hold_to_flat(g, done, draw_feeds)


def test_a_machine_that_gathers_slowly_computes_again(sketch: Any) -> None:
    fast = replace(TYPICAL, wide_gflops=1e4, narrow_gflops=1e4, gather_gbytes=0.1)
    assert split(experts(sketch), fast).report.item_bytes == 64


def test_items_that_change_faster_than_they_are_asked_for_are_not_computed_ahead(sketch: Any) -> None:
    slow = replace(TYPICAL, wide_gflops=1.0, narrow_gflops=1.0)
    busy = split(experts(sketch), slow, requests_per_s=0.001, item_updates_per_s=1e6)
    assert busy.report.item_bytes == 64
    assert busy.report.storing is not None
    assert busy.report.storing.item_us == 0


def test_a_narrower_payload_fits_into_a_smaller_budget(sketch: Any) -> None:
    slow = replace(TYPICAL, wide_gflops=1.0, narrow_gflops=1.0)
    assert split(experts(sketch), slow, max_payload_bytes_per_item=512, payload_precision="bf16").item is not None


def test_an_impossible_budget_is_refused_with_what_the_least_would_be(sketch: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r"needs at least 64 bytes stored for each item \(item\), but max_payload_bytes_per_item is 63",
    ) as caught:
        split(experts(sketch), max_payload_bytes_per_item=63)
    assert caught.value.code == "payload_budget"
    assert split(experts(sketch), max_payload_bytes_per_item=64).report.item_bytes == 64


def test_a_rebuild_is_as_long_as_all_items_take(sketch: Any) -> None:
    plan = split(experts(sketch), replace(TYPICAL, wide_gflops=1.0), item_count=2_000_000).report.storing
    assert plan is not None
    assert plan.rebuild_s == pytest.approx(2 * plan.item_us)


@settings(max_examples=25, deadline=None)
@given(
    layers=st.lists(st.sampled_from([2, 8, 40]), min_size=1, max_size=4),
    gather=st.floats(0.001, 100),
    product=st.floats(0.1, 1000),
    updates=st.floats(0, 1e6),
)
def test_the_plan_costs_what_the_cheapest_of_all_plans_costs(
    layers: list[int], gather: float, product: float, updates: float, sketch: Any
) -> None:
    g = sketch()
    value, width = g.input("item", ITEM, 4), 4
    for wide in layers:
        value, width = g.op("Relu", g.linear(value, width, wide)), wide
    g.output(g.op("Mul", value, g.input("user", USER, width)), dims=(width,))
    costs = replace(TYPICAL, gather_gbytes=gather, narrow_gflops=product, wide_gflops=product)
    draft = Draft.of(canonical(g.network()), g.rates)
    rewrite(draft)
    options, types = StoreOptions(item_updates_per_s=updates), value_types(draft)
    demanded = find_demand(draft, "test")
    choice = plan_storing(draft, demanded, types, options=options, costs=costs, where="test")
    assert choice is not None
    _, plan = choice
    names = sorted(n for n, fact in draft.facts.by_name.items() if fact.rate is ITEM)
    cheapest = float("inf")
    for count in range(1, 3):
        for stored in combinations(names, count):
            types_kept = {name: types[name] for name in stored}
            only = plan_storing(draft, demanded, types_kept, options=options, costs=costs, where="test")
            cheapest = min(cheapest, only[1].cost if only is not None else cheapest)
    assert plan.cost == pytest.approx(cheapest, rel=1e-6, abs=1e-12)
