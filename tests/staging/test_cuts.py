from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from onnx import TensorProto, helper

from recserve.errors import ConfigError, InvariantError
from recserve.features import ops
from recserve.features.feature_set import FeatureSet
from recserve.network.model import Network, TensorSpec
from recserve.network.split import split_network
from recserve.rates import Rate
from recserve.staging.cuts import Cuts, decide_cuts, input_rates, match_inputs

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
HASH = {"hash_bucket_size": 9, "embedding_dim": 4}
Shapes = dict[str, list[int | str]]


def features_of(*entries: dict[str, Any]) -> FeatureSet:
    return FeatureSet.from_fg_json({"features": list(entries)})


def raw(name: str, source: str, **options: Any) -> dict[str, Any]:
    return {"feature_name": name, "feature_type": "raw_feature", "expression": source} | options


def sparse(name: str, source: str, **options: Any) -> dict[str, Any]:
    return {"feature_name": name, "feature_type": "id_feature", "expression": source} | HASH | options


def network(shapes: Shapes, dtypes: dict[str, int] | None = None) -> Network:
    """A network that adds up all that it reads."""
    inputs = [
        helper.make_tensor_value_info(name, (dtypes or {}).get(name, FLOAT), dims) for name, dims in shapes.items()
    ]
    nodes = []
    for name, dims in shapes.items():
        nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=FLOAT))
        if len(dims) > 1:
            nodes.append(
                helper.make_node("ReduceSum", [f"{name}_float", f"axes{len(dims)}"], [f"{name}_sum"], keepdims=0)
            )
        else:
            nodes.append(helper.make_node("Identity", [f"{name}_float"], [f"{name}_sum"]))
    nodes.append(helper.make_node("Sum", [f"{name}_sum" for name in shapes], ["ctr"]))
    axes = [helper.make_tensor("axes2", INT64, [1], [1]), helper.make_tensor("axes3", INT64, [2], [1, 2])]
    graph = helper.make_graph(nodes, "sums", inputs, [helper.make_tensor_value_info("ctr", FLOAT, ["N"])], axes)
    return Network(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "sums")


def cut(features: FeatureSet, shapes: Shapes) -> Cuts:
    flat = network(shapes, {name: INT64 for name in shapes if name.endswith(".lengths")})
    inputs = match_inputs(features.graph, flat)
    return decide_cuts(features.graph, inputs, split_network(flat, input_rates(inputs)))


def kinds(features: FeatureSet, cuts: Cuts, rate: Rate) -> list[str]:
    return [type(features.graph.ops[i]).__name__ for i in cuts.ops[rate]]


def refuse(features: FeatureSet, shapes: Shapes, dtypes: dict[str, int] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        match_inputs(features.graph, network(shapes, dtypes))
    return caught.value


def test_one_sided_features_run_at_the_rate_of_their_side() -> None:
    features = features_of(raw("age", "user:age"), raw("price", "item:price"), raw("place", "candidate:place"))
    cuts = cut(features, {"age": ["N", 1], "price": ["N", 1], "place": ["N", 1]})
    assert {entry.name: entry.rate for entry in cuts.inputs} == {
        "age": Rate.REQUEST,
        "price": Rate.ITEM,
        "place": Rate.CANDIDATE,
    }
    for rate, column in ((Rate.REQUEST, "age"), (Rate.ITEM, "price"), (Rate.CANDIDATE, "place")):
        assert [features.graph.ops[i].column for i in cuts.ops[rate] if hasattr(features.graph.ops[i], "column")] == [
            column
        ]
        assert [entry.rate for entry in cuts.inputs_of(rate)] == [rate]
    assert cuts.ragged == ()
    assert cuts.shared == ()
    assert [column.shape for column in cuts.fixed] == [()]
    assert [column.width for column in cuts.fixed] == [1]


def test_a_combo_parses_on_each_side_and_joins_per_candidate() -> None:
    features = features_of(
        {"feature_name": "pair", "feature_type": "combo_feature", "expression": ["user:a", "item:b"]} | HASH
    )
    cuts = cut(features, {"pair": ["N", 4]})
    graph = features.graph
    assert "ParseTokens" in kinds(features, cuts, Rate.ITEM)
    assert "ParseTokens" in kinds(features, cuts, Rate.REQUEST)
    assert {"JoinTokens", "HashIds"} <= set(kinds(features, cuts, Rate.CANDIDATE))
    assert "ParseTokens" not in kinds(features, cuts, Rate.CANDIDATE)
    assert [(column.kind, graph.values[column.value].rate) for column in cuts.ragged] == [("tokens", Rate.ITEM)]
    assert [column.name for column in cuts.ragged] == [f"value_{cuts.ragged[0].value}"]
    assert [graph.values[value].rate for value in cuts.shared] == [Rate.REQUEST]


def test_a_lookup_builds_its_map_once_and_hashes_its_key_per_item() -> None:
    features = features_of(
        {"feature_name": "clicks", "feature_type": "lookup_feature", "map": "user:m", "key": "item:k"}
    )
    cuts = cut(features, {"clicks": ["N", 1]})
    assert "BuildMap" in kinds(features, cuts, Rate.REQUEST)
    assert "HashIds" in kinds(features, cuts, Rate.ITEM)
    assert "LookupNumbers" in kinds(features, cuts, Rate.CANDIDATE)
    assert not {"BuildMap", "HashIds", "PairKeys"} & set(kinds(features, cuts, Rate.CANDIDATE))
    assert [column.kind for column in cuts.ragged] == ["ids"]


def test_a_map_of_the_item_is_built_again_per_candidate_from_what_a_payload_holds() -> None:
    features = features_of(
        {"feature_name": "clicks", "feature_type": "lookup_feature", "map": "item:m", "key": "user:k"}
    )
    cuts = cut(features, {"clicks": ["N", 1]})
    assert {"BuildMap", "LookupNumbers"} <= set(kinds(features, cuts, Rate.CANDIDATE))
    assert "BuildMap" not in kinds(features, cuts, Rate.ITEM)
    assert sorted(column.kind for column in cuts.ragged) == ["ids", "numbers"]
    assert [type(features.graph.ops[value]) for value in cuts.shared] == [ops.HashIds]


def test_a_dense_row_of_the_item_is_made_again_per_candidate() -> None:
    features = features_of(
        raw("price", "item:price"),
        {"feature_name": "gap", "feature_type": "expr_feature", "expression": "price - age"}
        | {"variables": ["feature:price", "user:age"]},
    )
    cuts = cut(features, {"gap": ["N", 1], "price": ["N", 1]})
    assert "ToDense" in kinds(features, cuts, Rate.ITEM)
    assert [column.kind for column in cuts.ragged] == ["numbers"]
    assert "Evaluate" in kinds(features, cuts, Rate.CANDIDATE)


def test_weighted_ids_are_stored_with_their_weights() -> None:
    features = features_of(
        sparse("tags", "item:tags", weighted=True),
        {"feature_name": "pair", "feature_type": "combo_feature", "expression": ["user:a", "item:b"]} | HASH,
    )
    cuts = cut(features, {"pair": ["N", 4], "tags": ["N", 4]})
    assert [column.kind for column in cuts.ragged] == ["tokens"]
    assert [column.shape for column in cuts.fixed] == [()]


def test_a_sequence_has_its_lengths_at_its_own_rate() -> None:
    group = {
        "sequence_name": "clicks",
        "features": [
            sparse("item", "user:item"),
            {"feature_name": "pair", "feature_type": "combo_feature", "expression": ["user:item", "item:b"]}
            | {"sequence_fields": ["item"]}
            | HASH,
        ],
    }
    features = features_of(group, raw("price", "item:price"))
    cuts = cut(
        features,
        {
            "clicks__item": ["N", "L", 4],
            "clicks__pair": ["N", "L", 4],
            "clicks.lengths": ["N"],
            "price": ["N", 1],
        },
    )
    by_name = {entry.name: entry for entry in cuts.inputs}
    assert by_name["clicks.lengths"].output is None
    assert by_name["clicks.lengths"].rate is Rate.REQUEST
    assert by_name["clicks__item"].rate is Rate.REQUEST
    assert by_name["clicks__pair"].rate is Rate.CANDIDATE
    assert {by_name[name].sequence for name in ("clicks__item", "clicks__pair", "clicks.lengths")} == {"clicks"}
    steps = by_name["clicks.lengths"].steps
    assert steps in cuts.shared
    assert steps in cuts.ops[Rate.REQUEST]


def test_what_the_network_does_not_read_is_not_computed() -> None:
    features = features_of(raw("age", "user:age"), raw("price", "item:price"))
    cuts = cut(features, {"price": ["N", 1]})
    assert cuts.unused_features == ("age",)
    assert cuts.ops[Rate.REQUEST] == ()


def test_an_unknown_input_is_named_with_what_it_may_have_meant() -> None:
    features = features_of(raw("price", "item:price"), sparse("category", "item:category"))
    error = refuse(features, {"pric": ["N", 1]})
    assert str(error) == "network: input 'pric' is not a feature. Did you mean 'price'?"
    assert error.code == "unknown_input"
    assert str(refuse(features, {"xyz": ["N", 1]})).endswith("Features: price, category")
    assert "input 'price.lengths' is not a feature" in str(refuse(features, {"price.lengths": ["N"]}))


def test_other_shapes_and_types_are_refused() -> None:
    features = features_of(
        sparse("category", "item:category"),
        sparse("steps", "user:steps") | {"feature_type": "sequence_id_feature", "sequence_length": 3},
    )
    wrong = refuse(features, {"category": ["N", 5]})
    assert wrong.code == "input_shape"
    assert str(wrong) == (
        "network: input 'category' has the shape ['N', 5], but the feature is [N, 4]. "
        "Export the network with the dimensions of features.json"
    )
    assert "the feature is [N, L, 4]" in str(refuse(features, {"steps": ["N", 4]}))
    assert "the feature is [N, 4]" in str(refuse(features, {"category": ["N", "L", 4]}))
    wrong = refuse(features, {"category": ["N", 4]}, {"category": INT64})
    assert str(wrong) == "network: input 'category' is int64, but the feature is float32"
    assert wrong.code == "input_dtype"


def test_lengths_are_integers_with_one_axis() -> None:
    features = features_of(
        sparse("steps", "user:steps") | {"feature_type": "sequence_id_feature", "sequence_length": 3}
    )
    wrong = refuse(features, {"steps": ["N", "L", 4], "steps.lengths": ["N"]})
    assert str(wrong) == "network: input 'steps.lengths' is float32, but the lengths of a sequence are int64"
    wrong = refuse(features, {"steps": ["N", "L", 4], "steps.lengths": ["N", 1]}, {"steps.lengths": INT64})
    assert str(wrong) == "network: input 'steps.lengths' has the shape ['N', 1], but the lengths of a sequence are [N]"


ITEM_KEYS = {"feature_name": "hits", "feature_type": "sequence_lookup_feature", "sequence_length": 3} | {
    "map": "user:m",
    "key": "item:keys",
    "sequence_fields": ["keys"],
}


def test_an_item_sequence_cannot_meet_the_user() -> None:
    with pytest.raises(ConfigError) as caught:
        cut(features_of(ITEM_KEYS, raw("price", "item:price")), {"hits": ["N", "L", 1], "price": ["N", 1]})
    assert caught.value.code == "item_sequence_at_candidate_rate"
    assert str(caught.value) == (
        "feature 'hits': combines an item-side sequence with columns of the user or the candidate. "
        "Declare the sequence on the user side, or make the item side a multi-value feature"
    )


def item_sequence() -> FeatureSet:
    steps = sparse("photos", "item:photos") | {"feature_type": "sequence_id_feature", "sequence_length": 3}
    return features_of(steps, sparse("user", "user:user"))


def test_an_item_sequence_that_is_pooled_per_item_crosses_as_one_row() -> None:
    cuts = cut(item_sequence(), {"photos": ["N", "L", 4], "user": ["N", 4]})
    assert [column.shape for column in cuts.fixed] == [()]


def test_an_item_sequence_that_meets_the_user_step_by_step_is_refused() -> None:
    features = item_sequence()
    shapes: Shapes = {"photos": ["N", "L", 4], "user": ["N", 4]}
    inputs = [helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in shapes.items()]
    nodes = [
        helper.make_node("Unsqueeze", ["user", "one"], ["row"]),
        helper.make_node("Mul", ["photos", "row"], ["product"]),
        helper.make_node("Relu", ["product"], ["relu"]),
        helper.make_node("ReduceSum", ["relu", "both"], ["ctr"], keepdims=0),
    ]
    axes = [helper.make_tensor("one", INT64, [1], [1]), helper.make_tensor("both", INT64, [2], [1, 2])]
    graph = helper.make_graph(nodes, "steps", inputs, [helper.make_tensor_value_info("ctr", FLOAT, ["N"])], axes)
    flat = Network(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "steps")
    found = match_inputs(features.graph, flat)
    with pytest.raises(ConfigError) as caught:
        decide_cuts(features.graph, found, split_network(flat, input_rates(found)))
    assert str(caught.value).endswith(
        "has an axis of unknown size and is needed together with the user or the context, so it cannot be stored per "
        "item. Export the network with a fixed size for that axis (padded item sequences), or pool it on the item side"
    )


def test_a_split_that_would_store_ragged_rows_is_our_bug() -> None:
    features = features_of(raw("price", "item:price"))
    flat = network({"price": ["N", 1]})
    found = match_inputs(features.graph, flat)
    split = split_network(flat, input_rates(found))
    (name,) = split.crossings
    ragged = dataclasses.replace(split.candidate, inputs={name: TensorSpec(name, "float32", ("N", "L"))})
    with pytest.raises(InvariantError, match=rf"^network: tensor '{name}' crosses per item with the shape \['L'\]$"):
        decide_cuts(features.graph, found, dataclasses.replace(split, candidate=ragged))
