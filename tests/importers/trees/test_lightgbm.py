from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import guess, read

HEAD = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective={objective}
feature_names=x c
feature_infos=[-1:1] 0:1:2

"""
NUMBER = """Tree=0
num_leaves=2
num_cat=0
split_feature=0
threshold=0.5
decision_type={decision}
left_child=-1
right_child=-2
leaf_value=1 2
is_linear=0
shrinkage=1


"""
CATEGORY = """Tree=1
num_leaves=2
num_cat=1
split_feature=1
threshold=0
decision_type=1
left_child=-1
right_child=-2
cat_boundaries=0 2
cat_threshold=5 2
leaf_value=10 20
shrinkage=1


"""
END = "end of trees\n"


def write(tmp_path: Path, *trees: str, objective: str = "regression", tail: str = "") -> Path:
    path = tmp_path / "model.txt"
    path.write_text(HEAD.format(objective=objective) + "".join(trees) + END + tail)
    return path


def score(path: Path, x: list[Any], c: list[Any] | None = None) -> list[float]:
    columns = {"x": x, "c": c or [0] * len(x)}
    model = read(path)
    found = model.score(columns).outputs["prediction"]
    np.testing.assert_array_equal(found, model.score(columns, reference=True).outputs["prediction"])
    return [float(value) for value in found]


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (0, [1, 2, 1, 1]),  # nothing is missing: NaN is 0
        (2, [1, 2, 1, 1]),
        (4, [1, 2, 2, 2]),  # zero and NaN are missing, and go right
        (6, [1, 2, 1, 1]),
        (8, [1, 2, 1, 2]),  # NaN is missing, and goes right
        (10, [1, 2, 1, 1]),
    ],
)
def test_each_rule_for_missing_values_is_kept(decision: int, expected: list[int], tmp_path: Path) -> None:
    assert score(write(tmp_path, NUMBER.format(decision=decision)), [-1.0, 0.75, 0.0, None]) == expected


def test_categories_in_the_bit_set_go_left(tmp_path: Path) -> None:
    path = write(tmp_path, NUMBER.format(decision=0), CATEGORY)
    assert guess(path) == "lightgbm"
    cells = [0, 1, 2, 33, 34, None, -1, 2.9]
    assert score(path, [0.0] * 8, cells) == [11, 21, 11, 11, 21, 21, 21, 11]


LINEAR = """Tree=0
num_leaves=2
num_cat=0
split_feature=0
threshold=0.5
decision_type=8
left_child=-1
right_child=-2
leaf_value=1 2
is_linear=1
leaf_const=0.5 3
num_features=1 0
leaf_features=1
leaf_coeff=2
shrinkage=1


"""


def test_linear_leaves_fall_back_to_their_value(tmp_path: Path) -> None:
    assert score(write(tmp_path, LINEAR), [0.0, 0.0, 9.0], [4.0, None, None]) == [8.5, 1.0, 3.0]


@pytest.mark.parametrize(
    ("objective", "function"),
    [
        ("binary sigmoid:2", lambda f: 1 / (1 + math.exp(-2 * f))),
        ("cross_entropy", lambda f: 1 / (1 + math.exp(-f))),
        ("cross_entropy_lambda", lambda f: math.log1p(math.exp(f))),
        ("poisson", math.exp),
        ("regression sqrt", lambda f: f * abs(f)),
        ("lambdarank", lambda f: f),
    ],
)
def test_each_objective_has_its_answer(objective: str, function: Any, tmp_path: Path) -> None:
    found = score(write(tmp_path, NUMBER.format(decision=0), objective=objective), [0.0, 1.0])
    assert found == pytest.approx([function(1.0), function(2.0)], rel=1e-12)


def test_pandas_categories_are_codes_by_position(tmp_path: Path) -> None:
    path = write(tmp_path, CATEGORY.replace("Tree=1", "Tree=0"), tail='\npandas_categorical:[["a", "b", "d"]]\n')
    assert read(path).inputs == {"x": "float64", "c": "string"}
    assert score(path, [0.0] * 4, ["a", "b", "d", "new"]) == [10, 20, 10, 20]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version=v4", "version=v9", "version 'v9' is none of v2, v3, v4"),
        ("tree\nversion", "bush\nversion", "begins with 'bush', not 'tree'"),
        ("objective=regression", "objective=odd", "the objective 'odd' is unknown"),
        ("objective=regression", "objective=binary sigmoid:x", "sigmoid is 'x', no number"),
        ("max_feature_idx=1", "max_feature_idx=4", "has 2 names and 2 infos of 5 features"),
        ("leaf_value=1 2", "leaf_value=1", "Tree=0: leaf_value has 1 numbers where 2 are due"),
        ("leaf_value=1 2", "leaf_value=1 x", "Tree=0: leaf_value has what is no number"),
        ("num_leaves=2", "num_leaves=two", "num_leaves is 'two', no whole number"),
        ("num_leaves=2", "num_leaves=0", "has 0 leaves"),
        ("split_feature=0", "split_feature=9", "node 0 tests feature 9 of 2"),
        ("left_child=-1", "left_child=0", "node 0 is outside of the tree or reached twice"),
        ("decision_type=0", "decision_type=1", "node 0 tests category set 0.5 of 0"),
        ("end of trees", "", "ends before `end of trees`"),
        ("right_child=-2\n", "", "lacks 'right_child'"),
    ],
)
def test_a_wrong_file_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, NUMBER.format(decision=0))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read(path, "lightgbm")


def test_categories_that_cannot_be_told_apart_are_unsupported(tmp_path: Path) -> None:
    path = write(tmp_path, CATEGORY.replace("Tree=1", "Tree=0"), tail="\npandas_categorical:[[1], [2]]\n")
    with pytest.raises(ConfigError, match="2 pandas columns for 1 categorical features") as caught:
        read(path)
    assert caught.value.code == "unsupported_element"
