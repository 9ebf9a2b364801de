"""Rules that other engines leave open, decided in docs/reference/features.md, on both engines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from recserve import FeatureSet
from recserve.errors import DataError
from recserve.features.reference_hash import HASHES

ID = {"feature_type": "id_feature", "expression": "user:x"}
RAW = {"feature_type": "raw_feature", "expression": "user:x"}
SEQUENCE = {"feature_type": "sequence_id_feature", "expression": "user:x"}
COMBO = {"feature_type": "combo_feature", "expression": ["user:x", "user:y"]}
COMBINE = {"feature_type": "combine_feature", "expression": "user:x"}
LOOKUP = {"feature_type": "lookup_feature", "map": "user:m", "key": "user:k"}
TOKENS = {**LOOKUP, "need_discrete": True}
MATCH = {"feature_type": "match_feature", "nested_map": "user:m", "pkey": "user:p", "skey": "user:s"}
EXPR = {"feature_type": "expr_feature", "variables": ["user:x"]}
MASK = {"feature_type": "bool_mask_feature", "expression": ["user:x", "user:y"]}
NESTED = {"m": ["a^u:1,v:2|b^u:3"], "p": ["a"], "s": ["u"]}


def run(entry: dict[str, Any], columns: dict[str, Any], reference: bool) -> Any:
    features = FeatureSet.from_fg_json({"features": [{"feature_name": "f", **entry}]})
    return features.compile(reference=reference).run(columns)["f"]


@pytest.mark.parametrize("reference", [True, False], ids=["reference", "compiled"])
@pytest.mark.parametrize(
    ("entry", "columns", "expected"),
    [
        # the first steps of a sequence are kept
        ({**SEQUENCE, "sequence_length": 2}, {"x": ["1;2;3"]}, [["1", "2"]]),
        # ids outside num_buckets count as missing
        ({**ID, "num_buckets": 5}, {"x": ["4", "5", "-1", "3.0"]}, [[4], [], [], [3]]),
        ({**ID, "num_buckets": 5, "default_value": "2"}, {"x": ["9", "1\x1d9"]}, [[2], [1]]),
        # NaN takes the default, infinities stay
        ({**RAW, "default_value": "7"}, {"x": ["nan", "inf", "-Infinity"]}, [[7.0], [math.inf], [-math.inf]]),
        ({**RAW, "boundaries": [0.0], "default_value": ""}, {"x": ["nan", "inf", "-inf"]}, [[], [1], [0]]),
        # a vector takes what it lacks from the default, and leaves out what it has too many of
        ({**RAW, "value_dim": 3, "default_value": "9"}, {"x": ["1", "1\x1d2\x1d3\x1d4"]}, [[1, 9, 9], [1, 2, 3]]),
        # of equal keys of a map the last counts; the first colon splits
        (LOOKUP, {"m": ["a:1\x1da:2"], "k": ["a"]}, [[2.0]]),
        (LOOKUP, {"m": ["a:1\x1da:2"], "k": ["a\x1da"]}, [[4.0]]),
        (TOKENS, {"m": ["a:b:1"], "k": ["a", "a:b"]}, [["b:1"], ["0"]]),
        ({**TOKENS, "need_key": True}, {"m": ["a:1\x1db:2"], "k": ["b\x1da"]}, [["b_2", "a_1"]]),
        # gaps are absolute differences of neighbours, 0 of one number
        ({**COMBINE, "combiner": "gap_min"}, {"x": [[1, 9, 6], [4], None]}, [[3.0], [0.0], [0.0]]),
        ({**COMBINE, "combiner": "gap_max"}, {"x": [[1, 9, 6], [4], None]}, [[8.0], [0.0], [0.0]]),
        # a wildcard matches every key, the primary keys outside
        ({**MATCH, "pkey": "ALL", "need_discrete": True}, NESTED, [["1", "3"]]),
        ({**MATCH, "skey": "ALL", "need_discrete": True}, NESTED, [["1", "2"]]),
        ({**MATCH, "pkey": "ALL", "skey": "ALL", "need_discrete": True}, NESTED, [["1", "2", "3"]]),
        ({**MATCH, "pkey": "ALL"}, NESTED, [[1.0]]),
        ({**MATCH, "need_discrete": True, "show_pkey": True}, NESTED, [["a_1"]]),
        ({**MATCH, "need_discrete": True, "show_skey": True}, NESTED, [["u_1"]]),
        ({**MATCH, "need_discrete": True, "show_pkey": True, "show_skey": True}, NESTED, [["a_u_1"]]),
        # std_dev divides by n, pop_std_dev by n - 1: the names are swapped, as where they come from
        ({**EXPR, "expression": "std_dev(x)"}, {"x": [[1, 3]]}, [[1.0]]),
        ({**EXPR, "expression": "pop_std_dev(x)"}, {"x": [[1, 3]]}, [[np.float32(math.sqrt(2))]]),
        # a mask and its values may differ in length: what is beyond the shorter is dropped
        (MASK, {"x": [["a", "b", "c"], ["a"], ["a"]], "y": [[1, 0], [1, 1], None]}, [["a"], ["a"], []]),
    ],
)
def test_open_rules(entry: dict[str, Any], columns: dict[str, Any], expected: list[Any], reference: bool) -> None:
    found = run(entry, columns, reference)
    rows = found.tolist() if isinstance(found, np.ndarray) else [found.row(n).tolist() for n in range(len(found))]
    assert rows == expected


@pytest.mark.parametrize("reference", [True, False], ids=["reference", "compiled"])
def test_inputs_of_a_sequence_may_differ_in_length(reference: bool) -> None:
    members = [{"feature_type": "combo_feature", "feature_name": "f", "expression": ["item:x", "item:y"]}]
    features = FeatureSet.from_fg_json({"features": [{"sequence_name": "s", "features": members}]})
    columns = {"s__x": ["a;b;c", "a;b"], "s__y": ["1;2", "1"]}
    found: Any = features.compile(reference=reference).run(columns)["s__f"]
    assert found.values.tolist() == ["a_1", "b_2", "0", "a_1", "b_1"]
    assert found.seq_lengths.tolist() == [3, 2]


@pytest.mark.parametrize("reference", [True, False], ids=["reference", "compiled"])
def test_bytes_that_are_no_utf8_are_hashed_as_they_are(reference: bool) -> None:
    import pyarrow as pa

    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\x61")]
    )
    features = FeatureSet.from_fg_json({"features": [{"feature_name": "f", **ID, "hash_bucket_size": 1000}]})
    if reference:
        found: Any = features.compile(reference=True).run({"x": [b"\xff\x61"]})["f"]
    else:
        found = features.compile().run({"x": column})["f"]
    assert found.values.tolist() == [HASHES["murmur64a"](b"\xff\x61") % 1000]


@pytest.mark.parametrize("reference", [True, False], ids=["reference", "compiled"])
@pytest.mark.parametrize(
    ("entry", "columns", "problem"),
    [
        (RAW, {"x": ["1", "abc"]}, r"feature 'f', column 'x', row 1: 'abc' is not a number"),
        ({**ID, "num_buckets": 5}, {"x": ["1", "1.5"]}, r"feature 'f'.*row 1: '1.5' is not an integer"),
        ({**ID, "num_buckets": 5}, {"x": ["a"]}, r"feature 'f'.*row 0: 'a' is not an integer"),
        (COMBO, {"x": [list(range(400))], "y": [list(range(400))]}, r"feature 'f'.* combinations"),
    ],
)
def test_open_rules_of_bad_data(entry: dict[str, Any], columns: dict[str, Any], problem: str, reference: bool) -> None:
    with pytest.raises(DataError, match=problem):
        run(entry, columns, reference)
