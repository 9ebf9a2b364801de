from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import guess, read


def split(kind: str, **values: Any) -> dict[str, Any]:
    return {"split_type": kind, **values}


def document(loss: str = "RMSE", **extra: Any) -> dict[str, Any]:
    return {
        "features_info": {
            "cat_features_hash": [{"hash": 3000000000, "value": "北京"}],
            "categorical_features": [{"feature_id": "c", "flat_feature_index": 1, "values": [3000000000 - 2**32]}],
            "float_features": [{"feature_id": "x", "flat_feature_index": 0, "nan_value_treatment": "AsTrue"}],
        },
        "model_info": {"params": json.dumps({"loss_function": {"type": loss}})},
        "oblivious_trees": [
            {
                "leaf_values": [1.0, 2.0, 3.0, 4.0],
                "splits": [
                    split("FloatFeature", float_feature_index=0, border=0.5),
                    split("OneHotFeature", cat_feature_index=0, value=3000000000 - 2**32),
                ],
            }
        ],
        "scale_and_bias": [2.0, [0.5]],
        **extra,
    }


def write(tmp_path: Path, found: Any) -> Path:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(found))
    return path


ROWS: dict[str, list[Any]] = {"x": [0.5, 0.75, None, 0.0], "c": ["a", "a", "北京", "北京"]}
RAW = [2.5, 4.5, 8.5, 6.5]


def test_the_first_split_is_the_lowest_bit_of_the_leaf(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    assert guess(path) == "catboost"
    for reference in (False, True):
        scores = read(path).score(ROWS, reference=reference)
        assert scores.outputs["raw"].tolist() == RAW
        assert scores.outputs["prediction"].tolist() == RAW


def test_two_classes_have_probabilities_and_a_label(tmp_path: Path) -> None:
    found = document("Logloss", scale_and_bias=[2.0, [-5.0]])
    found["model_info"]["class_params"] = {"class_names": ["no", "yes"]}
    scores = read(write(tmp_path, found)).score(ROWS)
    raw = [x - 5.5 for x in RAW]
    np.testing.assert_allclose(scores.outputs["probability"][:, 1], [1 / (1 + math.exp(-x)) for x in raw])
    assert list(scores.outputs["prediction"]) == ["yes" if x > 0 else "no" for x in raw]


def test_counts_come_as_their_mean(tmp_path: Path) -> None:
    scores = read(write(tmp_path, document("Poisson"))).score(ROWS)
    np.testing.assert_allclose(scores.outputs["prediction"], np.exp(RAW))


def test_other_trees_take_the_right_child_where_the_test_holds(tmp_path: Path) -> None:
    found = document()
    del found["oblivious_trees"]
    test = split("FloatFeature", float_feature_index=0, border=0.5)
    found["trees"] = [{"split": test, "left": {"value": 1.0}, "right": {"value": 2.0}}]
    assert read(write(tmp_path, found)).score(ROWS).outputs["raw"].tolist() == [2.5, 4.5, 4.5, 2.5]


def test_a_missing_category_fails_its_row(tmp_path: Path) -> None:
    scores = read(write(tmp_path, document())).score({"x": [1.0], "c": [None]})
    assert scores.errors == {0: "column 'c': CatBoost takes no missing category"}


@pytest.mark.parametrize(
    ("path", "value", "code", "message"),
    [
        (
            ("oblivious_trees", 0, "splits", 0, "split_type"),
            "OnlineCtr",
            "unsupported_element",
            "the split 'OnlineCtr'",
        ),
        (("features_info", "text_features"), [{}], "unsupported_element", "the model has 1 text_features"),
        (
            ("features_info", "cat_features_hash"),
            [],
            "unsupported_element",
            "the level with the hash 3000000000 has no name",
        ),
        (("oblivious_trees", 0, "leaf_values"), [1.0], "damaged_model", "has 1 leaf values for 2 splits"),
        (("scale_and_bias",), [1], "damaged_model", "lacks what a CatBoost model has"),
    ],
)
def test_what_cannot_be_read_is_refused(
    path: tuple[Any, ...], value: Any, code: str, message: str, tmp_path: Path
) -> None:
    found = document()
    place: Any = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ConfigError, match=message) as caught:
        read(write(tmp_path, found))
    assert caught.value.code == code


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    path.write_text(path.read_text()[:-5])
    with pytest.raises(ConfigError, match="is no JSON"):
        read(path)
