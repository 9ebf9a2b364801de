"""What features compute: the rules of docs/reference/features.md, on the reference interpreter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recserve
from recserve.errors import DataError
from recserve.features.reference_cells import write_number


def run(entry: dict[str, Any], columns: dict[str, Any], training: bool = False, **options: Any) -> Any:
    """The output of one feature (or of the last of several entries)."""
    entries = entry if isinstance(entry, list) else [entry]
    plan = recserve.FeatureSet.from_fg_json({"features": entries}, **options).compile(reference=True)
    return list(plan.run(columns, training=training).values())[-1]


def ids(**options: Any) -> dict[str, Any]:
    return {"feature_type": "id_feature", "feature_name": "f", "expression": "item:x", **options}


def raw(**options: Any) -> dict[str, Any]:
    return {"feature_type": "raw_feature", "feature_name": "f", "expression": "item:x", **options}


def lookup(**options: Any) -> dict[str, Any]:
    return {"feature_type": "lookup_feature", "feature_name": "f", "map": "user:m", "key": "item:k", **options}


def match(**options: Any) -> dict[str, Any]:
    named = {"nested_map": "user:m", "pkey": "item:p", "skey": "item:s"}
    return {"feature_type": "match_feature", "feature_name": "f", **named, **options}


def rows(output: Any) -> list[list[Any]]:
    return [output.row(n).tolist() for n in range(len(output))]


# ---- tokens and ids


def test_a_configured_separator_adds_to_the_usual_one() -> None:
    assert rows(run(ids(separator=","), {"x": ["a,b\x1dc", ",,", None, ""]})) == [["a", "b", "c"], [], [], []]


def test_numbers_become_their_decimal_text() -> None:
    cells = [1, 2.0, 2.5, True, float("nan"), [3, None, 4.0, ""], 1e300]
    assert rows(run(ids(), {"x": cells})) == [["1"], ["2"], ["2.5"], ["true"], [], ["3", "4"], ["1e+300"]]


def test_elements_of_a_list_are_not_split() -> None:
    assert rows(run(ids(), {"x": [["a\x1db", "c"]]})) == [["a\x1db", "c"]]


@pytest.mark.parametrize(
    ("cell", "expected"), [("7", [7]), ("7.0", [7]), (7, [7]), ("10", []), ("-1", []), ("1e1", [])]
)
def test_an_id_out_of_range_counts_as_missing(cell: Any, expected: list[int]) -> None:
    assert rows(run(ids(num_buckets=10), {"x": [cell]})) == [expected]
    assert rows(run(ids(num_buckets=10, default_value="3"), {"x": [cell]})) == [expected or [3]]


def test_text_that_is_no_integer_is_bad_data() -> None:
    for cell in ("abc", "1.5", "nan", "1_0", "0x1"):
        with pytest.raises(DataError, match=r"feature 'f', row 1: '.*' is not an integer"):
            run(ids(num_buckets=10), {"x": ["1", cell]})


def test_text_that_is_no_number_is_bad_data() -> None:
    with pytest.raises(DataError, match=r"feature 'f', column 'x', row 1: 'abc' is not a number"):
        run(raw(), {"x": ["1", "abc"]})
    with pytest.raises(DataError, match=r"feature 'f', column 'm', row 0: 'v' is not a number"):
        run(lookup(), {"m": ["k:v"], "k": ["k"]})


def test_the_row_of_an_error_in_a_sequence_is_the_row_of_the_batch() -> None:
    sequence = raw(feature_type="sequence_raw_feature")
    with pytest.raises(DataError, match=r"row 2: 'abc' is not a number"):
        run(sequence, {"x": ["1;2;3", "", "4;abc"]})


def test_the_default_is_mapped_like_a_token() -> None:
    assert rows(run(ids(vocab_list=["a", "b"], default_value="b"), {"x": [None, "a", "z"]})) == [[3], [2], [1]]
    assert rows(run(ids(vocab_dict={"a": 5}, default_value="a"), {"x": [None, "a"]})) == [[0], [0]]
    assert rows(run(ids(num_buckets=9, default_value="1\x1d2"), {"x": [None]})) == [[1, 2]]


def test_value_dim_keeps_the_first_values() -> None:
    assert rows(run(ids(value_dim=2), {"x": ["a\x1db\x1dc", "a"]})) == [["a", "b"], ["a"]]


def test_bytes_that_are_not_utf8_are_kept() -> None:
    out = run(ids(), {"x": [b"\xff\x1d\x00a"]})
    assert [token.encode("utf-8", "surrogateescape") for token in out.values] == [b"\xff", b"\x00a"]
    assert len(run(ids(hash_bucket_size=100), {"x": [b"\xff"]}).values) == 1


def test_half_a_surrogate_pair_is_bad_data() -> None:
    with pytest.raises(DataError, match=r"feature 'f', column 'x', row 0: text .* cannot be written as UTF-8"):
        run(ids(), {"x": ["\ud800"]})


def test_weights_default_to_one() -> None:
    out = run(ids(weighted=True, num_buckets=9, default_value="0"), {"x": ["1:0.5\x1d2", None, {3: 2, 99: 1}]})
    assert rows(out) == [[1, 2], [0], [3]]
    assert out.weights.tolist() == [0.5, 1.0, 1.0, 2.0]


def test_unbounded_tables_get_63_bit_hashes() -> None:
    (value,) = run(ids(zch={"zch_size": 5, "lfu": {}}), {"x": ["abc"]}).values
    assert 5 < value < 1 << 63


def test_bucketize_mode_applies_the_mapping_only() -> None:
    out = run(raw(boundaries=[1, 2], normalizer="method=minmax,min=0,max=100"), {"f": [0, 1.5, 2]}, mode="bucketize")
    assert rows(out) == [[0], [1], [2]]
    assert rows(run(ids(num_buckets=9), {"f": [["1", "2"], "3\x1d4", "5\x036"]}, mode="bucketize")) == [
        [1, 2],
        [3, 4],
        [5, 6],
    ]


# ---- numbers


def test_dense_rows_take_what_lacks_from_the_default() -> None:
    columns = {"x": ["1", "1\x1d2\x1d3", None, "nan\x1d5", [None, 7]]}
    expected = [[1, 9], [1, 2], [8, 9], [8, 5], [7, 9]]
    assert run(raw(value_dim=2, default_value="8\x1d9"), columns).tolist() == expected


def test_dense_values_are_rounded_to_float32() -> None:
    assert run(raw(), {"x": [16777217, 1e300, "-inf"]}).tolist() == [[16777216.0], [math.inf], [-math.inf]]


def test_a_boundary_belongs_to_the_bucket_above() -> None:
    out = run(raw(boundaries=[0.1, 1]), {"x": [0.09, 0.1, 1, None, "nan"]})
    assert rows(out) == [[0], [1], [2], [0], [0]]


def test_buckets_compare_as_float32() -> None:
    assert rows(run(raw(boundaries=[0.1]), {"x": [0.1 - 1e-12]})) == [[1]]


def test_the_default_is_not_normalised_but_bucketised() -> None:
    options = {"normalizer": "method=log10,threshold=0,default=-5", "boundaries": [-1, 0.5, 1.5]}
    assert rows(run(raw(default_value="1", **options), {"x": [10, 0, None]})) == [[2], [0], [2]]
    assert rows(run(raw(default_value="", **options), {"x": [None]})) == [[]]


def test_a_normalizer_may_be_an_expression() -> None:
    assert run(raw(normalizer="method=expression,expr=x > 1 ? x : -x"), {"x": [1, 2]}).tolist() == [[-1], [2]]


def test_buckets_of_vectors_have_value_dim_ids() -> None:
    out = run(raw(boundaries=[1, 2], value_dim=2, default_value="0\x1d5"), {"x": ["1\x1d2\x1d3", "1", None]})
    assert rows(out) == [[1, 2], [1, 2], [0, 2]]


def test_combine_combines_and_skips_what_the_map_lacks() -> None:
    def combined(combiner: str, **options: Any) -> list[Any]:
        entry = {"feature_type": "combine_feature", "feature_name": "f", "expression": "user:x", "combiner": combiner}
        return run({**entry, **options}, {"x": ["1\x1d4\x1d2", "5", None]}).ravel().tolist()

    assert combined("sum") == [7, 5, 0]
    assert combined("avg") == [7 / np.float32(3), 5, 0]
    assert combined("MIN") == [1, 5, 0]
    assert combined("max") == [4, 5, 0]
    assert combined("count") == [3, 1, 0]
    assert combined("gap_min") == [2, 0, 0]
    assert combined("gap_max") == [3, 0, 0]
    assert combined("sum", value_map={"1": 10.0, "2": 20.0}, default_value="-1") == [30, -1, -1]


def test_an_expression_with_a_missing_variable_is_the_default() -> None:
    entry = {
        "feature_type": "expr_feature",
        "feature_name": "f",
        "expression": "a/b",
        "variables": ["user:a", "item:b"],
    }
    columns = {"a": [1, None, 1, 0], "b": [2, 2, 0, 0]}
    assert run({**entry, "default_value": "7"}, columns).ravel().tolist() == [0.5, 7, math.inf, 7]
    assert run({**entry, "fill_missing": 4.0}, columns).ravel().tolist() == [0.5, 2, math.inf, 0]


def test_vectors_of_different_lengths_name_the_feature_and_the_row() -> None:
    entry = {
        "feature_type": "expr_feature",
        "feature_name": "f",
        "expression": "dot(a,b)",
        "variables": ["user:a", "item:b"],
    }
    with pytest.raises(DataError, match="feature 'f', row 1: vectors of 2 and 3 elements"):
        run(entry, {"a": [[1, 2], [1, 2]], "b": [[1, 2], [1, 2, 3]]})


# ---- several inputs


def test_a_combo_crosses_with_the_first_input_outside() -> None:
    entry = {"feature_type": "combo_feature", "feature_name": "f", "expression": ["user:a", "const:z", "item:b"]}
    assert rows(run(entry, {"a": [["x", "y"]], "b": ["1\x1d2", None]})) == [["x_z_1", "x_z_2", "y_z_1", "y_z_2"], []]


def test_a_combo_of_too_many_combinations_is_bad_data() -> None:
    entry = {"feature_type": "combo_feature", "feature_name": "f", "expression": ["user:a", "item:b"]}
    many = list(range(400))
    with pytest.raises(DataError, match="feature 'f', row 0: 160000 combinations of tokens, and at most 100000"):
        run(entry, {"a": [many], "b": [many]})


def test_a_bool_mask_keeps_true_elements_in_place() -> None:
    entry = {
        "feature_type": "bool_mask_feature",
        "feature_name": "f",
        "expression": ["user:v", "item:m"],
        "separator": ",",
    }
    columns = {"v": [[1, None, 3], "a,,c", "a,b,c", None], "m": [[0, 1, 1], "False,TRUE,true", "1,0", "1"]}
    assert rows(run(entry, columns)) == [["3"], ["c"], ["a"], []]


def test_duplicate_keys_of_a_map_count_once_and_the_last_wins() -> None:
    assert run(lookup(), {"m": ["k:1\x1dk:2\x1dj:5"], "k": ["k"]}).tolist() == [[2.0]]


def test_the_first_colon_splits_a_pair() -> None:
    assert rows(run(lookup(need_discrete=True), {"m": ["k:a:b"], "k": ["k"]})) == [["a:b"]]


def test_a_lookup_combines_what_it_finds() -> None:
    columns = {"m": ["a:1\x1db:4\x1dc:nan\x1dd"], "k": ["a\x1dz\x1db\x1dc\x1dd"]}
    for combiner, expected in {"sum": 5, "mean": 2.5, "min": 1, "max": 4, "count": 2, "gap_max": 3}.items():
        assert run(lookup(combiner=combiner), columns).tolist() == [[expected]], combiner
    assert rows(run(lookup(combiner="", boundaries=[2]), columns)) == [[0, 1]]


def test_integer_keys_are_their_decimal_text() -> None:
    assert run(lookup(), {"m": [{1: 0.5}], "k": [1.0]}).tolist() == [[0.5]]


def test_a_lookup_may_show_its_key() -> None:
    assert rows(run(lookup(need_discrete=True, need_key=True), {"m": ["a:1"], "k": ["a"]})) == [["a_1"]]


def test_a_lookup_of_vectors_takes_the_first_hit() -> None:
    out = run(lookup(value_dim=2, default_value="9"), {"m": ["a:1,2\x1db:3", "a:1,2"], "k": ["b\x1da", "z"]})
    assert out.tolist() == [[3, 9], [9, 9]]


def test_a_match_finds_values_by_both_keys() -> None:
    columns = {"m": ["a^x:1,y:2|b^x:3", {"a": "x:7"}], "p": ["b\x1da", "a"], "s": ["x", "x"]}
    assert run(match(), columns).tolist() == [[3.0], [7.0]]
    assert rows(run(match(need_discrete=True), columns)) == [["3", "1"], ["7"]]


def test_a_wildcard_matches_every_key() -> None:
    columns = {"m": ["a^x:1,y:2|b^x:3"], "p": ["a"], "s": ["x"]}
    assert rows(run(match(pkey="ALL", need_discrete=True), columns)) == [["1", "3"]]
    assert rows(run(match(skey="ALL", need_discrete=True), columns)) == [["1", "2"]]
    assert rows(run(match(pkey="ALL", skey="ALL", need_discrete=True), columns)) == [["1", "2", "3"]]


def test_a_match_may_show_its_keys() -> None:
    columns = {"m": ["a^x:1,y"], "p": ["a"], "s": ["x"]}
    assert rows(run(match(need_discrete=True, show_pkey=True, show_skey=True), columns)) == [["a_x_1"]]


def test_a_dot_product_is_zero_without_shared_keys_and_the_default_without_keys() -> None:
    entry = {"feature_type": "kv_dot_product", "feature_name": "f", "query": "user:q", "document": "item:d"}
    columns = {"q": ["a:2\x1db", "a:2", None], "d": [{"a": 3, "b": 0.5}, "c", "a"]}
    assert run({**entry, "default_value": "9"}, columns).ravel().tolist() == [6.5, 0.0, 9.0]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("query_common_ratio", [1.0, 0.5, 1.0]),
        ("title_common_ratio", [0.5, 0.25, 0.5]),
        ("is_contain", [1, 0, 0]),
        ("is_equal", [0, 0, 0]),
        ("index_of", [1, -1, -1]),
        ("proximity_min_cover", [2, 0, 3]),
        ("proximity_min_dist", [1, 5, 2]),
        ("proximity_max_dist", [1, 5, 2]),
        ("proximity_avg_dist", [1, 5, 2]),
    ],
)
def test_overlap_methods(method: str, expected: list[float]) -> None:
    entry = {
        "feature_type": "overlap_feature",
        "feature_name": "f",
        "query": "user:q",
        "title": "item:t",
        "method": method,
    }
    out = run(entry, {"q": ["b\x1dc", "b\x1dz", "d\x1db"], "t": ["a\x1db\x1dc\x1dd"]})
    assert out.ravel().tolist() == expected


def test_edit_distance_counts_characters_or_bytes() -> None:
    entry = {"feature_type": "custom_feature", "feature_name": "f", "expression": ["user:a", "item:b"]}
    entry["operator_name"] = "EditDistance"
    columns = {"a": ["裙子", "kitten", None], "b": ["连衣裙", "sitting", "a"]}
    utf8 = {**entry, "operator_params": {"encoding": "utf-8"}, "default_value": "-1"}
    assert run(utf8, columns).ravel().tolist() == [3, 3, -1]
    assert run(entry, columns)[0, 0] > 3


def test_regex_replace_as_a_custom_operator() -> None:
    entry = {
        "feature_type": "custom_feature",
        "feature_name": "f",
        "expression": ["user:a"],
        "operator_name": "RegexReplace",
    }
    entry["operator_params"] = {"regex_pattern": "[a-z]+", "replacement": "9"}
    assert run(entry, {"a": ["abc", "1b"]}).ravel().tolist() == [9, 19]
    assert rows(run({**entry, "num_buckets": 10}, {"a": ["abc", "1b"]})) == [[9], [0]]


def test_regex_replace_changes_the_first_match_or_all() -> None:
    entry = {
        "feature_type": "regex_replace_feature",
        "feature_name": "f",
        "expression": "user:a",
        "regex_pattern": ["(o)"],
    }
    columns = {"a": ["foo", "OO", b"\xffo", None]}
    assert run({**entry, "replacement": r"<\1>"}, columns).values.tolist()[:2] == ["f<o><o>", "OO"]
    assert run({**entry, "replace_all": False, "icase": True, "replacement": "0"}, columns).values.tolist()[:2] == [
        "f0o",
        "0O",
    ]
    assert run(entry, columns).values[2].encode("utf-8", "surrogateescape") == b"\xffo"


def test_regex_replace_to_nothing_is_a_missing_id() -> None:
    entry = {
        "feature_type": "regex_replace_feature",
        "feature_name": "f",
        "expression": "user:a",
        "regex_pattern": ["[^0-9]"],
    }
    assert rows(run({**entry, "num_buckets": 10, "default_value": "3"}, {"a": ["x", "a5"]})) == [[3], [5]]


# ---- properties


@given(st.floats(allow_nan=False))
def test_the_text_of_a_number_reads_back_as_the_number(x: float) -> None:
    assert float(write_number(x)) == x


@given(st.lists(st.lists(st.sampled_from(["a", "b", "", None, 3, 2.5])) | st.none(), min_size=1, max_size=5))
def test_a_list_and_its_text_mean_the_same(cells: list[Any]) -> None:
    def text(cell: list[Any] | None) -> str | None:
        return None if cell is None else "\x1d".join("" if x is None else str(x) for x in cell)

    listed, written = (rows(run(ids(), {"x": column})) for column in (cells, [text(cell) for cell in cells]))
    assert listed == written
