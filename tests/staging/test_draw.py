from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.features.feature_set import FeatureSet
from recserve.staging.draw import column_sides, draw_columns, sample_columns

VOCABULARY = {"vocab_list": ["red", "green"], "default_value": "red"}
HASH = {"hash_bucket_size": 9}
FEATURES: dict[str, dict[str, Any]] = {
    "hashed": {"feature_type": "id_feature", "expression": "user:a", **HASH},
    "integers": {"feature_type": "id_feature", "expression": "user:a", "num_buckets": 7, "default_value": "0"},
    "words": {"feature_type": "id_feature", "expression": "item:a", **VOCABULARY},
    "weights": {"feature_type": "id_feature", "expression": "item:a", "weighted": True, **HASH},
    "number": {"feature_type": "raw_feature", "expression": "context:a"},
    "vector": {"feature_type": "raw_feature", "expression": "context:a", "value_dim": 3, "separator": ","},
    "buckets": {"feature_type": "raw_feature", "expression": "item:a", "boundaries": [1, 2]},
    "scaled": {"feature_type": "raw_feature", "expression": "item:a", "normalizer": "method=log10"},
    "combo": {"feature_type": "combo_feature", "expression": ["user:a", "item:b"], **HASH},
    "lookup": {"feature_type": "lookup_feature", "map": "user:a", "key": "item:b"},
    "level": {"feature_type": "lookup_feature", "map": "user:a", "key": "item:b", "need_discrete": True, **HASH},
    "gap": {"feature_type": "expr_feature", "expression": "a - b", "variables": ["user:a", "item:b"]},
    "log": {"feature_type": "expr_feature", "expression": "log(a)", "variables": ["candidate:a"]},
    "steps": {"feature_type": "sequence_id_feature", "expression": "user:a", "sequence_length": 4, **HASH},
    "ages": {"feature_type": "sequence_raw_feature", "expression": "user:a", "sequence_length": 4},
    "step_words": {"feature_type": "sequence_id_feature", "expression": "user:a", "sequence_length": 4, **VOCABULARY},
}
IDS = ("hash_bucket_size", "num_buckets", "vocab_list", "boundaries")


def feature_set(*names: str) -> FeatureSet:
    entries = []
    for name in names:
        entry = FEATURES[name] | {"feature_name": name}
        entries.append(entry | ({"embedding_dim": 4} if any(option in entry for option in IDS) else {}))
    return FeatureSet.from_fg_json({"features": entries})


@pytest.mark.parametrize("name", FEATURES)
def test_drawn_columns_can_be_read(name: str) -> None:
    features = feature_set(name)
    plan = features.compile()
    for seed in range(8):
        rows = {"user": 5, "item": 5, "context": 5, "candidate": 5}
        columns = draw_columns(features.graph, rows, np.random.default_rng(seed))
        assert len(plan.run(columns)[name]) == 5


def test_columns_of_a_group_have_equal_steps() -> None:
    members = [
        {"feature_name": name, "feature_type": "id_feature", "expression": f"user:{name}", "embedding_dim": 4, **HASH}
        for name in ("item", "shop")
    ]
    features = FeatureSet.from_fg_json({"features": [{"sequence_name": "clicks", "features": members}]})
    columns = draw_columns(features.graph, {"user": 20}, np.random.default_rng(0))
    assert list(columns) == ["clicks__item", "clicks__shop"]
    counts = [[cell.count(";") for cell in cells] for cells in columns.values()]
    assert counts[0] == counts[1]
    assert len(set(counts[0])) > 3


def test_sides_give_the_rows_and_some_cells_are_missing() -> None:
    graph = feature_set("combo").graph
    assert column_sides(graph) == {"a": "user", "b": "item"}
    columns = draw_columns(graph, {"item": 200}, np.random.default_rng(0))
    assert len(columns["a"]) == 1
    assert 5 < columns["b"].count(None) < 60


def test_words_of_a_vocabulary_are_drawn() -> None:
    columns = draw_columns(feature_set("words").graph, {"item": 100}, np.random.default_rng(0))
    words = {word for cell in columns["a"] if cell is not None for word in cell.split("\x1d")}
    assert {"red", "green"} < words


@given(st.integers(0, 2**32))
def test_a_seed_draws_the_same_again(seed: int) -> None:
    graph = feature_set("combo").graph
    rows = {"user": 3, "item": 4}
    first, second = (draw_columns(graph, rows, np.random.default_rng(seed)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("container", [list, np.array, pa.array, lambda cells: pa.chunked_array([cells])])
def test_samples_give_whole_rows_to_the_user_and_any_to_items(container: Any) -> None:
    features = feature_set("combo", "gap")
    graph = features.graph
    samples = {"a": container([str(n) for n in range(50)]), "b": container([str(n + 100) for n in range(50)])}
    columns = sample_columns(graph, samples, {"item": 9}, np.random.default_rng(2))
    assert len(columns["a"]) == 1
    assert 0 <= int(columns["a"][0]) < 50
    assert len(set(columns["b"])) > 3
    assert all(100 <= int(cell) < 150 for cell in columns["b"])


def test_columns_that_the_samples_lack_are_drawn() -> None:
    graph = feature_set("combo").graph
    columns = sample_columns(graph, {"b": ["x"]}, {"item": 3}, np.random.default_rng(0))
    assert columns["b"] == ["x"] * 3
    assert columns["a"] == draw_columns(graph, {"item": 3}, np.random.default_rng(0))["a"]
    assert sample_columns(graph, {"other": ["x"]}, {"item": 3}, np.random.default_rng(0)) == draw_columns(
        graph, {"item": 3}, np.random.default_rng(0)
    )
