from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read

Make = Callable[..., Path]
FOLDER = "feature_engineering/target_encoding/"
MAP = "[city]\n0 = 3.0 10.0\n1 = 8.0 10.0\n2 = 1.0 4.0\n"
INFO: dict[str, Any] = {
    "algo": "targetencoder",
    "category": "TargetEncoder",
    "n_classes": 2,
    "with_blending": True,
    "inflection_point": 5.0,
    "smoothing": 2.0,
}
PRIOR = 12 / 24


def files(encoding: str = MAP, presence: str = "city = 1\n", **maps: str) -> dict[str, bytes]:
    found = {"encoding_map": encoding, "te_column_name_to_missing_values_presence": presence, **maps}
    return {f"{FOLDER}{name}.ini": text.encode() for name, text in found.items()}


def blend(hits: float, rows: float) -> float:
    share = 1 / (1 + math.exp((5.0 - rows) / 2.0))
    return share * hits / rows + (1 - share) * PRIOR


def score(make_mojo: Make, parts: dict[str, bytes], cells: list[Any], **extra: Any) -> Any:
    path = make_mojo(INFO | extra, ["city", "y"], {0: ["a", "b"], 1: ["n", "p"]}, parts)
    return read(path).score({"city": cells})


def test_levels_become_blended_means_and_missing_ones_their_own(make_mojo: Make) -> None:
    found = score(make_mojo, files(), ["a", "b", None, "new"]).outputs["city_te"]
    np.testing.assert_allclose(found, [blend(3, 10), blend(8, 10), blend(1, 4), blend(1, 4)])


def test_without_missing_values_in_training_they_take_the_prior(make_mojo: Make) -> None:
    found = score(make_mojo, files(presence="city = 0\n"), ["a", None], with_blending=False).outputs["city_te"]
    np.testing.assert_allclose(found, [0.3, PRIOR])


def test_more_classes_give_a_column_each_but_the_first(make_mojo: Make) -> None:
    text = "[city]\n0 = 1.0 4.0 1\n0 = 2.0 4.0 2\n1 = 3.0 6.0 1\n1 = 0.0 6.0 2\n"
    found = score(make_mojo, files(text), ["b"], n_classes=3, with_blending=False).outputs
    assert (found["city_1_te"][0], found["city_2_te"][0]) == (0.5, 0.0)


def test_columns_may_be_encoded_together(make_mojo: Make) -> None:
    domain = "[from]\ncity\ndev\n[to]\ncity:dev\n[to_domain]\n0\n4\n"
    parts = files(
        "[city:dev]\n0 = 1.0 2.0\n1 = 1.0 4.0\n",
        "city:dev = 0\n",
        input_encoding_columns_map=domain,
        input_output_columns_map="[from]\ncity\ndev\n[to]\nboth_te\n",
    )
    path = make_mojo(INFO | {"with_blending": False}, ["city", "dev", "y"], {0: ["a", "b"], 1: ["i", "o"]}, parts)
    scores = read(path).score({"city": ["a", "b", "b", None], "dev": ["i", "o", "i", "i"]})
    np.testing.assert_allclose(scores.outputs["both_te"], [0.5, 0.25, 2 / 6, 2 / 6])


def test_a_level_without_a_count_fails_its_row(make_mojo: Make) -> None:
    scores = score(make_mojo, files("[city]\n0 = 3.0 10.0\n", "city = 0\n"), ["a", "b"])
    assert scores.errors == {1: "the target encoder has no count of this level"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (files("[city]\nx = 1\n"), "line 2: 'x = 1' is no `category = sum rows`"),
        (files("0 = 1 2\n"), "line 1: '0 = 1 2' is no `category"),
        (files("[town]\n0 = 1 2\n"), "encodes 'town', which is no column"),
        (files(input_encoding_columns_map="[from]\ncity\n[to]\ncity\n"), "has 0 groups for 1 encodings"),
        (files(input_encoding_columns_map="[to]\ncity\n"), r"starts with \[to\]"),
        (files(input_encoding_columns_map="[from]\ncity\n"), r"a group without \[from\] or \[to\]"),
    ],
)
def test_damaged_tables_are_refused(parts: dict[str, bytes], message: str, make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        score(make_mojo, parts, ["a"])
