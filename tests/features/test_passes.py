from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.columns import Ragged
from recserve.features import ops, passes
from recserve.features.feature_set import FeatureSet
from recserve.features.graph import PlanGraph
from recserve.features.lower import lower
from recserve.features.plan import Plan
from recserve.features.verify import verify

ENTRIES: list[dict[str, Any]] = [
    {"feature_type": "id_feature", "feature_name": "a", "expression": "item:k", "hash_bucket_size": 50},
    {"feature_type": "id_feature", "feature_name": "b", "expression": "item:k", "vocab_list": ["x"], "value_dim": 1},
    {"feature_type": "lookup_feature", "feature_name": "c", "map": "user:m", "key": "item:k", "combiner": "mean"},
    {"feature_type": "lookup_feature", "feature_name": "d", "map": "user:m", "key": "item:k", "boundaries": [1.0]},
    {"feature_type": "combo_feature", "feature_name": "e", "expression": ["item:k", "feature:b"], "value_dim": 1},
    {"feature_type": "expr_feature", "feature_name": "f", "expression": "c*2", "variables": ["feature:c"]},
    {"feature_type": "raw_feature", "feature_name": "g", "expression": "user:unused", "stub_type": True},
    {
        "sequence_name": "s",
        "sequence_length": 2,
        "features": [
            {"feature_type": "id_feature", "feature_name": "h", "expression": "item:k", "value_dim": 0},
            {"feature_type": "lookup_feature", "feature_name": "i", "map": "user:m", "key": "item:k"},
        ],
    },
]
FEATURES = FeatureSet.from_fg_json({"features": ENTRIES})
RAW_GRAPH = lower(FEATURES.features)


def plain(out: dict[str, Any]) -> dict[str, Any]:
    def arrays(value: Any) -> Any:
        if isinstance(value, Ragged):
            return {name: arrays(part) for name, part in vars(value).items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    return {name: arrays(value) for name, value in out.items()}


def run(graph: PlanGraph, columns: dict[str, Any]) -> dict[str, Any]:
    return plain(Plan(graph, reference=True).run(columns))


CELLS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=3).map("\x1d".join) | st.none()
MAPS = st.dictionaries(st.sampled_from(["x", "y", "w"]), st.integers(0, 3), max_size=3)
SEQUENCES = st.lists(st.sampled_from(["x", "y\x1dx", ""]), max_size=4).map(";".join)


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(CELLS, MAPS, SEQUENCES), min_size=1, max_size=4))
def test_each_pass_keeps_what_the_outputs_mean(rows: list[Any]) -> None:
    keys, maps, sequences = (list(column) for column in zip(*rows, strict=True))
    columns = {"k": keys, "m": maps, "s__k": sequences, "unused": [1] * len(rows)}
    graph = RAW_GRAPH
    expected = run(graph, columns)
    for rewrite in passes.PASSES:
        graph = rewrite(graph)
        assert run(graph, columns) == expected, rewrite.__name__


def test_features_that_read_one_column_share_its_parse_its_hash_and_its_map() -> None:
    found = [type(op) for op in FEATURES.graph.ops]
    keys = [op for op in FEATURES.graph.ops if isinstance(op, ops.ParseTokens) and op.column == "k"]
    assert len(keys) == 1
    assert found.count(ops.BuildMap) == 1
    assert found.count(ops.PairNumbers) == 1


def test_what_no_output_needs_is_dropped() -> None:
    assert "unused" not in FEATURES.input_columns
    assert all(getattr(op, "column", "") != "unused" for op in FEATURES.graph.ops)


def test_a_copy_of_a_copy_is_forwarded() -> None:
    entry = {"feature_type": "combo_feature", "feature_name": "f", "expression": ["item:a", "item:b"], "value_dim": 1}
    graph = FeatureSet.from_fg_json({"features": [entry]}).graph
    assert not any(isinstance(op, ops.FillTokens) for op in graph.ops)


def test_passes_settle() -> None:
    graph = FEATURES.graph
    for rewrite in passes.PASSES:
        assert rewrite(graph) == graph, rewrite.__name__


@pytest.mark.parametrize("rewrite", passes.PASSES, ids=lambda rewrite: rewrite.__name__)
def test_passes_keep_the_rules_of_a_plan(rewrite: Any) -> None:
    verify(rewrite(RAW_GRAPH))
