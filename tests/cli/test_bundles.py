from __future__ import annotations

from pathlib import Path

import pytest

from recserve.cli.bundles import match_items, resolve_bundle
from recserve.errors import ConfigError


def test_a_model_directory_means_its_highest_version(tmp_path: Path) -> None:
    for version in ("9", "10", "tmp", ".11"):
        (tmp_path / "rank" / version).mkdir(parents=True)
    assert resolve_bundle(str(tmp_path / "rank")) == tmp_path / "rank" / "10"
    assert resolve_bundle(str(tmp_path / "rank" / "9")) == tmp_path / "rank" / "9"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such directory"):
        resolve_bundle(str(tmp_path / "none"))


def test_items_go_to_every_model_or_to_the_named_one(tmp_path: Path) -> None:
    bundles = [tmp_path / "rank" / "7", tmp_path / "recall" / "1"]
    for name in ("all.parquet", "few.parquet", "a=b.parquet"):
        (tmp_path / name).touch()
    every, few, odd = (str(tmp_path / name) for name in ("all.parquet", "few.parquet", "a=b.parquet"))
    assert match_items([], bundles) == {bundles[0]: None, bundles[1]: None}
    assert match_items([every, f"recall={few}"], bundles) == {bundles[0]: every, bundles[1]: few}
    assert match_items([odd], bundles) == {bundles[0]: odd, bundles[1]: odd}


def test_items_that_match_nothing_are_told(tmp_path: Path) -> None:
    bundles = [tmp_path / "rank" / "7"]
    file = tmp_path / "i.parquet"
    file.touch()
    for values, message in (
        ([f"rnk={file}"], "--items: items for the unknown model 'rnk'. Did you mean 'rank'?"),
        ([str(file), str(file)], "--items: two items files for every model"),
        (["none.parquet"], "--items none.parquet: there is no such file"),
    ):
        with pytest.raises(ConfigError) as caught:
            match_items(values, bundles)
        assert str(caught.value) == message
