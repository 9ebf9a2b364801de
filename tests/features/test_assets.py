from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from recserve.errors import ConfigError
from recserve.features.assets import save_features
from recserve.features.feature_set import FeatureSet

COLOR = {"feature_name": "color", "feature_type": "id_feature", "expression": "item:color", "embedding_dim": 2} | {
    "default_value": "red",
    "default_bucketize_value": 0,
}


def feature_set(folder: Path, *entries: dict[str, Any]) -> FeatureSet:
    return FeatureSet.from_fg_json({"features": list(entries)}, asset_dir=folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "words").mkdir(parents=True)
    (folder / "colors.txt").write_text("red\ngreen\n")
    (folder / "words" / "colors.txt").write_text("blue\nred\n")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_a_saved_set_computes_the_same_anywhere(source: Path, target: Path, tmp_path: Path) -> None:
    other = COLOR | {"feature_name": "other", "vocab_file": "colors.txt", "asset_dir": "words"}
    features = feature_set(source, COLOR | {"vocab_file": "colors.txt"}, other)
    columns = {"color": ["red", "green", "blue"]}
    expected = features.compile().run(columns)
    save_features(features, target)
    shutil.rmtree(source)
    moved = Path(shutil.move(target, tmp_path / "moved"))
    found = FeatureSet.load(moved / "features.json").compile().run(columns)
    for name in ("color", "other"):
        assert found[name].values.tolist() == expected[name].values.tolist()
    assert found["color"].values.tolist() != found["other"].values.tolist()


def test_assets_are_named_after_what_they_hold(source: Path, target: Path) -> None:
    features = feature_set(source, *[COLOR | {"feature_name": name, "vocab_file": "colors.txt"} for name in "ab"])
    save_features(features, target)
    (asset,) = (target / "assets").iterdir()
    assert asset.name.endswith("_colors.txt")
    assert asset.read_text() == "red\ngreen\n"
    document = orjson.loads((target / "features.json").read_bytes())
    assert [feature["vocab_file"] for feature in document["features"]] == [f"assets/{asset.name}"] * 2


def test_members_of_a_sequence_bring_theirs(source: Path, target: Path) -> None:
    member = COLOR | {"expression": "user:color", "vocab_file": "colors.txt"}
    save_features(feature_set(source, {"sequence_name": "clicks", "features": [member]}), target)
    found = FeatureSet.load(target / "features.json")
    assert (
        found.compile().run({"clicks__color": ["green"]})["clicks__color"].values.tolist()
        == feature_set(source, {"sequence_name": "clicks", "features": [member]})
        .compile()
        .run({"clicks__color": ["green"]})["clicks__color"]
        .values.tolist()
    )
    shutil.rmtree(source)
    assert FeatureSet.load(target / "features.json").graph


def test_a_set_without_assets_is_one_file(source: Path, target: Path) -> None:
    save_features(feature_set(source, COLOR | {"hash_bucket_size": 5, "default_bucketize_value": None}), target)
    assert [path.name for path in target.iterdir()] == ["features.json"]


def test_a_missing_asset_is_named(source: Path, target: Path) -> None:
    features = feature_set(source, COLOR | {"vocab_file": "colours.txt"})
    with pytest.raises(ConfigError) as caught:
        save_features(features, target)
    assert caught.value.code == "missing_asset"
    assert str(caught.value) == f"{source / 'colours.txt'}: cannot copy it: No such file or directory"
