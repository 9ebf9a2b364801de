from __future__ import annotations

import copy
from typing import Any

import pytest

from recserve.errors import DataError
from recserve.features.feature_set import FeatureSet
from recserve.rates import Rate
from recserve.staging.feature_costs import measure_costs

CONFIG: dict[str, Any] = {
    "features": [
        {"feature_name": "price", "feature_type": "raw_feature", "expression": "item:price"},
        {"feature_name": "level", "feature_type": "raw_feature", "expression": "item:price", "boundaries": [1, 2]}
        | {"embedding_dim": 3},
        {"feature_name": "gap", "feature_type": "expr_feature", "expression": "price - budget"}
        | {"variables": ["item:price", "user:budget"]},
        {"feature_name": "mix", "feature_type": "combo_feature", "expression": ["user:id", "item:kind"]}
        | {"hash_bucket_size": 9},
        {"feature_name": "both", "feature_type": "combo_feature", "expression": ["user:id", "item:kind"]}
        | {"hash_bucket_size": 99},
        {"feature_name": "user", "feature_type": "id_feature", "expression": "user:id", "hash_bucket_size": 9},
    ]
}
COLUMNS = {"price": ["1", "2"], "budget": [1.0], "kind": ["ab\x1dc", ""], "id": ["u"]}


def test_shares_of_features_add_up_to_the_totals() -> None:
    graph = FeatureSet.from_fg_json(copy.deepcopy(CONFIG)).graph
    costs = measure_costs(graph)
    assert [feature.name for feature in costs.features] == [output.spec.name for output in graph.outputs]
    for rate in Rate:
        shares = sum(feature.nanoseconds[rate] for feature in costs.features)
        assert shares == pytest.approx(costs.nanoseconds(rate))
    assert all(op.features for op in costs.ops)
    assert costs.nanoseconds(Rate.CANDIDATE) > 0


def test_ops_that_several_features_need_are_marked() -> None:
    costs = measure_costs(FeatureSet.from_fg_json(copy.deepcopy(CONFIG)).graph)
    by_name = {feature.name: feature for feature in costs.features}
    (parse,) = set(by_name["price"].ops) & set(by_name["level"].ops) & set(by_name["gap"].ops)
    assert costs.ops[parse].features == ("price", "level", "gap")
    assert by_name["price"].shared == (parse,)
    assert by_name["gap"].columns == ("item:price", "user:budget")


def test_bytes_per_item_follow_what_crosses() -> None:
    graph = FeatureSet.from_fg_json(copy.deepcopy(CONFIG)).graph
    costs = measure_costs(graph, COLUMNS, 2)
    kept = {feature.name: feature.item_bytes for feature in costs.features}
    assert (kept["price"], kept["level"], kept["user"]) == (4.0, 12.0, 0.0)
    assert kept["gap"] == 16 + 8.0  # a number a row
    # Two tokens of three bytes in one of two rows, and a range; shared by two features.
    assert kept["mix"] == kept["both"] == (16 + (2 * 8 + 3) / 2) / 2
    assert costs.item_bytes == sum(size or 0 for size in kept.values())


def test_item_side_sequences_have_no_known_size() -> None:
    feature = {"feature_name": "s", "feature_type": "sequence_id_feature", "expression": "item:s", "num_buckets": 5}
    (cost,) = measure_costs(FeatureSet.from_fg_json({"features": [feature]}).graph).features
    assert cost.item_bytes is None


def test_bad_columns_are_told() -> None:
    graph = FeatureSet.from_fg_json(copy.deepcopy(CONFIG)).graph
    with pytest.raises(DataError, match="there is no column 'kind'"):
        measure_costs(graph, {name: cells for name, cells in COLUMNS.items() if name != "kind"}, 2)
