"""Rates: what of each feature runs at which rate."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.features import ops
from recserve.features.feature_set import FeatureSet
from recserve.features.outputs import OutputKind
from recserve.rates import Rate


def lowered(*entries: dict[str, Any], **options: Any) -> FeatureSet:
    return FeatureSet.from_fg_json({"features": list(entries)}, **options)


def rates(features: FeatureSet, kind: type[ops.Op]) -> set[Rate]:
    graph = features.graph
    return {value.rate for op, value in zip(graph.ops, graph.values, strict=True) if isinstance(op, kind)}


LOOKUP = {"feature_type": "lookup_feature", "feature_name": "f", "map": "user:m", "key": "item:k"}


def test_of_a_lookup_only_the_probe_and_what_follows_run_for_each_candidate() -> None:
    features = lowered({**LOOKUP, "hash_bucket_size": 10})
    assert rates(features, ops.BuildMap) == {Rate.REQUEST}
    assert rates(features, ops.HashIds) == {Rate.REQUEST, Rate.ITEM}
    kinds = {type(features.graph.ops[i]) for i in features.graph.of_rate(Rate.CANDIDATE)}
    assert kinds == {ops.LookupIds, ops.FillIds}


def test_of_a_match_only_the_probe_and_what_follows_run_for_each_candidate() -> None:
    match = {"feature_type": "match_feature", "feature_name": "f", "nested_map": "user:m", "pkey": "item:p"}
    features = lowered({**match, "skey": "item:s", "boundaries": [1.0]})
    kinds = {type(features.graph.ops[i]) for i in features.graph.of_rate(Rate.CANDIDATE)}
    assert kinds == {ops.LookupNumbers, ops.Bucketize, ops.FillIds}


@pytest.mark.parametrize(
    ("side", "rate"),
    [("user", "request"), ("context", "request"), ("item", "item"), ("candidate", "candidate")],
)
def test_a_feature_of_one_side_has_the_rate_of_the_side(side: str, rate: str) -> None:
    entry = {"feature_type": "raw_feature", "feature_name": "f", "expression": f"{side}:x"}
    assert lowered(entry).describe()["f"]["rate"] == rate


def test_members_of_a_group_are_state_of_the_user_whatever_their_side() -> None:
    member = {"feature_type": "id_feature", "feature_name": "f", "expression": "item:x"}
    scalar = {**LOOKUP, "feature_name": "g", "map": "item:m", "sequence_fields": ["k"]}
    described = lowered({"sequence_name": "s", "features": [member, scalar]}).describe()
    assert described["s__f"]["rate"] == "request"
    assert described["s__g"]["rate"] == "candidate"


def test_a_plain_sequence_keeps_its_own_side() -> None:
    entry = {"feature_type": "sequence_id_feature", "feature_name": "f", "expression": "item:x"}
    assert lowered(entry).describe()["f"]["rate"] == "item"


def test_outputs_tell_the_network_their_shape_and_table() -> None:
    features = lowered(
        {"feature_type": "raw_feature", "feature_name": "a", "expression": "user:x", "value_dim": 3},
        {
            "feature_type": "id_feature",
            "feature_name": "b",
            "expression": "item:x",
            "num_buckets": 9,
            "embedding_dim": 4,
        },
        {
            "sequence_name": "s",
            "sequence_length": 7,
            "features": [{"feature_type": "id_feature", "feature_name": "c", "expression": "item:x", "weighted": True}],
        },
        {"feature_type": "sequence_raw_feature", "feature_name": "d", "expression": "user:x", "sequence_length": 0},
    )
    a, b, c, d = features.outputs
    assert (a.kind, a.dim, a.table, a.rows, a.sequence) == (OutputKind.DENSE, 3, None, None, None)
    assert (b.kind, b.dim, b.table, b.rows, b.rate) == (OutputKind.SPARSE, 4, "b_emb", 9, Rate.ITEM)
    assert (c.kind, c.sequence, c.max_steps, c.is_weighted, c.rows) == (OutputKind.SPARSE_SEQUENCE, "s", 7, True, None)
    assert (d.kind, d.dim, d.sequence, d.max_steps) == (OutputKind.DENSE_SEQUENCE, 1, "d", None)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"hash_bucket_size": 7}, 7),
        ({"vocab_list": ["a", "b"]}, 4),
        ({"vocab_list": ["a", "b"], "default_bucketize_value": 0}, 2),
        ({"vocab_dict": {"a": 5}}, 6),
        ({"vocab_dict": {"a": 0}}, 2),
        ({"zch": {"zch_size": 11}}, 11),
        ({"dynamicemb": {"max_capacity": 12}}, 12),
        ({}, None),
    ],
)
def test_a_table_has_room_for_all_ids(options: dict[str, Any], rows: int | None) -> None:
    entry = {"feature_type": "id_feature", "feature_name": "f", "expression": "item:x", **options}
    assert lowered(entry).describe()["f"]["num_embeddings"] == rows


def test_stubs_are_no_columns_of_bucketize_mode() -> None:
    stub = {"feature_type": "id_feature", "feature_name": "g", "expression": "item:x", "stub_type": True}
    combo = {"feature_type": "combo_feature", "feature_name": "f", "expression": ["feature:g", "item:y"]}
    assert lowered(stub, combo, mode="bucketize").input_columns == ["f"]
    assert lowered(stub, combo).input_columns == ["x", "y"]
