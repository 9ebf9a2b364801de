"""What sequences, features that read features, and assets compute, on the reference interpreter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import recserve
from recserve.errors import ConfigError, DataError


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


# ---- sequences


def grouped(*members: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"sequence_name": "s", "features": list(members), **options}


def test_a_sequence_keeps_its_first_steps() -> None:
    out = run(grouped(ids(num_buckets=100), sequence_length=2), {"s__x": ["1;2;3", [4, 5, 6], None, ";7"]})
    assert out.values.tolist() == [1, 2, 4, 5, 0, 0, 7]
    assert out.seq_lengths.tolist() == [2, 2, 1, 2]


def test_an_empty_step_is_the_default() -> None:
    out = run(grouped(ids(default_value="z"), sequence_delim="|"), {"s__x": ["c||a|"]})
    assert out.values.tolist() == ["c", "z", "a", "z"]


def test_steps_hold_several_values_where_value_dim_is_0() -> None:
    out = run(grouped(ids(value_dim=0, num_buckets=9)), {"s__x": ["1\x1d2;3", [[4, 5], []]]})
    assert (out.values.tolist(), out.key_lengths.tolist()) == ([1, 2, 3, 4, 5, 0], [2, 1, 2, 1])
    assert out.lengths.tolist() == [3, 3]


def test_sequences_of_different_lengths_in_one_feature_are_as_long_as_the_longest() -> None:
    entry = {
        "feature_type": "combo_feature",
        "feature_name": "f",
        "expression": ["item:a", "item:b"],
        "default_value": "z",
    }
    out = run(grouped(entry), {"s__a": ["1;2;3", "4"], "s__b": ["x;y", "p;q"]})
    assert out.values.tolist() == ["1_x", "2_y", "z", "4_p", "4_q"]


def test_a_scalar_map_is_probed_by_each_step() -> None:
    entry = grouped(lookup(default_value="-1"))
    out = run(entry, {"m": ["a:1\x1db:2"], "s__k": ["a;z;b", None]})
    assert out.values.ravel().tolist() == [1, -1, 2, -1]


def test_a_sequence_of_vectors_by_lookup() -> None:
    out = run(grouped(lookup(value_dim=2, combiner="")), {"m": ["ca:1,2\x1dcb:3,4"], "s__k": ["ca;cb", "cd"]})
    assert out.values.tolist() == [[1, 2], [3, 4], [0, 0]]


def test_spherical_distance_of_a_sequence_of_places() -> None:
    entry = {"feature_type": "custom_feature", "feature_name": "f", "operator_name": "SeqExpr"}
    entry |= {"expression": ["item:lng", "item:lat", "user:ulng", "user:ulat"], "boundaries": [0, 150, 1500]}
    entry["operator_params"] = {"formula": "spherical_distance"}
    columns = {
        "s__lng": ["113.728|116.4074", "121.4737", None],
        "s__lat": ["23.002|39.9042", "31.2304", None],
        "ulng": ["113.1057", "116.4074", None],
        "ulat": ["22.5614", "39.9042", None],
    }
    assert run(grouped(entry, sequence_delim="|"), columns).values.tolist() == [1, 3, 2, 1]


def test_semantic_ids_are_offset_by_level() -> None:
    entry = {"feature_type": "sid_feature", "feature_name": "f", "expression": "user:x", "codebook": [4, 8]}
    out = run({**entry, "sequence_length": 2}, {"x": ["1;7;0;0", [[1, 2], [3, 4]], None]})
    assert out.values.tolist() == [1, 11, 1, 6, 0, 4]
    assert out.seq_lengths.tolist() == [2, 2, 2]
    with pytest.raises(DataError, match=r"feature 'f', row 0: code '8' of level 1 is not in \[0, 8\)"):
        run(entry, {"x": [[0, 8]]})
    with pytest.raises(DataError, match="3 codes are not a multiple of the 2 levels"):
        run(entry, {"x": [[0, 1, 2]]})


def test_masked_rows_are_missing_in_training_only() -> None:
    columns = {"x": [1, 2], "__SAMPLE_MASK__": [True, False]}
    assert rows(run(ids(num_buckets=9, use_mask=True), columns, training=True)) == [[], [2]]
    assert rows(run(ids(num_buckets=9, use_mask=True), columns)) == [[1], [2]]
    assert rows(run(ids(num_buckets=9), columns, training=True)) == [[1], [2]]
    sequence = run(grouped(ids(num_buckets=9, use_mask=True)), {**columns, "s__x": ["1;2", "3"]}, training=True)
    assert (sequence.values.tolist(), sequence.seq_lengths.tolist()) == ([0, 3], [1, 1])


# ---- features that read features


def test_a_feature_reads_another_after_its_bucketiser() -> None:
    first = {**raw(boundaries=[1.5, 2.5]), "feature_name": "a"}
    then = {"feature_type": "expr_feature", "feature_name": "b", "expression": "a*10", "variables": ["feature:a"]}
    assert run([first, then], {"x": [1, 2, 3]}).ravel().tolist() == [0, 10, 20]


def test_a_sequence_is_read_by_a_scalar_feature_as_all_its_values() -> None:
    stub = grouped({**ids(), "feature_name": "g", "stub_type": True})
    out = run([stub, {**ids(expression="feature:s__g")}], {"s__x": ["1;2", "3"]})
    assert rows(out) == [["1", "2"], ["3"]]


def test_members_of_a_group_read_one_another_by_short_name() -> None:
    first = {**raw(), "feature_name": "a"}
    then = {
        "feature_type": "expr_feature",
        "feature_name": "b",
        "expression": "a+u",
        "variables": ["feature:a", "user:u"],
    }
    out = run(grouped(first, then), {"s__x": ["1;2", "3"], "u": [10]})
    assert out.values.ravel().tolist() == [11, 12, 13]


def test_dense_and_token_features_are_read_as_tokens_and_numbers() -> None:
    tokens = {**lookup(need_discrete=True), "feature_name": "t", "stub_type": True}
    numbers = raw(expression="feature:t", separator=",", value_dim=2)
    assert run([tokens, numbers], {"m": ["a:1,2"], "k": ["a"]}).tolist() == [[1, 2]]
    dense = {**raw(), "feature_name": "d"}
    assert rows(run([dense, ids(expression="feature:d")], {"x": [2, 2.5]})) == [["2"], ["2.5"]]


def test_a_map_cannot_be_another_feature() -> None:
    with pytest.raises(ConfigError, match="feature 'f': input 'feature:a' holds no key-value pairs"):
        run([{**ids(), "feature_name": "a"}, lookup(map="feature:a")], {"x": ["1"], "k": ["1"]})
    with pytest.raises(ConfigError, match="feature 'f': input 'feature:a' holds no nested map"):
        run([{**ids(), "feature_name": "a"}, match(nested_map="feature:a")], {"x": ["1"], "p": ["1"], "s": ["1"]})


def test_a_sequence_needs_a_sequence_input() -> None:
    entry = grouped({**ids(expression="feature:a")})
    with pytest.raises(ConfigError, match="feature 's__f': no input is a sequence"):
        run([{**ids(), "feature_name": "a"}, entry], {"x": ["1"]})


# ---- assets


def test_a_vocabulary_file_holds_words_or_pairs(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("xyz\nabc d\r\n裙\n", encoding="utf-8")
    (tmp_path / "pairs.txt").write_text("a b 4\n 0\n", encoding="utf-8")
    words = ids(vocab_file="words.txt", default_bucketize_value=7)
    assert rows(run(words, {"x": ["abc d\x1d裙\x1dq"]}, asset_dir=tmp_path)) == [[1, 2, 7]]
    pairs = ids(vocab_file="pairs.txt", default_bucketize_value=0)
    assert rows(run(pairs, {"x": ["a b\x1db"]}, asset_dir=tmp_path)) == [[4, 0]]


def test_a_bad_asset_names_the_feature_and_the_file(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "latin").write_bytes(b"\xff\n")
    for name, message in {
        "none": "cannot read .*none",
        "empty": "empty' is empty",
        "latin": "latin' is not UTF-8",
    }.items():
        with pytest.raises(ConfigError, match=f"feature 'f': .*{message}"):
            run(ids(vocab_file=name, default_bucketize_value=0), {"x": ["a"]}, asset_dir=tmp_path)


def bpe(path: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "A": 2, "ab": 3}, "merges": ["a b"]}
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}), encoding="utf-8")


def test_a_text_is_cut_into_pieces(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    bpe(tmp_path / "t.json")
    entry = {"feature_type": "tokenize_feature", "feature_name": "f", "expression": "user:x", "vocab_file": "t.json"}
    columns = {"x": ["aba", None, ["b", "a"]]}
    assert rows(run({**entry, "default_value": "A"}, columns, asset_dir=tmp_path)) == [[3, 0], [2], [1, 0]]
    options = {
        "text_normalizer": {"norm_options": ["TEXT_UPPER2LOWER", "TEXT_FILTER", "TEXT_SBC2DBC"], "max_length": 4}
    }
    normal = run({**entry, **options}, {"x": ["A!B", "ＡＢ", "AAAAA"]}, asset_dir=tmp_path)
    assert rows(normal) == [[3], [3], [2, 2, 2, 2, 2]]
    spread = run({**entry, "tokens_as_sequence": True, "sequence_length": 2}, {"x": ["abaa", "b"]}, asset_dir=tmp_path)
    assert (spread.values.tolist(), spread.seq_lengths.tolist()) == ([3, 0, 1], [2, 1])
    assert spread.key_lengths.tolist() == [1, 1, 1]


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "t.json").write_text("{}", encoding="utf-8")
    entry = {"feature_type": "tokenize_feature", "feature_name": "f", "expression": "user:x", "vocab_file": "t.json"}
    with pytest.raises(ConfigError, match=r"feature 'f': .*is no bpe tokenizer"):
        run(entry, {"x": ["a"]}, asset_dir=tmp_path)
