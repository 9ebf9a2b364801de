from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.features.feature_set import FeatureSet

ID = {"feature_type": "id_feature", "feature_name": "f", "expression": "item:a"}
RAW = {"feature_type": "raw_feature", "feature_name": "f", "expression": "item:a"}
LOOKUP = {"feature_type": "lookup_feature", "feature_name": "f", "map": "user:m", "key": "item:k"}
MATCH = {
    "feature_type": "match_feature",
    "feature_name": "f",
    "nested_map": "user:m",
    "pkey": "item:p",
    "skey": "item:s",
}
EXPR = {"feature_type": "expr_feature", "feature_name": "f", "expression": "a+1", "variables": ["item:a"]}
OVERLAP = {
    "feature_type": "overlap_feature",
    "feature_name": "f",
    "query": "user:q",
    "title": "item:t",
    "method": "is_equal",
}
REGEX = {"feature_type": "regex_replace_feature", "feature_name": "f", "expression": "item:a", "regex_pattern": ["a"]}
TOKENIZE = {"feature_type": "tokenize_feature", "feature_name": "f", "expression": "item:a", "vocab_file": "t.json"}
SID = {"feature_type": "sid_feature", "feature_name": "f", "expression": "item:a", "codebook": [4, 4]}
CUSTOM = {"feature_type": "custom_feature", "feature_name": "f", "expression": ["user:a", "item:b"]}
COMBO = {
    "feature_type": "combo_feature",
    "feature_name": "f",
    "expression": ["user:a", "item:b"],
    "hash_bucket_size": 9,
}
KV = {"feature_type": "kv_dot_product", "feature_name": "f", "query": "user:q", "document": "item:d"}


def read(*entries: dict[str, Any], **options: Any) -> FeatureSet:
    return FeatureSet.from_fg_json({"features": list(entries)}, **options)


def custom(operator: str, **parameters: Any) -> dict[str, Any]:
    return {**CUSTOM, "operator_name": operator, "operator_params": parameters}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {**ID, "hash_bucket_size": 9, "num_buckets": 9},
            "'hash_bucket_size' and 'num_buckets' contradict one another",
        ),
        ({**LOOKUP, "hash_bucket_size": 9, "boundaries": [1]}, "'hash_bucket_size' and 'boundaries' contradict"),
        (
            {**ID, "num_buckets": 9, "default_bucketize_value": 0},
            "'default_bucketize_value' has no effect: there is no",
        ),
        ({**ID, "vocab_file": "v.txt"}, "'vocab_file' needs 'default_bucketize_value'"),
        ({**ID, "vocab_list": ["a"], "default_bucketize_value": 1}, "is 1, but 'vocab_list' has 1 words"),
        ({**ID, "num_buckets": 9, "default_value": "9"}, "'default_value' is '9', not an id below num_buckets 9"),
        ({**ID, "num_buckets": 9, "default_value": "x"}, "'default_value' is 'x', not an id below num_buckets 9"),
        ({**LOOKUP, "num_buckets": 9, "normalizer": "method=log10"}, "'normalizer' has no effect: 'num_buckets' maps"),
        ({**LOOKUP, "num_buckets": 9, "combiner": "mean"}, "'combiner' has no effect: ids are not combined"),
        ({**LOOKUP, "need_key": True}, "'need_key' has no effect: the values are numbers"),
        ({**LOOKUP, "value_separator": "|"}, "'value_separator' has no effect: value_dim is not above 1"),
        ({**LOOKUP, "value_dim": 2, "combiner": "mean"}, r"'combiner' has no effect: vectors \(value_dim above 1\)"),
        ({**LOOKUP, "value_dim": 2, "num_buckets": 3}, "'value_dim' has no effect: all ids that are found are kept"),
        ({**MATCH, "value_dim": 2}, "'value_dim' is 2, but a dense match is one number"),
        ({**MATCH, "show_pkey": True}, "'show_pkey' has no effect: the values are numbers"),
        ({**MATCH, "skey": "ALL", "matchType": "hit"}, "'matchType' is 'hit', but a key is 'ALL'"),
        ({**MATCH, "nested_map": "ALL"}, "'nested_map' cannot be 'ALL'"),
        ({**RAW, "boundaries": [1, 0]}, r"boundaries \[1.0, 0.0\] do not increase"),
        ({**RAW, "boundaries": [0, float("nan")]}, r"boundaries \[0.0, nan\] are not all finite"),
        ({**RAW, "normalizer": "method=lg10"}, "'normalizer' is 'method=lg10': unknown normalizer method 'lg10'"),
        ({**RAW, "default_value": "x"}, "'default_value' is 'x', not a number"),
        ({**RAW, "value_dim": 3, "default_value": "1\x1d2"}, "'default_value' has 2 numbers, but value_dim is 3"),
        ({**RAW, "autodis": {}, "mlp": {}}, "'autodis' and 'mlp' contradict one another"),
        ({**RAW, "autodis": {}, "boundaries": [1]}, "'autodis' is for dense features, but 'boundaries' makes ids"),
        ({**RAW, "autodis": {}, "value_dim": 2}, "'autodis' is for one number, not for value_dim 2"),
        ({**RAW, "feature_type": "sequence_raw_feature", "mlp": {}}, "'mlp' has no effect: sequences have no dense"),
        ({**ID, "sequence_length": 5}, "'sequence_length' has no effect.*The sequence type is 'sequence_id_feature'"),
        (
            {"sequence_name": "s", "features": [{**ID, "sequence_delim": ","}]},
            "'sequence_delim' has no effect: it belongs",
        ),
        (
            {"sequence_name": "s", "features": [{**LOOKUP, "sequence_fields": ["keys"]}]},
            "'sequence_fields' names 'keys', which is no input",
        ),
        ({**ID, "expression": "a"}, "input 'a' is not `side:name`. For example"),
        ({**ID, "expression": "items:a"}, "input 'items:a' has the unknown side 'items'. Did you mean 'item'"),
        ({**ID, "expression": None}, "'expression' is missing: the input"),
        ({**ID, "expression": "const:a"}, "all inputs are constants"),
        ({**COMBO, "expression": ["user:a"]}, "'expression' names 1 inputs, and needs at least 2"),
        ({**COMBO, "num_buckets": 3}, "unknown option 'num_buckets'"),
        ({**EXPR, "expression": "a+b"}, "'expression': unknown variable 'b' at position 3"),
        ({**EXPR, "variables": ["item:a", "user:c"]}, "'variables' has 'c', which the expression does not use"),
        ({**EXPR, "variables": ["item:a", "user:a"]}, "'variables' has 'a' 2 times"),
        ({**EXPR, "expression": None}, "'expression' is missing"),
        ({**OVERLAP, "method": "is_equals"}, "'method' is 'is_equals'"),
        ({**OVERLAP, "method": None}, "'method' is missing"),
        ({**OVERLAP, "default_value": "1"}, "unknown option 'default_value'"),
        ({**KV, "kv_delimiter": "=>"}, "'kv_delimiter' is '=>'"),
        ({**REGEX, "regex_pattern": []}, "'regex_pattern' has no pattern"),
        ({**REGEX, "regex_pattern": ["(a"]}, r"'regex_pattern' has '\(a', which is no RE2 expression"),
        ({**TOKENIZE, "vocab_file": None}, "'vocab_file' is missing: the tokenizer's file"),
        (
            {**TOKENIZE, "feature_type": "sequence_tokenize_feature", "tokens_as_sequence": True},
            "'tokens_as_sequence' is for texts",
        ),
        ({**SID, "codebook": []}, "'codebook' is missing: the number of codes of each level"),
        ({**SID, "sequence_length": 3}, "'sequence_length' is 3, not a multiple of the 2 levels"),
        (CUSTOM, "'operator_name' is missing"),
        (custom("Edit"), "unknown operator 'Edit'"),
        (custom("EditDistance", encodin="x"), "has no parameter 'encodin'. Did you mean 'encoding'"),
        (custom("EditDistance", encoding="gbk"), "'encoding' is 'gbk', not one of utf-8, latin"),
        (custom("EditDistance", encoding=1), "'encoding' of operator EditDistance is 1, not str"),
        ({**custom("EditDistance"), "expression": ["user:a"]}, "EditDistance takes 2 inputs, not 1"),
        (custom("RegexReplace", regex_pattern="a"), "RegexReplace takes 1 input, not 2"),
        ({**custom("RegexReplace"), "expression": ["user:a"]}, "needs the parameter 'regex_pattern'"),
        (custom("SeqExpr"), "needs the parameter 'formula'"),
        (custom("SeqExpr", formula="a-c"), "'formula': unknown variable 'c'"),
        (custom("SeqExpr", formula="spherical_distance"), "'spherical_distance' takes 4 inputs, not 2"),
        ({**ID, "expression": "feature:g"}, "there is no feature 'g'"),
        ({**ID, "expression": "feature:f"}, "features read one another in a circle: f → f"),
    ],
)
def test_options_that_go_wrong_together_are_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(entry)
    assert "f'" in str(caught.value)


def test_a_name_may_be_declared_once() -> None:
    with pytest.raises(ConfigError, match="feature 'f' is declared 2 times"):
        read(ID, RAW)


def test_a_sequence_has_one_set_of_options() -> None:
    groups = [
        {"sequence_name": "s", "sequence_length": n, "features": [{**ID, "feature_name": f"f{n}"}]} for n in (1, 2)
    ]
    with pytest.raises(ConfigError, match="sequence 's' is declared 2 times with different options"):
        read(*groups)
    with pytest.raises(ConfigError, match=r"feature 's' has the name of a sequence group\. Rename one"):
        read(groups[0], {**ID, "feature_type": "sequence_id_feature", "feature_name": "s"})


def test_a_circle_of_references_is_refused() -> None:
    entries = [{**ID, "feature_name": a, "expression": f"feature:{b}"} for a, b in ("xy", "yz", "zx")]
    with pytest.raises(ConfigError, match=r"read one another in a circle: . → . → . → ."):
        read(*entries)


def test_an_unknown_reference_suggests_the_nearest_feature() -> None:
    with pytest.raises(ConfigError, match=r"feature 'g': there is no feature 'ff'. Did you mean 'f'"):
        read(ID, {**ID, "feature_name": "g", "expression": "feature:ff"})


def test_features_may_be_declared_before_what_they_read() -> None:
    first = {**EXPR, "feature_name": "g", "expression": "f*2", "variables": ["feature:f"]}
    out = read(first, RAW).compile(reference=True).run({"a": [1, 2]})
    assert out["g"].tolist() == [[2.0], [4.0]]


def test_encoded_features_need_no_inputs_and_no_id_mapping() -> None:
    features = read({k: v for k, v in TOKENIZE.items() if k != "expression"}, mode="encoded")
    assert features.input_columns == ["f"]


def test_options_of_training_are_accepted() -> None:
    options = {
        "embedding_dim": 8,
        "embedding_name": "shared",
        "pooling": "mean",
        "init_fn": "nn.init.zeros_",
        "use_mask": True,
        "trainable": False,
        "data_type": "FP16",
        "embedding_constraints": {"sharding_types": ["row_wise"]},
        "dynamicemb": {"max_capacity": 100},
    }
    (spec,) = read({**ID, **options}).outputs
    assert (spec.table, spec.dim, spec.pooling, spec.rows) == ("shared", 8, "mean", 100)
