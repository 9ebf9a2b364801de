from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.features.declared import Declared
from recserve.features.feature_set import FeatureSet
from recserve.features.spec import SequenceGroup
from recserve.features.spec_types import IdFeature, RawFeature

ID = {"feature_type": "id_feature", "feature_name": "a", "expression": "item:x", "hash_bucket_size": 10}


def read(*entries: Any, **options: Any) -> FeatureSet:
    return FeatureSet.from_fg_json({"features": list(entries)}, **options)


def test_a_file_is_read_with_the_assets_beside_it(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("p\nq\n", encoding="utf-8")
    entry = {**ID, "hash_bucket_size": None, "vocab_file": "v.txt", "default_bucketize_value": 0}
    path = tmp_path / "fg.json"
    path.write_text(json.dumps({"features": [entry]}), encoding="utf-8")
    out = FeatureSet.load(path).compile(reference=True).run({"x": ["q"]})
    assert out["a"].values.tolist() == [1]


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fg.json"
    with pytest.raises(ConfigError, match=r"fg\.json: cannot read it: No such file"):
        FeatureSet.load(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"fg\.json: it is not JSON"):
        FeatureSet.load(path)
    path.write_text(json.dumps({"features": [{**ID, "bucket_size": 3}]}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"fg\.json: feature 'a': unknown option 'bucket_size'"):
        FeatureSet.load(path)


def test_an_unsupported_profile_has_its_own_code() -> None:
    with pytest.raises(ConfigError, match=r"profile 'easyrec' is not supported. There are pyfg, farmhash") as caught:
        read(ID, profile="easyrec")
    assert caught.value.code == "unsupported_profile"


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown mode 'encode'. Did you mean 'encoded'"):
        read(ID, mode="encode")
    with pytest.raises(ConfigError, match="encoded_separator is empty"):
        read(ID, encoded_separator="")


def test_profiles_hash_differently() -> None:
    found = [read(ID, profile=p).compile(reference=True).run({"x": ["1"]})["a"].values[0] for p in ("pyfg", "farmhash")]
    assert found == [5, 9]


def test_a_description_tells_what_applies() -> None:
    group = {
        "sequence_name": "s",
        "features": [ID, {"feature_type": "raw_feature", "feature_name": "r", "expression": "user:t"}],
    }
    described = read({**ID, "embedding_dim": 8}, group).describe()
    assert described["a"] == {
        "inputs": ["x"],
        "sequence_inputs": [],
        "is_sparse": True,
        "output_dim": 8,
        "num_embeddings": 10,
        "default_value": "",
        "value_dim": 0,
        "rate": "item",
    }
    assert described["s__r"] == {
        "inputs": ["s__t"],
        "sequence_inputs": ["s__t"],
        "is_sparse": False,
        "output_dim": 1,
        "num_embeddings": None,
        "default_value": "0",
        "value_dim": 1,
        "rate": "request",
    }
    assert json.loads(json.dumps(described)) == described


def test_a_dense_embedding_makes_the_output_as_wide_as_the_embedding() -> None:
    raw = {"feature_type": "raw_feature", "feature_name": "r", "expression": "user:t", "mlp": {}, "embedding_dim": 6}
    features = read(raw)
    assert features.describe()["r"]["output_dim"] == 6
    assert features.outputs[0].dim == 1


def test_the_digest_changes_with_everything_that_decides_ids(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("p\n", encoding="utf-8")
    entry = {**ID, "hash_bucket_size": None, "vocab_file": "v.txt", "default_bucketize_value": 0}
    digests = [
        read(ID).digest,
        read({**ID, "hash_bucket_size": 11}).digest,
        read(ID, profile="farmhash").digest,
        read(ID, mode="bucketize").digest,
        read(ID, encoded_separator=";").digest,
        read(entry, asset_dir=tmp_path).digest,
    ]
    path.write_text("q\n", encoding="utf-8")
    digests.append(read(entry, asset_dir=tmp_path).digest)
    assert len(set(digests)) == len(digests)
    assert read(dict(reversed(ID.items()))).digest == digests[0]


def test_features_may_be_built_in_python() -> None:
    price = RawFeature(feature_name="price", expression="item:price", boundaries=(1.0, 2.0))
    clicked = IdFeature(feature_name="a", expression="item:x", num_buckets=10)
    group = SequenceGroup(sequence_name="s", sequence_length=2)
    features = FeatureSet.of(price, (group, [clicked]), Declared(clicked, is_plain_sequence=True))
    assert list(features.describe()) == ["price", "s__a", "a"]
    out = features.compile(reference=True).run({"price": [1.5], "s__x": ["1;2;3"], "x": ["4;5"]})
    assert [out[name].values.tolist() for name in ("price", "s__a", "a")] == [[1], [1, 2], [4, 5]]
    with pytest.raises(ConfigError, match="feature 'a' is declared 2 times"):
        FeatureSet.of(clicked, clicked)
