"""Lenient reading: what has no effect or contradicts is left out with a warning."""

from __future__ import annotations

from typing import Any

import pytest

import recserve
from recserve.errors import ConfigError


def read(*entries: dict[str, Any], lenient: bool = True) -> recserve.FeatureSet:
    return recserve.FeatureSet.from_fg_json({"features": list(entries), "version": 3}, lenient=lenient)


ID = {"feature_type": "id_feature", "feature_name": "a", "expression": "user:x"}


def test_strict_reading_warns_of_nothing() -> None:
    assert recserve.FeatureSet.from_fg_json({"features": [ID]}).warnings == ()


def test_unknown_options_are_left_out() -> None:
    features = read({**ID, "hash_bucket_sizes": 5})
    assert features.warnings == (
        "the document: unknown option 'version'",
        "feature 'a': unknown option 'hash_bucket_sizes'. Did you mean 'hash_bucket_size'?",
    )
    assert features.to_fg_json() == {"features": [ID]}
    with pytest.raises(ConfigError, match="unknown option 'version'"):
        read(ID, lenient=False)


def test_the_id_mapping_with_precedence_stays() -> None:
    features = read({**ID, "num_buckets": 4, "hash_bucket_size": 10, "vocab_list": ["a"]})
    assert any("contradict one another" in text for text in features.warnings)
    assert features.describe()["a"]["num_embeddings"] == 10
    assert features.to_fg_json()["features"][0].keys() == {*ID, "hash_bucket_size"}


def test_options_without_effect_are_left_out() -> None:
    raw = {"feature_type": "raw_feature", "feature_name": "b", "expression": "item:y", "sequence_length": 3}
    lookup = {"feature_type": "lookup_feature", "feature_name": "c", "map": "user:m", "key": "item:k"}
    features = read(raw, {**lookup, "need_key": True, "value_separator": "#"})
    assert len([text for text in features.warnings if "has no effect" in text]) == 3
    again = recserve.FeatureSet.from_fg_json(features.to_fg_json())
    assert (again.digest, again.warnings) == (features.digest, ())


def test_what_has_no_meaning_is_refused_all_the_same() -> None:
    with pytest.raises(ConfigError, match=r"option 'expression' is missing"):
        read({"feature_type": "id_feature", "feature_name": "a"})
    with pytest.raises(ConfigError, match=r"unknown feature_type 'idd_feature'"):
        read({**ID, "feature_type": "idd_feature"})
