"""Round trips with LightGBM itself: objectives, boosting types, missing values, categories, linear leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.importers.trees.lightgbm import read

lgb = pytest.importorskip("lightgbm", reason="the interop environment has LightGBM")
pytestmark = pytest.mark.interop

ROWS = 500
OBJECTIVES = [
    "binary",
    "cross_entropy",
    "cross_entropy_lambda",
    "fair",
    "gamma",
    "huber",
    "lambdarank",
    "mape",
    "multiclass",
    "multiclassova",
    "poisson",
    "quantile",
    "rank_xendcg",
    "regression",
    "regression_l1",
    "tweedie",
]


def make_data(seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, 5))
    x[:, 3] = rng.integers(0, 40, ROWS)
    x[:, 4] = rng.integers(-2, 3, ROWS)
    score = x[:, 0] - x[:, 1] * x[:, 2] + np.isin(x[:, 3], [1, 5, 33, 37]) * 2 + (x[:, 4] == 0)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, score + rng.normal(0, 0.2, ROWS)


def label_of(objective: str, score: np.ndarray) -> np.ndarray:
    if objective.startswith("multiclass"):
        return np.clip(score + 1, 0, 2).astype(int)
    if objective in ("binary", "cross_entropy", "cross_entropy_lambda"):
        return (score > 0).astype(int)
    if objective in ("lambdarank", "rank_xendcg"):
        return np.clip(score + 2, 0, 4).astype(int)
    if objective in ("poisson", "gamma", "tweedie"):
        return np.exp(score / 3) + 0.01
    return score


def train(objective: str, **parameters: Any) -> tuple[Any, np.ndarray]:
    x, score = make_data()
    group = [50] * (ROWS // 50) if objective in ("lambdarank", "rank_xendcg") else None
    data = lgb.Dataset(x, label_of(objective, score), group=group, categorical_feature=[3], free_raw_data=False)
    classes = {"num_class": 3} if objective.startswith("multiclass") else {}
    options = {
        "objective": objective,
        "verbose": -1,
        "num_leaves": 12,
        "min_data_in_leaf": 5,
        "seed": 1,
        "num_threads": 1,
    }
    return lgb.train({**options, **classes, **parameters}, data, 10), x


def check(booster: Any, path: Path, x: np.ndarray) -> None:
    rng = np.random.default_rng(8)
    extra = x.copy()
    extra[rng.random(x.shape) < 0.2] = 0.0
    extra[::7, 3] = 77  # a category that training never met
    extra[::11, 3] = -1
    x = np.vstack([x, extra])
    booster.save_model(path)
    model = read(path)
    columns = {f"Column_{i}": x[:, i] for i in range(x.shape[1])}
    expected = booster.predict(x)
    scores = model.score(columns)
    assert not scores.errors
    np.testing.assert_allclose(scores.outputs["prediction"], expected, rtol=1e-9, atol=1e-12)
    few = model.score({name: values[:30] for name, values in columns.items()}, reference=True)
    np.testing.assert_allclose(few.outputs["prediction"], expected[:30], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_scores_as_lightgbm_does(objective: str, tmp_path: Path) -> None:
    booster, x = train(objective)
    check(booster, tmp_path / "model.txt", x)


@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("boosting", ["dart", "rf", "goss"])
def test_each_boosting_scores_as_lightgbm_does(boosting: str, objective: str, tmp_path: Path) -> None:
    extra = {"bagging_freq": 1, "bagging_fraction": 0.6} if boosting == "rf" else {}
    parameters = {"boosting": boosting, **extra}
    booster, x = train(objective, **parameters)
    check(booster, tmp_path / "model.txt", x)


@pytest.mark.parametrize("parameters", [{"zero_as_missing": True}, {"use_missing": False}, {"linear_tree": True}])
def test_each_rule_for_missing_values_scores_as_lightgbm_does(parameters: dict[str, bool], tmp_path: Path) -> None:
    options: dict[str, Any] = dict(parameters)
    booster, x = train("regression", **options)
    check(booster, tmp_path / "model.txt", x)


def test_options_of_the_objective_are_read(tmp_path: Path) -> None:
    for number, (objective, parameters) in enumerate(
        [("binary", {"sigmoid": 0.7}), ("regression", {"reg_sqrt": True}), ("multiclassova", {"sigmoid": 2.0})]
    ):
        options: dict[str, Any] = dict(parameters)
        booster, x = train(objective, **options)
        check(booster, tmp_path / f"model{number}.txt", x)


def test_pandas_categories_go_by_their_name(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    x, score = make_data()
    rng = np.random.default_rng(4)
    city = rng.choice(["a", "bb", "ccc"], ROWS)
    frame = pd.DataFrame({"x": x[:, 0], "city": pd.Categorical(city), "size": pd.Categorical(rng.choice([5, 7], ROWS))})
    booster = lgb.train({"verbose": -1, "min_data_in_leaf": 5}, lgb.Dataset(frame, score + (city == "bb") * 2), 8)
    booster.save_model(tmp_path / "model.txt")
    model = read(tmp_path / "model.txt")
    columns = {"x": x[:, 0], "city": city.tolist(), "size": [float(v) for v in frame["size"]]}
    scores = model.score(columns)
    np.testing.assert_allclose(scores.outputs["prediction"], booster.predict(frame), rtol=1e-9)
    unseen = pd.DataFrame({"x": [0.1], "city": pd.Categorical(["zz"]), "size": pd.Categorical([5], categories=[5, 7])})
    got = model.score({"x": [0.1], "city": ["zz"], "size": [5.0]})
    np.testing.assert_allclose(got.outputs["prediction"], booster.predict(unseen), rtol=1e-9)
