"""Zero-collision ids: full hashes, which hashed tables keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve import FeatureSet
from recserve.features.reference_hash import HASHES
from recserve.tables.lookup import look_up
from recserve.tables.table import Table

LAST = (1 << 63) - 1


def feature(kind: str = "id_feature", **options: Any) -> FeatureSet:
    entry = {"feature_type": kind, "feature_name": "f", "expression": "user:x", "embedding_dim": 2, **options}
    return FeatureSet.from_fg_json({"features": [entry]})


@pytest.mark.parametrize("options", [{"zch": {"zch_size": 3}}, {"dynamicemb": {"max_capacity": 3}}])
@pytest.mark.parametrize("reference", [True, False])
def test_dynamic_ids_are_hashes_that_a_hashed_table_finds(options: dict[str, Any], reference: bool) -> None:
    features = feature(**options)
    assert features.outputs[0].is_dynamic
    assert features.outputs[0].rows == 3
    assert features.describe()["f"]["num_embeddings"] == 3
    out: Any = features.compile(reference=reference).run({"x": ["a", "b\x1dc", None, "unseen"]})["f"]
    signs = [HASHES["murmur64a"](text) % LAST for text in (b"a", b"b", b"c")]
    assert out.values[:3].tolist() == signs
    table = Table.hashed("f_emb", np.array(signs, np.int64), np.array([[1, 2], [3, 4], [5, 6]], np.float32))
    assert look_up(table, out).tolist() == [[1, 2], [8, 10], [0, 0], [0, 0]]


def test_dynamic_ids_of_sequences_are_found_too() -> None:
    features = feature("sequence_id_feature", zch={"zch_size": 3})
    out: Any = features.compile().run({"x": ["a;b", "a"]})["f"]
    signs = np.array([HASHES["murmur64a"](text) % LAST for text in (b"a", b"b")], np.int64)
    table = Table.hashed("f_emb", signs, np.array([[1, 2], [3, 4]], np.float32))
    assert look_up(table, out).tolist() == [[[1, 2], [3, 4]], [[1, 2], [0, 0]]]


def test_integers_without_a_bound_are_dynamic() -> None:
    features = feature(num_buckets=LAST)
    assert (features.outputs[0].is_dynamic, features.outputs[0].rows) == (True, None)
    out: Any = features.compile().run({"x": [LAST - 1]})["f"]
    assert out.values.tolist() == [LAST - 1]


def test_bounded_and_encoded_ids_are_not_dynamic() -> None:
    assert not feature(hash_bucket_size=10).outputs[0].is_dynamic
    entry = {"feature_type": "id_feature", "feature_name": "f", "zch": {"zch_size": 3}}
    assert not FeatureSet.from_fg_json({"features": [entry]}, mode="encoded").outputs[0].is_dynamic
