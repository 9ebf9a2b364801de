"""Round trips with CatBoost itself: losses, missing values, one-hot categories, growing policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers.trees.catboost import read

cb = pytest.importorskip("catboost", reason="the interop environment has CatBoost")
pytestmark = pytest.mark.interop

ROWS = 400


def make_frame() -> tuple[Any, np.ndarray]:
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {"a": rng.normal(size=ROWS), "city": rng.choice(["x", "yy", "北京"], ROWS), "b": rng.normal(size=ROWS)}
    )
    score = frame["a"].to_numpy() * 1.5 - frame["b"].to_numpy() + (frame["city"] == "北京").to_numpy() * 2.0
    frame.loc[::9, "a"] = np.nan
    return frame, score + rng.normal(0, 0.2, ROWS)


def label_of(loss: str, score: np.ndarray) -> np.ndarray:
    if loss in ("Logloss", "CrossEntropy"):
        return (score > 0.5).astype(int)
    if loss.startswith("MultiClass"):
        return np.array(["low", "mid", "top"])[np.clip(score + 1, 0, 2).astype(int)]
    return np.exp(score / 3) if loss.startswith(("Poisson", "Tweedie")) else score


def train(loss: str, path: Path, **parameters: Any) -> tuple[Any, dict[str, Any], Any]:
    frame, score = make_frame()
    options = {"iterations": 12, "depth": 4, "one_hot_max_size": 10, "verbose": 0, "allow_writing_files": False}
    model = cb.CatBoost({"loss_function": loss, "cat_features": ["city"], "thread_count": 1, **options, **parameters})
    pool = cb.Pool(frame, label_of(loss, score), cat_features=["city"])
    model.fit(pool)
    model.save_model(str(path), format="json", pool=pool)
    columns = {"a": frame["a"].to_numpy(), "city": frame["city"].tolist(), "b": frame["b"].to_numpy()}
    return model, columns, frame


@pytest.mark.parametrize("loss", ["RMSE", "MAE", "Quantile:alpha=0.7", "Poisson", "Tweedie:variance_power=1.5"])
def test_each_regression_scores_as_catboost_does(loss: str, tmp_path: Path) -> None:
    model, columns, frame = train(loss, tmp_path / "model.json")
    scores = read(tmp_path / "model.json").score(columns)
    np.testing.assert_allclose(scores.outputs["raw"], model.predict(frame, "RawFormulaVal"), rtol=1e-9, atol=1e-12)
    kind = "Exponent" if loss.startswith(("Poisson", "Tweedie")) else "RawFormulaVal"
    np.testing.assert_allclose(scores.outputs["prediction"], model.predict(frame, kind), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["Logloss", "MultiClass", "MultiClassOneVsAll"])
def test_each_classifier_scores_as_catboost_does(loss: str, tmp_path: Path) -> None:
    model, columns, frame = train(loss, tmp_path / "model.json")
    scores = read(tmp_path / "model.json").score(columns)
    expected = model.predict(frame, "Probability")
    np.testing.assert_allclose(scores.outputs["probability"], expected, rtol=1e-9, atol=1e-12)
    labels = np.ravel(model.predict(frame, "Class"))
    assert [str(label).removesuffix(".0") for label in scores.outputs["prediction"]] == [str(label) for label in labels]


@pytest.mark.parametrize("policy", ["Depthwise", "Lossguide"])
def test_other_growing_policies_score_as_catboost_does(policy: str, tmp_path: Path) -> None:
    model, columns, frame = train("RMSE", tmp_path / "model.json", grow_policy=policy)
    scores = read(tmp_path / "model.json").score(columns)
    np.testing.assert_allclose(scores.outputs["raw"], model.predict(frame), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["Min", "Max"])
def test_missing_numbers_go_where_training_put_them(mode: str, tmp_path: Path) -> None:
    model, columns, frame = train("RMSE", tmp_path / "model.json", nan_mode=mode)
    scores = read(tmp_path / "model.json").score(columns)
    np.testing.assert_allclose(scores.outputs["raw"], model.predict(frame), rtol=1e-9, atol=1e-12)


def test_statistics_of_categories_are_refused(tmp_path: Path) -> None:
    train("RMSE", tmp_path / "model.json", one_hot_max_size=1)
    with pytest.raises(ConfigError, match="OnlineCtr") as caught:
        read(tmp_path / "model.json")
    assert caught.value.code == "unsupported_element"
