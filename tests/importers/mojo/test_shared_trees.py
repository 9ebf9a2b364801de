from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read

Make = Callable[..., Path]


def stump(threshold: float, left: float, right: float) -> bytes:
    """x >= threshold goes right; a missing x goes left."""
    return struct.pack("<BHBfff", 0x70, 0, 2, threshold, left, right)


def make(make_mojo: Make, algo: str, trees: dict[str, bytes], domain: list[str] | None = None, **extra: Any) -> Path:
    info = {"algo": algo, "mojo_version": "1.40", "_genmodel_encoding": "AUTO", "n_trees": 2, **extra}
    files = {f"trees/{name}.bin": data for name, data in trees.items()}
    return make_mojo(info, ["x", "y"], {1: domain} if domain else {}, files)


X = [0.0, 2.0, None]
PAIR = {"t00_000": stump(1.0, -1.0, 1.0), "t00_001": stump(1.5, 0.25, 0.5)}
SUMS = [-0.75, 1.5, -0.75]


@pytest.mark.parametrize(
    ("distribution", "link", "inverse"),
    [
        ("gaussian", "identity", lambda f: f),
        ("poisson", "log", math.exp),
        ("gaussian", "inverse", lambda f: 1 / (min(-1e-5, f) if f < 0 else max(-1e-5, f))),
        ("gaussian", "ologlog", lambda f: 1 - math.exp(-math.exp(f))),
        ("gaussian", "logit", lambda f: 1 / (1 + math.exp(-f))),
        ("tweedie", "tweedie", lambda f: f),
    ],
)
def test_gbm_adds_trees_start_and_offset_and_inverts_the_link(
    distribution: str, link: str, inverse: Callable[[float], float], make_mojo: Make
) -> None:
    more = {"distribution": distribution, "link_function": link, "init_f": 0.375, "offset_column": "o"}
    model = read(make(make_mojo, "gbm", PAIR, **more))
    found = model.score({"x": X, "o": [0.25] * 3}).outputs["predict"]
    np.testing.assert_allclose(found, [inverse(total + 0.625) for total in SUMS], rtol=1e-14)


def test_a_label_needs_the_default_threshold(make_mojo: Make) -> None:
    classes = {
        "category": "Binomial",
        "n_classes": 2,
        "distribution": "bernoulli",
        "init_f": 0,
        "default_threshold": 0.3,
    }
    model = read(make(make_mojo, "gbm", PAIR, ["1", "two"], **classes))
    scores = model.score({"x": X})
    assert list(model.outputs) == ["predict", "p1", "two"]
    assert list(scores.outputs["predict"]) == ["two", "two", "two"]
    np.testing.assert_allclose(scores.outputs["two"], [1 / (1 + math.exp(-f)) for f in SUMS])


def test_balanced_classes_are_put_right(make_mojo: Make) -> None:
    classes = {
        "category": "Binomial",
        "n_classes": 2,
        "distribution": "bernoulli",
        "init_f": 0,
        "balance_classes": True,
        "prior_class_distrib": [0.9, 0.1],
        "model_class_distrib": [0.5, 0.5],
    }
    found = read(make(make_mojo, "gbm", PAIR, ["a", "b"], **classes)).score({"x": X}).outputs["b"]
    for total, p in zip(SUMS, found, strict=True):
        odds = math.exp(total) * (0.1 / 0.5) / (0.9 / 0.5)
        assert p == pytest.approx(odds / (1 + odds))


def test_drf_takes_the_mean_or_the_share_of_votes(make_mojo: Make) -> None:
    found = read(make(make_mojo, "drf", PAIR, binomial_double_trees=False)).score({"x": X})
    np.testing.assert_allclose(found.outputs["predict"], np.array(SUMS) / 2)
    votes = {f"t{k:02d}_000": stump(1.0, *leaves) for k, leaves in enumerate([(0.5, 0.0), (0.25, 0.0), (0.25, 0.0)])}
    many = {"category": "Multinomial", "n_classes": 3, "n_trees": 1, "binomial_double_trees": False}
    many |= {"prior_class_distrib": [0.2, 0.5, 0.3]}
    scores = read(make(make_mojo, "drf", votes, ["a", "b", "c"], **many)).score({"x": [0.0, 5.0]})
    assert [scores.outputs[name][0] for name in "abc"] == [0.5, 0.25, 0.25]
    assert [scores.outputs[name][1] for name in "abc"] == [0.0, 0.0, 0.0]
    assert scores.outputs["predict"][0] == "a"


def test_an_isolation_forest_gives_score_and_length(make_mojo: Make) -> None:
    lengths = {"t00_000": stump(1.0, 3.0, 1.0), "t00_001": stump(1.0, 4.0, 2.0)}
    more = {"category": "AnomalyDetection", "supervised": False, "n_features": 2, "min_path_length": 2}
    model = read(make(make_mojo, "isolationforest", lengths, max_path_length=7, **more))
    scores = model.score({"x": X})
    np.testing.assert_allclose(scores.outputs["predict"], [0.0, 0.8, 0.0])
    np.testing.assert_allclose(scores.outputs["mean_length"], [3.5, 1.5, 3.5])
    flagged = more | {"output_anomaly_flag": True, "default_threshold": 0.5}
    model = read(make(make_mojo, "isolationforest", lengths, max_path_length=7, **flagged))
    assert model.score({"x": X}).outputs["predict"].tolist() == [0.0, 1.0, 0.0]


def test_an_uplift_forest_gives_the_difference(make_mojo: Make) -> None:
    trees = {"t00_000": stump(1.0, 0.5, 0.75), "t01_000": stump(1.0, 0.25, 0.0)}
    more = {"category": "BinomialUplift", "n_classes": 2, "n_trees": 1, "n_trees_per_class": 2}
    scores = read(make(make_mojo, "upliftdrf", trees, **more)).score({"x": X})
    assert scores.outputs["uplift_predict"].tolist() == [0.25, 0.75, 0.25]


def test_newer_mojos_are_unsupported(make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match=r"MOJO version 1.50 is newer than 1.40") as caught:
        read(make(make_mojo, "gbm", PAIR, mojo_version="1.50", distribution="gaussian", init_f=0))
    assert caught.value.code == "unsupported_element"
