from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.importers import guess, read

Functions = dict[str, Callable[..., Any]]
FEATURES, ROWS = 4, 30


def make(functions: Functions, seed: int, groups: int = 1) -> tuple[list[Any], np.ndarray]:
    rng = np.random.default_rng(seed)
    trees = [functions["random_tree"](rng, FEATURES) for _ in range(3 * groups)]
    rows = rng.normal(size=(ROWS, FEATURES))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    return trees, rows


def sums(  # noqa: PLR0917  (what a sum needs)
    functions: Functions, trees: list[Any], rows: np.ndarray, groups: int, base: float, late: bool
) -> np.ndarray:
    """float32, tree after tree; releases up to 1.2 added the base last."""
    found = np.zeros((len(rows), groups), np.float32)
    for i, row in enumerate(rows.astype(np.float32)):
        for group in range(groups):
            total = np.float32(0 if late else base)
            for tree in trees[group::groups]:
                total = np.float32(total + functions["evaluate"](tree, row))
            found[i, group] = np.float32(total + np.float32(base)) if late else total
    return found


def columns(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {f"f{i}": rows[:, i] for i in range(rows.shape[1])}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), groups=st.sampled_from([1, 3]), version=st.sampled_from([(0, 90), (1, 2), (1, 6)]))
def test_sums_equal_a_float32_walk_to_the_last_bit(
    seed: int, groups: int, version: tuple[int, int], tmp_path: Path, tree_model: Functions
) -> None:
    trees, rows = make(tree_model, seed, groups)
    path = tmp_path / "model.bin"
    path.write_bytes(tree_model["write_binary"](trees, "reg:squarederror", FEATURES, groups, 0.5, version))
    found = read(path, "xgboost").score(columns(rows)).outputs["prediction"]
    want = sums(tree_model, trees, rows, groups, 0.5, version <= (1, 2))
    np.testing.assert_array_equal(np.asarray(found).reshape(ROWS, groups), want.astype(np.float64))


@pytest.mark.parametrize("suffix", ["json", "bin"])
def test_probabilities_go_through_the_link_with_the_base_score(
    suffix: str, tmp_path: Path, tree_model: Functions
) -> None:
    trees, rows = make(tree_model, 1)
    path = tmp_path / f"model.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(tree_model["write_document"](trees, "binary:logistic", FEATURES, base="[2.5E-1]")))
    else:
        path.write_bytes(tree_model["write_binary"](trees, "binary:logistic", FEATURES, base=0.25))
    assert guess(path) == "xgboost"
    margin = sums(tree_model, trees, rows, 1, float(np.log(1 / 3)), False)[:, 0]
    for reference in (False, True):
        found = read(path).score(columns(rows), reference=reference).outputs["prediction"]
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-margin.astype(float))), rtol=1e-6)


@pytest.mark.parametrize(
    ("objective", "function"),
    [
        ("multi:softprob", lambda s: np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)),
        ("multi:softmax", lambda s: np.argmax(s, axis=1)[:, None]),
        ("binary:hinge", lambda s: (s > 0).astype(float)),
        ("rank:pairwise", lambda s: s),
    ],
)
def test_each_objective_has_its_answer(
    objective: str, function: Callable[[np.ndarray], np.ndarray], tmp_path: Path, tree_model: Functions
) -> None:
    trees, rows = make(tree_model, 2, 3)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(tree_model["write_document"](trees, objective, FEATURES, 3)))
    found = np.asarray(read(path).score(columns(rows)).outputs["prediction"]).reshape(ROWS, -1)
    np.testing.assert_allclose(found, function(sums(tree_model, trees, rows, 3, 0.5, False).astype(float)), rtol=1e-6)


def change(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *folders, last = path.split(".")
    place: Any = document["learner"]
    for name in folders:
        place = place[int(name) if name.isdecimal() else name]
    place[last] = value
    return document


TREE = "gradient_booster.model.trees.0."


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("objective.name", "reg:odd", "the objective 'reg:odd' is unknown"),
        ("gradient_booster.name", "gbodd", "the booster 'gbodd' is unknown"),
        ("learner_model_param.base_score", "x", "'x' is no number"),
        ("learner_model_param.base_score", "[1,2]", "has 2 numbers for 1 groups"),
        ("learner_model_param.num_feature", "many", "'many' is no whole number"),
        ("learner_model_param", 3, "is no object"),
        ("gradient_booster.model.tree_info", [0], "has 1 groups for its trees"),
        ("gradient_booster.model.tree_info", [0, 5, 0], r"a group outside of 0 … 0"),
        (TREE + "left_children", [7, 7], r"trees\[0\]: its arrays are not all of 2 nodes"),
        (TREE + "split_conditions", "text", "is no list of numbers"),
    ],
)
def test_a_wrong_document_is_refused_with_its_place(
    place: str, value: Any, message: str, tmp_path: Path, tree_model: Functions
) -> None:
    trees, _ = make(tree_model, 3)
    document = change(tree_model["write_document"](trees, "reg:squarederror", FEATURES), place, value)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=message):
        read(path)


def test_a_tree_that_is_a_circle_is_refused(tmp_path: Path, tree_model: Functions) -> None:
    tree = {
        "left": [1, 0, -1],
        "right": [2, 2, -1],
        "feature": [0] * 3,
        "condition": [0.0] * 3,
        "default_left": [False] * 3,
    }
    path = tmp_path / "model.json"
    path.write_text(json.dumps(tree_model["write_document"]([tree], "reg:squarederror", FEATURES)))
    with pytest.raises(ConfigError, match="outside of the tree or reached twice"):
        read(path)


def test_any_cut_of_a_binary_file_is_refused(tmp_path: Path, tree_model: Functions) -> None:
    trees, _ = make(tree_model, 4)
    data = tree_model["write_binary"](trees, "reg:squarederror", FEATURES)
    path = tmp_path / "model.bin"
    for length in range(8, len(data), 41):
        path.write_bytes(data[:length])
        with pytest.raises(ConfigError, match=r"model.bin"):
            read(path, "xgboost")


def test_a_cut_json_file_is_refused(tmp_path: Path, tree_model: Functions) -> None:
    trees, _ = make(tree_model, 5)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(tree_model["write_document"](trees, "reg:squarederror", FEATURES))[:-9])
    with pytest.raises(ConfigError, match="is no JSON"):
        read(path)
