"""Pipeline configs of TorchEasyRec and EasyRec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve import FeatureSet
from recserve.errors import ConfigError
from recserve.features.pipeline_config import read_config, read_pipeline_config, struct
from recserve.features.text_proto import parse

TORCH = """
train_input_path: "x"
data_config { batch_size: 8 fg_mode: FG_DAG label_fields: "clk" }
feature_configs { id_feature { feature_name: "user_id" expression: "user:uid" num_buckets: 10 embedding_dim: 4
                               vocab_list: [] } }
feature_configs { raw_feature { feature_name: "price" expression: "item:price" boundaries: [1, 2.5] embedding_dim: 4 } }
feature_configs { combo_feature { feature_name: "cross" expression: ["user:uid", "item:cate"] hash_bucket_size: 100
                                  zch { zch_size: 5 lfu {} } } }
feature_configs { lookup_feature { feature_name: "look" map: "user:m" key: "item:cate"
                                   vocab_dict { key: "a" value: 3 } vocab_dict { key: "b" value: 4 } } }
feature_configs { custom_feature { feature_name: "near" operator_name: "EditDistance" operator_lib_file: "x.so"
    operator_params { fields { key: "encoding" value { string_value: "utf-8" } } } expression: ["user:q", "item:t"] } }
feature_configs { sequence_feature { sequence_name: "click" sequence_length: 3 sequence_delim: ";" sequence_pk: "user:c"
    features { id_feature { feature_name: "cate" expression: "item:cate" num_buckets: 9 embedding_dim: 4 } } } }
feature_configs { sequence_id_feature { feature_name: "tail" expression: "user:tail" num_buckets: 9 } }
model_config { feature_groups { group_name: "deep" feature_names: "user_id" } }
"""


def test_torcheasyrec_features_are_those_of_its_fg_json() -> None:
    found = read_pipeline_config(TORCH.replace("zch { zch_size: 5 lfu {} }", ""))
    assert (found.mode, found.profile, found.encoded_separator) == ("raw", "pyfg", "\x03")
    features = FeatureSet.from_fg_json(found.document)
    assert [spec.name for spec in features.outputs] == [
        *("user_id", "price", "cross", "look", "near", "click__cate", "tail")
    ]
    entries = {entry.get("feature_name", "click"): entry for entry in found.document["features"]}
    assert entries["cross"]["expression"] == ["user:uid", "item:cate"]
    assert entries["look"]["vocab_dict"] == {"a": 3, "b": 4}
    assert entries["near"]["operator_params"] == {"encoding": "utf-8"}
    assert entries["click"]["sequence_pk"] == "user:c"
    out: Any = features.compile().run({"uid": [3], "price": [2.5], "cate": ["1"], "m": ["1:a"], "q": ["ab"], "t": ["b"],
                                  "click__cate": ["1;2;3;4"], "tail": ["5;6"]})  # fmt: skip
    assert out["click__cate"].values.tolist() == [1, 2, 3]
    assert (out["price"].values.tolist(), out["look"].values.tolist(), out["near"].tolist()) == ([2], [3], [[1.0]])


def test_contradictions_of_a_pipeline_config_are_refused_unless_reading_leniently(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.config"
    path.write_text(TORCH)
    with pytest.raises(ConfigError, match=r"pipeline.config: feature 'cross': .* contradict one another"):
        FeatureSet.load(path)
    features = FeatureSet.load(path, lenient=True)
    assert len(features.warnings) == 1
    assert features.describe()["cross"]["num_embeddings"] == 5


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        ("", "encoded"),
        ("data_config { fg_mode: FG_NONE }", "encoded"),
        ("data_config { fg_mode: FG_NORMAL }", "raw"),
        ("data_config { fg_mode: 4 }", "bucketize"),
        ("data_config { fg_encoded: false }", "raw"),
        ("data_config { fg_encoded: true }", "encoded"),
    ],
)
def test_the_mode_is_that_of_the_data(data: str, mode: str) -> None:
    assert read_pipeline_config(data + "feature_configs { id_feature { feature_name: 'a' } }").mode == mode


def test_the_separator_of_encoded_data_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.config"
    data = "data_config { fg_encoded_multival_sep: '|' }"
    path.write_text(data + "feature_configs { id_feature { feature_name: 'a' num_buckets: 9 } }")
    features = FeatureSet.load(path)
    out: Any = features.compile().run({"a": ["1|2"]})
    assert out["a"].values.tolist() == [1, 2]
    assert FeatureSet.load(path, mode="bucketize").mode == "bucketize"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1", "it has no features"),
        ("feature_config { }", "it has no features. EasyRec keeps them in"),
        ("feature_configs { id_feature { } raw_feature { } }", "an entry of feature_configs holds one feature"),
        ("feature_configs { id_feature: 3 }", "feature 'id_feature' is 3, not a message"),
        (
            "data_config { fg_mode: FG_DOG } feature_configs { id_feature { } }",
            "unknown fg_mode 'FG_DOG'. Did you mean",
        ),
        ("[1, 2", "it is not JSON"),
        ("a: %", "line 1: cannot read '%'"),
    ],
)
def test_what_is_no_config_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(text)
    assert problem in str(caught.value)


def test_a_struct_becomes_a_dict() -> None:
    text = """fields { key: "a" value { number_value: 1.5 } } fields { key: "b" value { list_value {
        values { bool_value: true } values { null_value: NULL_VALUE } values { struct_value { } } } } }"""
    assert struct(parse(text)) == {"a": 1.5, "b": [True, None, {}]}


EASY = """
data_config {
  input_fields { input_name: "uid" input_type: STRING }
  input_fields { input_name: "cate" input_type: INT64 }
  input_fields { input_name: "price" input_type: DOUBLE default_val: "20" }
}
feature_config {
  features { input_names: "uid" feature_type: IdFeature embedding_dim: 8 hash_bucket_size: 1000 separator: ","
             combiner: "mean" max_partitions: 4 shared_names: "friend[1-2]" embedding_name: "uid" }
  features { input_names: "cate" feature_type: IdFeature embedding_dim: 8 num_buckets: 50 }
  features { input_names: "price" feature_type: RawFeature min_val: 10 max_val: 30 }
  features { feature_name: "price_log" input_names: "price" feature_type: RawFeature normalizer_fn: "tf.math.log1p" }
  features { feature_name: "price_box" input_names: "price" feature_type: RawFeature min_val: 10 max_val: 30
             num_buckets: 4 embedding_dim: 8 hash_bucket_size: 9 }
  features { input_names: "tags" feature_type: TagFeature kv_separator: ":" hash_bucket_size: 10 embedding_dim: 8 }
  features { feature_name: "cross" input_names: ["uid", "cate"] feature_type: ComboFeature combo_join_sep: "_"
             hash_bucket_size: 10 embedding_dim: 8 }
  features { input_names: "hist" feature_type: SequenceFeature separator: "|" max_seq_len: 2 seq_multi_sep: ","
             num_buckets: 9 embedding_dim: 8 sequence_combiner { attention { } } }
  features { input_names: "gaps" feature_type: SequenceFeature sub_feature_type: RawFeature separator: "|"
             sequence_length: 4 boundaries: [5, 1] embedding_dim: 8 }
  features { feature_name: "older" input_names: ["cate", "price"] feature_type: ExprFeature expression: "cate > price" }
  features { input_names: "vec" feature_type: RawFeature raw_input_dim: 2 embedding_dim: 8 precision: 3 }
}
"""


def test_easyrec_features_follow_their_profile(tmp_path: Path) -> None:
    path = tmp_path / "easyrec.config"
    path.write_text(EASY)
    features = FeatureSet.load(path, sides={"uid": "user", "cate": "item"})
    assert features.profile == "easyrec-tf"
    described = features.describe()
    assert list(described) == [
        *("uid", "cate", "price", "price_log", "price_box", "tags", "cross", "hist", "gaps", "older", "vec"),
        *("friend1", "friend2"),
    ]
    assert (described["uid"]["rate"], described["cate"]["rate"], described["price"]["rate"]) == (
        *("request", "item", "candidate"),
    )
    assert features.warnings == (
        "feature 'price_box': hash_bucket_size has no effect on a RawFeature",
        "feature 'vec': floats become text in their shortest form, not with `precision` digits",
        "feature 'vec': its number is handed to the network, which multiplies it by a vector",
        "columns without a side count as `candidate:` columns: friend1, friend2, gaps, hist, price, tags, vec. "
        "Give `sides`",
    )
    missing: dict[str, Any] = {"uid": [None], "friend1": [None], "friend2": [None]}
    row = {"cate": [None], "price": [None], "tags": ["a:2|b:3"], "hist": ["1,2|3|4"], "gaps": ["0|1|9"], "vec": ["1|2"]}
    for reference in (True, False):
        out: Any = features.compile(reference=reference).run({**missing, **row})
        assert len(out["uid"].values) == 0
        assert out["cate"].values.tolist() == [0]
        np.testing.assert_allclose(out["price"], [[0.5]])
        np.testing.assert_allclose(out["price_log"], [[np.log(21.0)]], rtol=1e-6)
        assert out["price_box"].values.tolist() == [3]
        assert out["tags"].weights.tolist() == [2.0, 3.0]
        assert (out["hist"].values.tolist(), out["hist"].seq_lengths.tolist()) == ([1, 2, 3], [2])
        assert out["gaps"].values.tolist() == [0, 1, 2]
        assert out["vec"].tolist() == [[1.0, 2.0]]


def easyrec(*features: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    found = read_pipeline_config("feature_config {" + " ".join(f"features {{ {text} }}" for text in features) + "}")
    return found.document, found.notes


def test_old_easyrec_files_are_told_by_their_entries() -> None:
    found = read_pipeline_config("feature_configs { input_names: 'a' feature_type: IdFeature num_buckets: 3 }")
    assert found.profile == "easyrec-tf"
    assert found.document["features"][0]["expression"] == "candidate:a"


def test_embedding_variables_are_dynamic_ids() -> None:
    document, _ = easyrec(
        "input_names: 'a' feature_type: IdFeature hash_bucket_size: 10 ev_params { max_capacity: 7 }",
        "input_names: 'b' feature_type: IdFeature num_buckets: 10 ev_params { }",
    )
    assert document["features"][0]["dynamicemb"] == {"max_capacity": 7}
    assert document["features"][1]["num_buckets"] == (1 << 63) - 1


def test_a_model_may_keep_all_ids_in_embedding_variables() -> None:
    text = "feature_config { features { input_names: 'a' feature_type: IdFeature hash_bucket_size: 10 } }"
    found = read_pipeline_config(text + "model_config { ev_params { max_capacity: 7 } }")
    assert found.document["features"][0]["dynamicemb"] == {"max_capacity": 16777216}


def test_what_passes_through_keeps_its_type() -> None:
    fields = "data_config { input_fields { input_name: 'x' input_type: DOUBLE default_val: '2' } }"
    text = "feature_config { features { feature_name: 'p' input_names: ['x', 't'] feature_type: PassThroughFeature } }"
    features = FeatureSet.from_fg_json(read_pipeline_config(fields + text).document, profile="easyrec-tf")
    out: Any = features.compile().run({"x": [1.5, None], "t": ["a|b", "c"]})
    assert out["p"].tolist() == [[1.5], [2.0]]
    assert out["p_1"].values.tolist() == ["a|b", "c"]


def test_crosses_and_lookups_of_easyrec_are_read() -> None:
    text = """data_config { input_fields { input_name: "n" input_type: INT64 } }
    feature_config {
      features { feature_name: "c" input_names: ["t", "n"] feature_type: ComboFeature hash_bucket_size: 1000 }
      features { feature_name: "l" input_names: ["k", "m"] feature_type: LookupFeature hash_bucket_size: 10
                 separator: ";" kv_separator: ":" combiner: "mean" }
    }"""
    features = FeatureSet.from_fg_json(read_pipeline_config(text).document, profile="easyrec-tf")
    out: Any = features.compile().run({"t": ["a", None], "n": [None, 3], "k": ["x", "z"], "m": ["x:1;y:2;x:1"]})
    assert out["c"].lengths.tolist() == [1, 0]
    assert out["l"].lengths.tolist() == [2, 0]
    assert {spec.name: spec.pooling for spec in features.outputs} == {"c": "sum", "l": "mean"}


def test_sequences_of_numbers_are_normalised_only_with_buckets() -> None:
    text = "input_names: 'a' feature_type: SequenceFeature sub_feature_type: RawFeature min_val: 1 max_val: 3"
    document, notes = easyrec(text + " normalizer_fn: 'tf.sqrt'")
    assert not {"min_val", "normalizer"} & document["features"][0].keys()
    assert sum("has no effect on a SequenceFeature" in note for note in notes) == 3
    document, notes = easyrec(text + " num_buckets: 2")
    assert document["features"][0]["num_buckets"] == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("input_names: 'a' feature_type: 'BoostFeature'", "feature 'a': there is no counterpart of BoostFeature"),
        ("input_names: 'a' feature_type: LookupFeature", "feature 'a': a LookupFeature has 2 input_names, a key and"),
        (
            "input_names: ['k', 'm'] feature_type: LookupFeature kv_separator: ':'",
            "a LookupFeature needs hash_bucket_size",
        ),
        (
            "input_names: 'a' feature_type: TagFeature separator: '||'",
            "feature 'a': TensorFlow splits at each character of separator '||'. Give one character",
        ),
        ("feature_name: 'a' feature_type: IdFeature", "feature 'a': it has no input_names"),
        ("input_names: 'a' feature_type: TagFeature combiner: 'sqrtn'", "there is no counterpart of combiner 'sqrtn'"),
        (
            "input_names: 'a' feature_type: RawFeature normalizer_fn: 'f'",
            "there is no counterpart of normalizer_fn 'f'",
        ),
    ],
)
def test_what_easyrec_has_and_we_have_not_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        easyrec(text)
    assert problem in str(caught.value)


def test_a_range_and_a_function_become_one_expression() -> None:
    text = "input_names: 'a' feature_type: RawFeature min_val: 1 max_val: 3 num_buckets: 2 normalizer_fn: 'tf.sqrt'"
    document, _ = easyrec(text)
    assert document["features"][0]["normalizer"] == "method=expression,expr=sqrt(((x - 1.0) / 2.0))"
    assert document["features"][0]["boundaries"] == [0.0, 0.5]


def test_unknown_options_of_easyrec_are_refused_by_name() -> None:
    document, _ = easyrec("input_names: 'a' feature_type: IdFeature hash_bucket_sizes: 3")
    with pytest.raises(ConfigError, match="feature 'a': unknown option 'hash_bucket_sizes'"):
        FeatureSet.from_fg_json(document, profile="easyrec-tf")
