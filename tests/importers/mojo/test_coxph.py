from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read

Make = Callable[..., Path]
CAT, NUM = np.array([[0.5, 0.25], [0.1, 0.2]]), np.array([[2.0], [3.0]])
COEF = np.array([1.0, 2.0, 0.5])


def info(**extra: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"algo": "coxph", "category": "CoxPH", "coef": COEF.tolist(), "strata_count": 0, "cats": 1}
    found |= {"cat_offsets": [0, 2], "use_all_factor_levels": False, "num_numerical_columns": 1, "num_offsets": [2]}
    for name, table in (("x_mean_cat", CAT), ("x_mean_num", NUM)):
        found |= {f"{name}_size1": table.shape[0], f"{name}_size2": table.shape[1]}
    return found | extra


FILES = {name: np.asarray(table, ">f8").tobytes() for name, table in (("x_mean_cat", CAT), ("x_mean_num", NUM))}
BASE = [CAT[s] @ COEF[:2] + NUM[s] @ COEF[2:] for s in (0, 1)]


def test_the_predictor_counts_from_the_mean(make_mojo: Make) -> None:
    model = read(make_mojo(info(), ["c", "x", "y"], {0: ["a", "b", "d"]}, FILES))
    found = model.score({"c": ["a", "b", "d", None], "x": [1.0, 2.0, 3.0, 1.0]}).outputs["lp"]
    np.testing.assert_allclose(found[:3], np.array([0.5, 2.0, 3.5]) - BASE[0])
    assert np.isnan(found[3])


def test_each_stratum_has_its_own_mean(make_mojo: Make) -> None:
    strata = info(strata_count=2, strata_0=[0.0], strata_1=[1.0])
    model = read(make_mojo(strata, ["s", "c", "x", "y"], {0: ["u", "v", "w"], 1: ["a", "b", "d"]}, FILES))
    scores = model.score({"s": ["u", "v", "w"], "c": ["a"] * 3, "x": [0.0] * 3})
    np.testing.assert_allclose(scores.outputs["lp"][:2], [-BASE[0], -BASE[1]])
    assert scores.errors == {2: "the row is of no stratum of the training data"}


def test_two_numbers_may_be_crossed(make_mojo: Make) -> None:
    crossed = info(interaction_targets=[2], interactions_1=[1], interactions_2=[1], num_numerical_columns=2)
    crossed |= {"num_offsets": [2, 3], "coef": [*COEF, 4.0]}
    model = read(make_mojo(crossed, ["c", "x", "x_x", "y"], {0: ["a", "b", "d"]}, FILES))
    found = model.score({"c": ["a"], "x": [3.0]}).outputs["lp"]
    np.testing.assert_allclose(found, [1.5 + 36.0 - BASE[0]])


def test_a_number_crossed_with_levels_has_a_coefficient_each(make_mojo: Make) -> None:
    crossed = info(interaction_targets=[2], interactions_1=[0], interactions_2=[1], num_numerical_columns=2)
    crossed |= {"num_offsets": [2, 3], "coef": [*COEF, 10.0, 20.0]}
    model = read(make_mojo(crossed, ["c", "x", "c_x", "y"], {0: ["a", "b", "d"]}, FILES))
    found = model.score({"c": ["a", "b", "d"], "x": [3.0] * 3}).outputs["lp"]
    np.testing.assert_allclose(found, np.array([1.5, 1.0 + 1.5 + 30.0, 2.0 + 1.5 + 60.0]) - BASE[0])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"cat_offsets": [0]}, r"cat_offsets: is \[0\] for 1 columns"),
        ({"coef": [1.0, 2.0]}, "has 3 means for 2 coefficients"),
        ({"strata_count": 3, "strata_0": [0], "strata_1": [1], "strata_2": [2]}, "has 2 rows for 3 strata"),
        ({"interaction_targets": [9], "interactions_1": [0], "interactions_2": [0]}, "contradict one another"),
    ],
)
def test_contradictions_are_refused(extra: dict[str, Any], message: str, make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        read(make_mojo(info(**extra), ["c", "x", "y"], {0: ["a", "b", "d"]}, FILES))
