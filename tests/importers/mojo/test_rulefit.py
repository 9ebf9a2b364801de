from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.importers import read

Make = Callable[..., Path]
Files = Callable[..., dict[str, bytes]]
RULES = ["M0T0N1", "M0T0N2"]


def rulefit(**extra: Any) -> dict[str, Any]:
    info: dict[str, Any] = {"algo": "rulefit", "submodel_count": 1, "submodel_key_0": "l", "submodel_dir_0": "l/"}
    info |= {"linear_model": "l", "model_type": 1, "depth": 1, "ntrees": 1, "num_rules_M0T0": 2}
    info |= {
        "linear_names_len": 3,
        "linear_names_0": "M0T0",
        "linear_names_1": "linear.x",
        "linear_names_2": "linear.c",
    }
    for number, rule in enumerate(("0_0_0", "0_0_1")):
        info |= {f"var_name_rule_id_{rule}": RULES[number], f"num_conditions_rule_id_{rule}": 1}
        for key in ("prediction_value", "coefficient"):
            info[f"{key}_rule_id_{rule}"] = 0.0
    info |= {"feature_index_0_0_0_0": 0, "type_0_0_0_0": 1, "operator_0_0_0_0": 0, "num_treshold0_0_0_0": 1.5}
    info |= {"nas_included_0_0_0_0": True, "feature_index_0_0_0_1": 1, "type_0_0_0_1": 0, "operator_0_0_0_1": 2}
    info |= {"cat_treshold_length_0_0_0_1": 1, "cat_treshold_length_0_0_0_0_1": 1, "nas_included_0_0_0_1": False}
    return info | extra


def make(make_mojo: Make, inner_files: Files, **extra: Any) -> Path:
    glm = {"algo": "glm", "family": "gaussian", "link": "identity", "cats": 1, "cat_offsets": [0, 2], "nums": 2}
    glm |= {"use_all_factor_levels": True, "beta": [100.0, 200.0, 1.0, 10.0, 0.5]}
    glm |= {"mean_imputation": True, "cat_modes": [0], "num_means": [7.0, 0.0]}
    linear = inner_files(glm, ["M0T0", "linear.x", "linear.c", "y"], {0: RULES}, folder="l/")
    return make_mojo(rulefit(**extra), ["x", "c", "y"], {1: ["p", "q"]}, inner=[linear])


def test_the_last_rule_that_holds_is_a_level_of_the_linear_model(make_mojo: Make, inner_files: Files) -> None:
    model = read(make(make_mojo, inner_files))
    scores = model.score({"x": [1.0, 2.0, None, 2.0], "c": ["p", "q", "q", "p"]})
    # Row 0: x < 1.5. Row 1: c is q. Row 2: both hold, the last counts. Row 3: none, the mode is filled in.
    assert scores.outputs["predict"].tolist() == [101.5, 212.5, 217.5, 102.5]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"linear_names_1": "odd"}, "names 'odd', which the linear model does not read"),
        ({"linear_names_len": 1}, "has 1 names and 3 values for 3"),
        ({"var_name_rule_id_0_0_0": "M9T9N1"}, "of no column of the linear model"),
        ({"feature_index_0_0_0_0": 9}, "feature_index_0_0_0_0: is 9; it must lie in 0 … 1"),
    ],
)
def test_contradictions_are_refused(extra: dict[str, Any], message: str, make_mojo: Make, inner_files: Files) -> None:
    with pytest.raises(ConfigError, match=message):
        read(make(make_mojo, inner_files, **extra))
