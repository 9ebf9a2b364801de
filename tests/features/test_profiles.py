"""What features compute under the profiles of other engines, on both engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recserve
from recserve.errors import ConfigError, DataError
from recserve.features.profiles import OPTION_PROFILES, PROFILES
from recserve.features.reference_hash import HASHES
from recserve.features.spec_types import TYPES


def extract(entry: dict[str, Any], columns: dict[str, Any], profile: str) -> Any:
    """The output of one feature, the same from both engines."""
    features = recserve.FeatureSet.from_fg_json({"features": [{"feature_name": "f", **entry}]}, profile=profile)
    outputs = [features.compile(reference=reference).run(columns)["f"] for reference in (True, False)]
    first, second = (part if isinstance(part, np.ndarray) else part.values for part in outputs)
    np.testing.assert_array_equal(first, second)
    if not isinstance(outputs[0], np.ndarray):
        for name in ("lengths", "weights", "key_lengths", "seq_lengths"):
            np.testing.assert_array_equal(getattr(outputs[0], name), getattr(outputs[1], name))
    return outputs[1]


def rows(output: Any) -> list[list[Any]]:
    return [output.row(n).tolist() for n in range(len(output))]


def fault(entry: dict[str, Any], profile: str) -> str:
    with pytest.raises(ConfigError) as caught:
        recserve.FeatureSet.from_fg_json({"features": [{"feature_name": "f", **entry}]}, profile=profile)
    return str(caught.value)


def test_every_option_of_a_profile_is_an_option_of_its_type() -> None:
    for (kind, option), profile in OPTION_PROFILES.items():
        assert option in TYPES[kind].model_fields
        assert profile in PROFILES


# ---- easyrec-tf


ER = "easyrec-tf"


def test_easyrec_hashes_the_whole_text_with_farmhash() -> None:
    entry = {"feature_type": "id_feature", "expression": "user:x", "hash_bucket_size": 1000}
    expected = [[HASHES["farmhash"](b"a|b") % 1000], [], []]
    assert rows(extract(entry, {"x": ["a|b", "", None]}, ER)) == expected


def test_easyrec_splits_ids_where_a_separator_is_given() -> None:
    entry = {"feature_type": "id_feature", "expression": "user:x", "separator": ",", "num_buckets": 5}
    assert rows(extract(entry, {"x": ["1,9,2", "-3"]}, ER)) == [[1, 0, 2], [0]]


def test_easyrec_words_count_from_0_and_unknown_words_are_0() -> None:
    entry = {"feature_type": "id_feature", "expression": "user:x", "vocab_list": ["a", "b"]}
    assert rows(extract(entry, {"x": ["a", "b", "z", None]}, ER)) == [[0], [1], [0], []]


def test_easyrec_normalises_by_range_and_cuts_uniform_buckets() -> None:
    entry = {"feature_type": "raw_feature", "expression": "user:x", "min_val": 10.0, "max_val": 20.0}
    assert extract(entry, {"x": [10, 15, 30]}, ER).tolist() == [[0.0], [0.5], [2.0]]
    buckets = {**entry, "num_buckets": 4}
    found = extract(buckets, {"x": [9, 10, 12.5, 17.4, 40]}, ER)
    assert rows(found) == [[0], [1], [2], [3], [4]]
    described = recserve.FeatureSet.from_fg_json(
        {"features": [{"feature_name": "f", **buckets}]}, profile=ER
    ).describe()
    assert described["f"]["num_embeddings"] == 5


def test_easyrec_normalises_the_default_of_a_raw_feature() -> None:
    entry = {"feature_type": "raw_feature", "expression": "user:x", "min_val": 10.0, "max_val": 20.0}
    assert extract(entry, {"x": [None]}, ER).tolist() == [[-1.0]]
    assert extract({**entry, "default_value": "20"}, {"x": [None]}, ER).tolist() == [[1.0]]
    logs = {"feature_type": "raw_feature", "expression": "user:x", "normalizer": "method=expression,expr=log(x + 1)"}
    assert extract({**logs, "default_value": "0"}, {"x": [None]}, ER).tolist() == [[0.0]]


def test_easyrec_separates_vectors_with_a_bar_and_combines_them() -> None:
    entry = {"feature_type": "raw_feature", "expression": "user:x", "value_dim": 2}
    assert extract(entry, {"x": ["1|2", "3"]}, ER).tolist() == [[1.0, 2.0], [3.0, 0.0]]
    combined = {**entry, "seq_multi_sep": ";", "combiner": "max"}
    assert extract(combined, {"x": ["1|9;4|2", "5|6", ""]}, ER).tolist() == [[4.0, 9.0], [5.0, 6.0], [0.0, 0.0]]


def test_easyrec_joins_combos_as_told() -> None:
    inputs = {"feature_type": "combo_feature", "expression": ["user:a", "item:b"]}
    columns = {"a": ["x|y"], "b": ["1|2"]}
    assert rows(extract({**inputs, "combo_join_sep": "#"}, columns, ER)) == [["x|y#1|2"]]
    cut = {**inputs, "combo_join_sep": "#", "combo_input_seps": ["|", ""]}
    assert rows(extract(cut, columns, ER)) == [["x#1|2", "y#1|2"]]
    assert "has 1 separators for 2 inputs" in fault({**inputs, "combo_input_seps": ["|"]}, ER)


def test_easyrec_crosses_hashes_as_tensorflow_does() -> None:
    entry = {"feature_type": "combo_feature", "expression": ["user:a", "item:b"], "hash_bucket_size": 1000}
    cut = {**entry, "combo_input_seps": ["|", ""]}
    columns = {"a": ["a|bb", None], "b": ["x", "y"]}
    assert rows(extract(cut, columns, ER)) == [[892, 85], []]
    assert rows(extract(entry, {"a": ["a"], "b": ["x", None]}, ER)) == [[892], []]
    filled = {**entry, "combo_input_defaults": ["", "x"]}
    assert rows(extract(filled, {"a": ["a", None], "b": [None, "y"]}, ER)) == [[892], []]
    wide = {**cut, "hash_bucket_size": 2**63 - 1}
    assert rows(extract(wide, {"a": ["bb"], "b": ["y"]}, ER)) == [[1425871436731482144]]


def test_easyrec_joins_a_missing_text_as_an_empty_one() -> None:
    entry = {"feature_type": "combo_feature", "expression": ["user:a", "item:b"], "combo_join_sep": "#"}
    assert rows(extract(entry, {"a": [None, "x"], "b": ["1", ""]}, ER)) == [["#1"], ["x#"]]
    assert rows(extract({**entry, "combo_input_seps": ["|", ""]}, {"a": [None, "x|y"], "b": [None]}, ER)) == [
        [],
        ["x#", "y#"],
    ]
    filled = {**entry, "combo_input_defaults": ["0", ""]}
    assert rows(extract(filled, {"a": [None], "b": ["1"]}, ER)) == [["0#1"]]


def test_easyrec_looks_up_all_values_of_a_key() -> None:
    entry = {"feature_type": "lookup_feature", "map": "user:m", "key": "item:k", "separator": "|", "default_value": ""}
    entry |= {"kv_separator": "=", "need_discrete": True}
    columns = {"m": ["a=1|b=2|a=3"], "k": ["a", "b", "a|b", None]}
    assert rows(extract(entry, columns, ER)) == [["1", "3"], ["2"], [], []]


def test_crosses_without_a_hash_and_wrong_lists_of_inputs_are_refused() -> None:
    entry = {"feature_type": "combo_feature", "expression": ["user:a", "item:b"]}
    with pytest.raises(ConfigError, match="'hash_bucket_size' is missing: without 'combo_join_sep' the hashes"):
        extract(entry, {}, ER)
    with pytest.raises(ConfigError, match="option 'combo_input_defaults' has 1 defaults for 2 inputs"):
        extract({**entry, "hash_bucket_size": 9, "combo_input_defaults": ["a"]}, {}, ER)
    document = {"features": [{"feature_name": "f", **entry, "hash_bucket_size": 9}]}
    with pytest.raises(ConfigError, match="its hashes are crossed, which no column of tokens tells"):
        recserve.FeatureSet.from_fg_json(document, mode="bucketize", profile=ER)


def test_more_crosses_than_allowed_are_an_error_and_an_empty_side_is_none() -> None:
    entry = {"feature_type": "combo_feature", "hash_bucket_size": 9, "combo_input_seps": ["|", "|", "|"]}
    entry |= {"expression": ["user:a", "user:b", "item:c"]}
    columns = {"a": ["|".join("x" * 400)], "b": ["|".join("y" * 300)], "c": [""]}
    for profile, more in ((ER, {}), (ER, {"combo_join_sep": "_"})):
        assert rows(extract({**entry, **more}, columns, profile)) == [[]]
        with pytest.raises(DataError, match="combinations"):
            extract({**entry, **more}, {**columns, "c": ["z"]}, profile)


def test_easyrec_leaves_missing_sequences_without_steps() -> None:
    entry = {"feature_type": "sequence_id_feature", "expression": "user:x", "sequence_delim": "|", "num_buckets": 9}
    found = extract(entry, {"x": ["1|2", None, ""]}, ER)
    assert found.seq_lengths is not None
    assert found.seq_lengths.tolist() == [2, 0, 0]


TAGS = {"feature_type": "tag_feature", "expression": ["user:x", "item:w"]}


def test_tags_take_weights_from_pairs_or_a_second_input() -> None:
    found = extract(TAGS, {"x": ["a|b", None], "w": ["0.5|2", None]}, ER)
    assert (rows(found), found.weights.tolist()) == ([["a", "b"], []], [0.5, 2.0])
    pairs = {"feature_type": "tag_feature", "expression": "user:x", "kv_separator": ":"}
    found = extract(pairs, {"x": ["a:0.5|b:2", "c"]}, ER)
    assert (rows(found), found.weights.tolist()) == ([["a", "b"], ["c"]], [0.5, 2.0, 1.0])
    plain = extract({"feature_type": "tag_feature", "expression": "user:x"}, {"x": ["a|b"]}, ER)
    assert (rows(plain), plain.weights) == ([["a", "b"]], None)


def test_one_row_of_tags_meets_weights_of_many_rows() -> None:
    found = extract(TAGS, {"x": ["a|b"], "w": ["1|2", "3|4"]}, ER)
    assert (rows(found), found.weights.tolist()) == ([["a", "b"], ["a", "b"]], [1.0, 2.0, 3.0, 4.0])


def test_tags_exist_in_every_profile() -> None:
    found = extract({**TAGS, "separator": ","}, {"x": ["a,b\x1dc"], "w": [[1, 2, 3]]}, "pyfg")
    assert (rows(found), found.weights.tolist()) == ([["a", "b", "c"]], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("reference", [True, False])
def test_other_numbers_of_tags_and_weights_are_refused(reference: bool) -> None:
    features = recserve.FeatureSet.from_fg_json({"features": [{"feature_name": "f", **TAGS}]}, profile=ER)
    with pytest.raises(DataError, match=r"feature 'f'.*row 1.* weights"):
        features.compile(reference=reference).run({"x": ["a", "a|b"], "w": ["1", "1"]})


def test_contradictory_sources_of_weights_are_refused() -> None:
    assert "both give weights" in fault({**TAGS, "kv_separator": ":"}, ER)
    assert "names 3 inputs" in fault({**TAGS, "expression": ["user:a", "user:b", "user:c"]}, ER)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"num_buckets": 3}, "option 'num_buckets' has no effect: max_val is not above min_val"),
        ({"max_val": 2.0, "normalizer": "method=log10"}, "'normalizer' and 'max_val' contradict one another"),
        ({"max_val": 2.0, "num_buckets": 3, "boundaries": [1.0]}, "'boundaries' and 'num_buckets' contradict"),
        ({"combiner": "sum"}, "option 'combiner' has no effect: it takes both 'seq_multi_sep' and 'combiner'"),
    ],
)
def test_wrong_ranges_are_refused(options: dict[str, Any], problem: str) -> None:
    assert problem in fault({"feature_type": "raw_feature", "expression": "user:x", **options}, ER)


def test_options_of_another_profile_are_refused() -> None:
    text = fault({"feature_type": "raw_feature", "expression": "user:x", "max_val": 2.0}, "pyfg")
    assert "option 'max_val' has no effect: it belongs to the profile 'easyrec-tf'" in text
    text = fault({"feature_type": "id_feature", "expression": "user:x", "need_prefix": True}, "pyfg")
    assert "option 'need_prefix' has no effect: the profile 'pyfg' puts no name in front of tokens" in text


# ---- legacy-rtp-fg


LEGACY = "legacy-rtp-fg"


def test_legacy_ids_round_floats_half_away_from_zero() -> None:
    entry = {"feature_type": "id_feature", "expression": "item:x"}
    assert rows(extract(entry, {"x": [1.1, 2.5, -5.1, -9.5]}, LEGACY)) == [["1"], ["3"], ["-5"], ["-10"]]
    assert rows(extract(entry, {"x": ["2.4", "a"]}, LEGACY)) == [["2.4"], ["a"]]


def test_legacy_tokens_of_maps_begin_with_the_name() -> None:
    entry = {"feature_type": "lookup_feature", "map": "user:m", "key": "item:k", "need_discrete": True}
    columns = {"m": ["a:1\x1db:2"], "k": ["b", "z"]}
    assert rows(extract(entry, columns, LEGACY)) == [["f_2"], []]
    assert rows(extract({**entry, "need_key": True}, columns, LEGACY)) == [["f_b_2"], []]
    assert rows(extract({**entry, "need_prefix": False}, columns, LEGACY)) == [["2"], []]
    assert rows(extract({**entry, "default_value": "none"}, columns, LEGACY)) == [["f_2"], ["f_none"]]


def test_legacy_ids_begin_with_the_name_if_asked() -> None:
    entry = {"feature_type": "id_feature", "expression": "item:x", "need_prefix": True, "default_value": "no"}
    assert rows(extract(entry, {"x": ["a", None]}, LEGACY)) == [["f_a"], ["f_no"]]


def test_legacy_matches_show_their_keys() -> None:
    entry = {"feature_type": "match_feature", "nested_map": "user:m", "pkey": "item:p", "skey": "item:s"}
    entry = {**entry, "need_discrete": True}
    columns = {"m": ["50^7:19,8:2|ALL^1:1"], "p": ["50"], "s": ["7"]}
    assert rows(extract(entry, columns, LEGACY)) == [["f_50_7_19"]]
    several = {**entry, "matchType": "multihit", "skey": "ALL", "show_skey": True}
    assert rows(extract(several, {"m": columns["m"], "p": ["50"]}, LEGACY)) == [["f_7_19", "f_8_2"]]


def test_legacy_ratios_are_whole_tenths_and_hundredths() -> None:
    entry = {"feature_type": "overlap_feature", "query": "user:q", "title": "item:t"}
    columns = {"q": [[1, 2, 3]], "t": [[1, 3, 5], [1, 2, 3], [7]]}
    query = extract({**entry, "method": "query_common_ratio"}, columns, LEGACY)
    title = extract({**entry, "method": "title_common_ratio"}, columns, LEGACY)
    assert (query.ravel().tolist(), title.ravel().tolist()) == ([6.0, 10.0, 0.0], [66.0, 100.0, 0.0])


@pytest.mark.parametrize("terms", [29, 57, 58])
def test_a_scaled_ratio_is_not_rounded_below_a_whole_number(terms: int) -> None:
    entry = {"feature_type": "overlap_feature", "query": "user:q", "title": "item:t", "method": "title_common_ratio"}
    columns = {"q": [list(range(terms))], "t": [list(range(100))]}
    assert extract(entry, columns, LEGACY).tolist() == [[float(terms)]]


def test_legacy_is_contain_wants_terms_side_by_side() -> None:
    entry = {"feature_type": "overlap_feature", "query": "user:q", "title": "item:t", "method": "is_contain"}
    columns = {"q": [[1, 3]], "t": [[1, 2, 3], [0, 1, 3]]}
    assert extract(entry, columns, LEGACY).ravel().tolist() == [0.0, 1.0]
    assert extract(entry, columns, "pyfg").ravel().tolist() == [1.0, 1.0]


def test_legacy_lookups_combine_vectors() -> None:
    entry = {"feature_type": "lookup_feature", "map": "user:m", "key": "item:k", "value_dim": 2}
    columns = {"m": ["a:1,2\x1db:3,8"], "k": ["a\x1db", "b", "z"]}
    assert extract({**entry, "combiner": "mean"}, columns, LEGACY).tolist() == [[2.0, 5.0], [3.0, 8.0], [0.0, 0.0]]
    assert extract(entry, columns, "pyfg").tolist() == [[1.0, 2.0], [3.0, 8.0], [0.0, 0.0]]


NUMBERS = st.one_of(st.just(float("nan")), st.integers(-9, 9).map(float))


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.one_of(st.none(), st.lists(NUMBERS, max_size=7)), min_size=1, max_size=4),
    width=st.integers(1, 3),
    combiner=st.sampled_from(["sum", "mean", "min", "max", "count", "gap_min", "gap_max"]),
)
def test_vectors_combine_alike_in_both_engines(cells: list[Any], width: int, combiner: str) -> None:
    entry = {"feature_type": "combine_feature", "expression": "item:x", "combiner": combiner, "value_dim": width}
    found = extract({**entry, "default_value": "7"}, {"x": cells}, LEGACY)
    for row, cell in zip(found, cells, strict=True):
        whole = (cell or [])[: len(cell or []) // width * width]
        parts = [[x for x in whole[i::width] if x == x] for i in range(width)]  # noqa: PLR0124  (not NaN)
        if combiner in ("sum", "min", "max", "count"):
            reduce = {"sum": sum, "min": min, "max": max, "count": len}[combiner]
            assert row.tolist() == [float(reduce(part)) if part else 7.0 for part in parts]
