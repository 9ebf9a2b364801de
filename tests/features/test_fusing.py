"""Fused pairs give what their two ops give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve import FeatureSet
from recserve.features import ops
from recserve.features.fusing import fused_pairs, group_lookups

WORDS = st.text(st.characters(codec="utf-8", exclude_characters=",;\x1d"), min_size=1, max_size=12)
CELLS = st.one_of(WORDS, st.lists(WORDS, max_size=3).map(",".join))


def plan_of(columns: list[str], **options: Any) -> FeatureSet:
    combo = {"feature_type": "combo_feature", "feature_name": "x", "expression": columns, "separator": ",", **options}
    return FeatureSet.from_fg_json({"features": [combo]})


def ids_of(features: FeatureSet, cells: dict[str, list[str]], reference: bool) -> tuple[list[int], list[int]]:
    plan = features.compile(reference=reference)
    found = plan.run(cells)["x"]
    return found.values.tolist(), found.lengths.tolist()


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([{}, {"hash_bucket_size": 1000}, {"hash_bucket_size": 2**40}]))
def test_joined_and_hashed_at_once_is_joined_then_hashed(data: st.DataObject, options: dict[str, Any]) -> None:
    """One token or several in a row, of the user (the same in each row) or of the item, in any order of sources."""
    rows = data.draw(st.integers(1, 12))
    names = data.draw(st.permutations(["user:a", "item:b", "item:c"]))[: data.draw(st.integers(2, 3))]
    single = WORDS if data.draw(st.booleans()) else CELLS
    cells = {name.split(":")[1]: data.draw(st.lists(single, min_size=rows, max_size=rows)) for name in names}
    features = plan_of(names, **{"hash_bucket_size": 10, **options})
    assert ids_of(features, cells, reference=False) == ids_of(features, cells, reference=True)


def test_a_join_that_something_else_reads_is_not_fused() -> None:
    features = plan_of(["user:a", "item:b"], hash_bucket_size=10)
    graph = features.graph
    numbers = range(len(graph.ops))
    (pair,) = fused_pairs(graph, numbers, ()).items()
    assert isinstance(graph.ops[pair[0]], ops.HashIds)
    assert isinstance(graph.ops[pair[1]], ops.JoinTokens)
    assert fused_pairs(graph, numbers, (pair[1],)) == {}
    assert fused_pairs(graph, [pair[0]], ()) == {}


@pytest.mark.parametrize("count", [1, 19, 64, 65, 300])
def test_few_boundaries_are_counted_and_many_are_searched(count: int) -> None:
    rng = np.random.default_rng(count)
    edges = np.unique(np.round(rng.normal(size=count), 3))
    numbers = [*rng.normal(size=1100).round(3).tolist(), *edges.tolist(), float("inf"), float("-inf"), float("nan")]
    raw = {"feature_type": "raw_feature", "feature_name": "x", "expression": "item:n", "boundaries": edges.tolist()}
    features = FeatureSet.from_fg_json({"features": [raw | {"embedding_dim": 4}]})
    found, expected = (features.compile(reference=slow).run({"n": numbers})["x"] for slow in (False, True))
    assert found.values.tolist() == expected.values.tolist()
    assert found.lengths.tolist() == expected.lengths.tolist()


KEYS = [f"k{i}" for i in range(6)]
COMBINERS = ["sum", "mean", "min", "max", "count"]
NUMBERS = st.sampled_from(["1.5", "-2", "0.1", "3e300", "nan", "7"])


@st.composite
def lookup_loads(draw: st.DrawFn) -> tuple[FeatureSet, dict[str, Any], dict[str, Any], int]:
    """Several maps of the user asked for several keys of the item: (features, request, candidates, N)."""
    maps, keys = draw(st.integers(3, 5)), draw(st.integers(1, 3))
    entries = []
    for m in range(maps):
        for k in range(keys):
            lookup = {"feature_type": "lookup_feature", "feature_name": f"x{m}_{k}", "map": f"user:m{m}"}
            lookup |= {"key": f"item:k{k}", "combiner": draw(st.sampled_from(COMBINERS))}
            if draw(st.booleans()):
                lookup |= {"boundaries": [0.0, 1.0, 2.0], "embedding_dim": 2}
            else:
                lookup |= {"default_value": draw(st.sampled_from(["0", "-1"]))}
            entries.append(lookup)
    cell = st.lists(st.tuples(st.sampled_from(KEYS), NUMBERS), max_size=7)
    request = {f"m{m}": ["\x1d".join(f"{key}:{x}" for key, x in draw(cell))] for m in range(maps)}
    rows = draw(st.integers(0, 40))
    several = st.lists(st.sampled_from([*KEYS, "other", ""]), max_size=3).map("\x1d".join)
    one = st.sampled_from([*KEYS, "other"])
    cells = st.lists(draw(st.sampled_from([one, several])), min_size=rows, max_size=rows)
    candidates = {f"k{k}": draw(cells) for k in range(keys)}
    return FeatureSet.from_fg_json({"features": entries}), request, candidates, rows


@settings(max_examples=80, deadline=None)
@given(lookup_loads())
def test_a_group_of_lookups_gives_what_they_give_alone(
    load: tuple[FeatureSet, dict[str, Any], dict[str, Any], int],
) -> None:
    features, request, candidates, rows = load
    fast, slow = (
        features.compile(reference=is_slow).run_grouped(request, candidates, offsets=[0, rows]) for is_slow in (0, 1)
    )
    assert fast.keys() == slow.keys()
    for name, expected in slow.items():
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(fast[name], expected)
        else:
            assert fast[name].values.tolist() == expected.values.tolist()
            assert fast[name].lengths.tolist() == expected.lengths.tolist()


def test_lookups_of_many_maps_by_keys_of_the_item_are_one_group() -> None:
    lookup = {"feature_type": "lookup_feature", "key": "item:k", "combiner": "sum"}
    entries = [lookup | {"feature_name": f"x{m}", "map": f"user:m{m}"} for m in range(4)]
    graph = FeatureSet.from_fg_json({"features": entries}).graph
    numbers = range(len(graph.ops))
    before, group, after = group_lookups(graph, numbers, fused_pairs(graph, numbers, ()))
    assert group is not None
    assert len(group.members) == 4
    made = {*group.members, *group.members.values()}
    assert sorted({*before, *made, *after}) == list(numbers)
    assert not made & {*before, *after}
    few = FeatureSet.from_fg_json({"features": entries[:2]}).graph
    assert group_lookups(few, range(len(few.ops)), {}) == (list(range(len(few.ops))), None, [])
    turned = [entry | {"map": f"item:m{m}", "key": "user:k"} for m, entry in enumerate(entries)]
    items = FeatureSet.from_fg_json({"features": turned}).graph
    assert group_lookups(items, range(len(items.ops)), {})[1] is None


def test_several_keys_of_a_candidate_are_combined_in_a_group() -> None:
    entries = [
        {"feature_type": "lookup_feature", "feature_name": name, "map": f"user:{name}", "key": "item:k"}
        | {"combiner": name, "default_value": "-1"}
        for name in COMBINERS
    ]
    plan = FeatureSet.from_fg_json({"features": entries}).compile()
    maps = {name: ["a:1\x1db:4\x1dc:nan"] for name in COMBINERS}
    out = plan.run_grouped(maps, {"k": ["a\x1db", "b", "c\x1dd", "b\x1dc\x1da"] * 8}, offsets=[0, 32])
    found = {name: out[name].reshape(-1)[:4].tolist() for name in COMBINERS}
    assert found["sum"] == [5.0, 4.0, -1.0, 5.0]
    assert found["mean"] == [2.5, 4.0, -1.0, 2.5]
    assert found["min"] == [1.0, 4.0, -1.0, 1.0]
    assert found["max"] == [4.0, 4.0, -1.0, 4.0]
    assert found["count"] == [2.0, 1.0, -1.0, 2.0]
