"""Sequences of item columns, joined by item ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve import FeatureSet
from recserve.errors import ConfigError, DataError
from recserve.features.sequence_join import SequenceJoin, join_sequences


def group(**options: Any) -> dict[str, Any]:
    cate = {"feature_type": "id_feature", "feature_name": "cate", "expression": "item:cate", "num_buckets": 100}
    time = {"feature_type": "raw_feature", "feature_name": "gap", "expression": "user:gap"}
    look = {"feature_type": "lookup_feature", "feature_name": "taste", "map": "user:m", "key": "item:brand"}
    return {"sequence_name": "click", "sequence_length": 3, "features": [cate, time, look], **options}


def test_item_inputs_of_a_sequence_are_joined_by_its_key() -> None:
    features = FeatureSet.from_fg_json({"features": [group()]})
    expected = SequenceJoin("click", "click", "user", {"click__cate": "cate", "click__brand": "brand"}, ";", 3)
    assert features.sequence_joins() == [expected]
    other = FeatureSet.from_fg_json({"features": [group(sequence_pk="context:seen")]}).sequence_joins()
    assert (other[0].side, other[0].key) == ("context", "seen")


def test_sequences_without_item_inputs_are_not_joined() -> None:
    only = {"sequence_name": "click", "features": [group()["features"][1]]}
    assert FeatureSet.from_fg_json({"features": [only]}).sequence_joins() == []


@pytest.mark.parametrize("given", ["item:x", "click", "user:"])
def test_a_key_of_another_form_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"sequence 'click': option 'sequence_pk' is .*, not `user:name`"):
        FeatureSet.from_fg_json({"features": [group(sequence_pk=given)]})


def test_joined_columns_run_through_the_plan() -> None:
    features = FeatureSet.from_fg_json({"features": [group()]})
    items = {"item_id": [7, 8, 9], "cate": pa.array([1, 2, None]), "brand": np.array(["a", "b", "c"])}
    columns = {"click": ["7;9;5;8", [8], None], "click__gap": ["1;2;3", "4", None], "m": ["a:1\x1db:2"]}
    joined = join_sequences(features.sequence_joins(), columns, items)
    assert joined["click__cate"] == [[1, None, None], [2], None]
    assert joined["click__brand"] == [["a", "c", None], ["b"], None]
    for reference in (True, False):
        out: Any = features.compile(reference=reference).run(joined)
        assert out["click__cate"].values.tolist() == [1, 0, 0, 2, 0]
        assert out["click__cate"].seq_lengths.tolist() == [3, 1, 1]
        assert out["click__taste"].values.ravel().tolist() == [1.0, 0.0, 0.0, 2.0, 0.0]


def test_columns_that_were_given_stay() -> None:
    features = FeatureSet.from_fg_json({"features": [group()]})
    given_columns = {"click": ["1"], "click__cate": ["5"], "click__brand": ["x"]}
    assert join_sequences(features.sequence_joins(), given_columns, {"item_id": []}) == given_columns


def test_missing_columns_are_named() -> None:
    joins = FeatureSet.from_fg_json({"features": [group()]}).sequence_joins()
    with pytest.raises(DataError, match="sequence 'click': column 'click' is missing"):
        join_sequences(joins, {"clicks": []}, {"item_id": []})
    with pytest.raises(DataError, match=r"the item table: column 'cate' is missing. Did you mean 'cates'"):
        join_sequences(joins, {"click": []}, {"item_id": [], "cates": []})
    with pytest.raises(DataError, match="the item table: column 'sku' is missing"):
        join_sequences(joins, {"click": []}, {"item_id": []}, item_id="sku")


IDS = st.one_of(st.integers(0, 6), st.sampled_from(["a", "3", "ab"]))


@given(
    keys=st.lists(st.one_of(st.none(), st.lists(IDS, max_size=5)), max_size=5),
    items=st.lists(st.tuples(IDS, st.integers(0, 9)), max_size=8),
    limit=st.one_of(st.none(), st.integers(1, 3)),
)
def test_a_join_finds_what_a_dict_finds(keys: list[Any], items: list[tuple[Any, int]], limit: int | None) -> None:
    join = SequenceJoin("s", "s", "user", {"s__x": "x"}, ";", limit)
    table = {"item_id": [key for key, _ in items], "x": [x for _, x in items]}
    known = {str(key): x for key, x in items}
    expected = [[known.get(str(key)) for key in (cell or [])[:limit]] or None for cell in keys]
    assert join_sequences([join], {"s": keys}, table)["s__x"] == expected
