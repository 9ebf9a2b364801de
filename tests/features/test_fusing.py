"""Fused pairs give what their two ops give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve import FeatureSet
from recserve.features import ops
from recserve.features.fusing import fused_pairs

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
