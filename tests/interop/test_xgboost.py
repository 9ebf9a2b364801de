"""Round trips with XGBoost itself: boosters, objectives, both files, missing values, categories, early stopping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers.trees.xgboost import read

xgb = pytest.importorskip("xgboost", reason="the interop environment has XGBoost")
pytestmark = pytest.mark.interop

ROWS = 400


def make_data(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, 5)).astype(np.float32)
    score = x[:, 0] - x[:, 1] * x[:, 2] + rng.normal(0, 0.3, ROWS)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, score


def columns_of(x: np.ndarray) -> dict[str, Any]:
    return {f"f{i}": x[:, i].astype(np.float64) for i in range(x.shape[1])}


def label_of(objective: str, score: np.ndarray) -> np.ndarray:
    if objective.startswith("multi:"):
        return np.clip((score + 1.5).astype(int), 0, 2)
    if objective.startswith("binary:") or objective in ("reg:logistic", "rank:map"):
        return (score > 0).astype(int)
    if objective.startswith("rank:"):
        return np.clip((score + 2).astype(int), 0, 4)
    if objective in (
        "count:poisson",
        "reg:gamma",
        "reg:tweedie",
        "survival:cox",
        "survival:aft",
        "reg:squaredlogerror",
    ):
        return np.exp(score / 2) + 0.01
    return score


OBJECTIVES = [
    "binary:hinge",
    "binary:logistic",
    "binary:logitraw",
    "count:poisson",
    "multi:softmax",
    "multi:softprob",
    "rank:map",
    "rank:ndcg",
    "rank:pairwise",
    "reg:absoluteerror",
    "reg:gamma",
    "reg:logistic",
    "reg:pseudohubererror",
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:tweedie",
    "survival:aft",
    "survival:cox",
]


def train(objective: str, x: np.ndarray, score: np.ndarray, **parameters: Any) -> Any:
    y = label_of(objective, score)
    data = xgb.DMatrix(x, y)
    if objective.startswith("rank:"):
        data.set_group([40] * (ROWS // 40))
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", y)
        data.set_float_info("label_upper_bound", y)
    classes = {"num_class": 3} if objective.startswith("multi:") else {}
    depth = {} if parameters.get("booster") == "gblinear" else {"max_depth": 4}
    options = {"objective": objective, "eta": 0.3, "seed": 1, **depth, **classes, **parameters}
    return xgb.train(options, data, 12)


def check(booster: Any, path: Path, x: np.ndarray) -> None:
    expected = booster.predict(xgb.DMatrix(x))
    booster.save_model(path)
    model = read(path)
    for reference in (False, True):
        rows = slice(None) if not reference else slice(0, 40)
        scores = model.score({name: values[rows] for name, values in columns_of(x).items()}, reference=reference)
        assert not scores.errors
        np.testing.assert_allclose(scores.outputs["prediction"], expected[rows], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_scores_as_xgboost_does(objective: str, suffix: str, tmp_path: Path) -> None:
    x, score = make_data()
    check(train(objective, x, score), tmp_path / f"model.{suffix}", x)


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "reg:squarederror"])
@pytest.mark.parametrize("booster", ["dart", "gblinear"])
def test_each_booster_scores_as_xgboost_does(booster: str, objective: str, tmp_path: Path) -> None:
    x, score = make_data()
    extra = {"rate_drop": 0.3} if booster == "dart" else {}
    parameters = {"booster": booster, **extra}
    check(train(objective, x, score, **parameters), tmp_path / "model.json", x)


def test_a_base_score_goes_through_the_link(tmp_path: Path) -> None:
    x, score = make_data()
    check(train("binary:logistic", x, score, base_score=0.2), tmp_path / "model.json", x)
    check(train("count:poisson", x, score, base_score=2.5), tmp_path / "other.ubj", x)


def test_parallel_trees_make_a_forest(tmp_path: Path) -> None:
    x, score = make_data()
    parameters = {"num_parallel_tree": 4, "subsample": 0.5}
    check(train("multi:softprob", x, score, **parameters), tmp_path / "model.json", x)


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_several_targets_give_a_vector(strategy: str, tmp_path: Path) -> None:
    x, score = make_data()
    y = np.stack([score, -score, score**2], axis=1)
    booster = xgb.train({"multi_strategy": strategy, "tree_method": "hist", "max_depth": 3}, xgb.DMatrix(x, y), 6)
    check(booster, tmp_path / "model.json", x)


@pytest.mark.parametrize("max_cat_to_onehot", [1, 10])
def test_categories_go_by_their_name(max_cat_to_onehot: int, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    x, score = make_data()
    rng = np.random.default_rng(4)
    city = rng.choice(["a", "bb", "ccc", "d d"], ROWS)
    size = pd.Categorical(rng.choice([5, 7, 9], ROWS))
    frame = pd.DataFrame({"x": x[:, 0], "city": pd.Categorical(city), "size": size})
    frame.loc[:20, "city"] = None
    y = score + (city == "bb") * 2
    data = xgb.DMatrix(frame, y, enable_categorical=True)
    booster = xgb.train({"max_depth": 4, "max_cat_to_onehot": max_cat_to_onehot}, data, 8)
    booster.save_model(tmp_path / "model.json")
    model = read(tmp_path / "model.json")
    columns = {
        "x": frame["x"].to_numpy(np.float64),
        "city": [None if isinstance(v, float) else v for v in frame["city"].astype(object)],
        "size": [float(v) for v in frame["size"]],
    }
    scores = model.score(columns)
    assert model.inputs == {"x": "float64", "city": "string", "size": "float64"}
    np.testing.assert_allclose(scores.outputs["prediction"], booster.predict(data), rtol=2e-6, atol=1e-6)
    unseen = model.score({"x": [0.0], "city": ["nowhere"], "size": [5.0]})
    assert "not in XGBoost's training data" in unseen.errors[0]


def test_an_estimator_that_stopped_early_uses_its_best_iteration(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    x, score = make_data()
    estimator = xgb.XGBRegressor(n_estimators=60, early_stopping_rounds=2, learning_rate=0.9)
    estimator.fit(x[:200], score[:200], eval_set=[(x[200:], score[200:])], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    estimator.save_model(tmp_path / "model.json")
    scores = read(tmp_path / "model.json").score(columns_of(x))
    np.testing.assert_allclose(scores.outputs["prediction"], estimator.predict(x), rtol=2e-6, atol=1e-6)


def test_a_category_that_xgboost_cut_is_refused(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    _, score = make_data()
    city = np.random.default_rng(4).choice(["a", "é"], ROWS)
    data = xgb.DMatrix(pd.DataFrame({"city": pd.Categorical(city)}), score + (city == "é"), enable_categorical=True)
    xgb.train({}, data, 2).save_model(tmp_path / "model.json")
    with pytest.raises(ConfigError, match="cut the name of a category"):
        read(tmp_path / "model.json")
