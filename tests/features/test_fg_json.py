from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.features.feature_set import FeatureSet

ID = {"feature_type": "id_feature", "feature_name": "a", "expression": "item:a", "num_buckets": 10}


def read(*entries: Any, **options: Any) -> FeatureSet:
    return FeatureSet.from_fg_json({"features": list(entries)}, **options)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**ID, "bucket_size": 3}, "feature 'a': unknown option 'bucket_size'"),
        ({**ID, "num_bucket": 3}, "feature 'a': unknown option 'num_bucket'. Did you mean 'num_buckets'"),
        ({**ID, "combiner": "sum"}, "feature 'a': unknown option 'combiner'"),
        ({**ID, "num_buckets": "10"}, "feature 'a': option 'num_buckets' is '10': input should be a valid integer"),
        (
            {**ID, "num_buckets": 0},
            "feature 'a': option 'num_buckets' is 0: input should be greater than or equal to 1",
        ),
        ({**ID, "weighted": 1}, "feature 'a': option 'weighted' is 1"),
        ({**ID, "pooling": "max"}, "feature 'a': option 'pooling' is 'max'"),
        ({"feature_type": "id_feature"}, r"features\[0\]: option 'feature_name' is missing"),
        ({"feature_name": "a"}, "feature 'a': option 'feature_type' is missing"),
        ({**ID, "feature_type": "id_featur"}, "unknown feature_type 'id_featur'. Did you mean 'id_feature'"),
        ({**ID, "feature_type": "sequence_ids"}, "unknown feature_type 'sequence_ids'"),
        ("a", r"features\[0\]: an entry is an object, not 'a'"),
        (
            {**ID, "default_value": "\ud800"},
            "feature 'a': the options cannot be written as JSON: str is not valid UTF-8",
        ),
        ({**ID, "embedding_constraints": {"x": b""}}, "feature 'a': the options cannot be written as JSON"),
        (
            {**ID, "num_buckets": 1 << 63},
            "feature 'a': option 'num_buckets' is 9223372036854775808: input should be less",
        ),
        ({**ID, "zch": {"size": 3}}, "feature 'a': unknown option 'zch.size'"),
        ({**ID, "need_prefix": True}, "feature 'a': option 'need_prefix' has no effect"),
        ({"sequence_name": "s"}, "sequence 's': option 'features' is missing"),
        ({"sequence_name": "s", "sequence_len": 3, "features": []}, "unknown option 'sequence_len'. Did you mean"),
        ({"sequence_name": "s", "features": [{**ID, "x": 1}]}, "feature 's__a': unknown option 'x'"),
        (
            {"sequence_name": "s", "features": [{**ID, "feature_type": "sequence_id_feature"}]},
            "cannot be a member of a sequence group. Use 'id_feature'",
        ),
        (
            {"sequence_name": "s", "feature_type": "id_feature", "features": []},
            "no feature_type but 'sequence_feature'",
        ),
    ],
)
def test_a_wrong_entry_names_the_feature_and_the_option(entry: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(entry)


@pytest.mark.parametrize("document", [None, [], {}, {"features": {}}])
def test_what_is_no_document_is_refused(document: Any) -> None:
    with pytest.raises(ConfigError, match="the document is not"):
        FeatureSet.from_fg_json(document)


def test_an_unknown_key_of_the_document_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the document: unknown option 'feature'. Did you mean 'features'"):
        FeatureSet.from_fg_json({"features": [], "feature": []})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read({**ID, "x": 1, "weighted": 3}, {**ID, "feature_name": "b", "expression": "item"})
    text = str(caught.value)
    assert "3 problems" in text
    assert all(part in text for part in ("unknown option 'x'", "'weighted' is 3", "feature 'b': input 'item'"))


def test_an_exported_fg_json_reads_as_the_config_it_came_from() -> None:
    match = {
        "feature_type": "match_feature",
        "feature_name": "m",
        "user": "user:n",
        "category": "item:c",
        "item": "ALL",
        "matchType": "multihit",
        "needDiscrete": False,
        "show_category": False,
        "show_item": False,
        "value_type": "float",
    }
    lookup = {
        "feature_type": "lookup_feature",
        "feature_name": "l",
        "map": "user:m",
        "key": "item:c",
        "needDiscrete": True,
        "needKey": False,
        "combiner": "",
        "value_type": "string",
        "hash_bucket_size": 7,
    }
    custom = {
        "feature_type": "custom_feature",
        "feature_name": "c",
        "expression": ["user:q", "item:t"],
        "operator_name": "EditDistance",
        "operator_lib_file": "pyfg/lib/libedit_distance.so",
        "is_op_thread_safe": False,
        "encoding": "utf-8",
        "value_type": "float",
        "value_dim": 1,
    }
    features = read(match, lookup, custom, {**ID, "need_prefix": False, "value_type": "string"})
    assert features.input_columns == ["n", "c", "m", "q", "t", "a"]
    assert features.to_fg_json()["features"][2]["operator_params"] == {"encoding": "utf-8"}


def test_what_is_written_reads_back_as_the_same_features() -> None:
    group = {
        "sequence_name": "s",
        "sequence_delim": "|",
        "sequence_length": 3,
        "features": [ID, {"feature_type": "raw_feature", "feature_name": "r", "expression": "user:r"}],
    }
    plain = {**ID, "feature_type": "sequence_id_feature", "feature_name": "p", "sequence_length": 5}
    features = read(ID, group, plain, {**ID, "feature_name": "v", "num_buckets": None, "vocab_list": ["x"]})
    again = FeatureSet.from_fg_json(features.to_fg_json())
    assert again.digest == features.digest
    assert again.to_fg_json() == features.to_fg_json()
    assert again.describe() == features.describe()


def test_an_exported_text_normalizer_goes_back_into_its_tokenize_feature() -> None:
    stub = {
        "feature_type": "text_normalizer",
        "feature_name": "t__text_norm",
        "expression": "item:title",
        "is_gbk_input": False,
        "is_gbk_output": False,
        "stub_type": True,
        "parameter": 4 + 8,
        "max_length": 9,
        "remove_space": True,
    }
    tokenize = {"feature_type": "tokenize_feature", "feature_name": "t", "expression": "feature:t__text_norm"}
    tokenize |= {"vocab_file": "t.json", "tokenizer_type": "bpe", "output_type": "word_id", "default_value": ""}
    (entry,) = read(stub, tokenize).to_fg_json()["features"]
    assert entry["expression"] == "item:title"
    options = ["TEXT_UPPER2LOWER", "TEXT_SBC2DBC", "TEXT_REMOVE_SPACE"]
    assert entry["text_normalizer"] == {"max_length": 9, "norm_options": options}
    member = {"sequence_name": "s", "features": [stub, {**tokenize, "sequence_fields": ["t__text_norm"]}]}
    assert read(member).to_fg_json()["features"][0]["features"][0]["expression"] == "item:title"
