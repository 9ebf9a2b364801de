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
Files = Callable[..., dict[str, bytes]]


def glm(beta: list[float], **extra: Any) -> dict[str, Any]:
    plain = {"algo": "glm", "family": "gaussian", "link": "identity", "cats": 0, "cat_offsets": [0]}
    return plain | {"nums": len(beta) - 1, "beta": beta} | extra


TWO = {"category": "Binomial", "n_classes": 2, "family": "binomial", "link": "logit"}


def stack(make_mojo: Make, inner_files: Files, transform: str = "NONE", **extra: Any) -> Path:
    labels = ["no", "yes"]
    base = [
        inner_files(glm([1.0, 0.5], **TWO), ["b", "y"], {1: labels}, folder="models/one/"),
        inner_files(glm([2.0, -1.0, 0.0], **TWO), ["a", "b", "y"], {2: labels}, folder="models/two/"),
        inner_files(glm([1.0, 2.0, 3.0, 0.25], **TWO), ["m0", "m1", "m2", "y"], {3: labels}, folder="models/meta/"),
    ]
    names = ("one", "two", "meta")
    info: dict[str, Any] = {"algo": "stackedensemble", "category": "Binomial", "n_classes": 2, "submodel_count": 3}
    for number, name in enumerate(names):
        info |= {f"submodel_key_{number}": name, f"submodel_dir_{number}": f"models/{name}/"}
    info |= {"base_models_num": 3, "base_model0": "one", "base_model2": "two", "metalearner": "meta"}
    info |= {"metalearner_transform": transform, **extra}
    return make_mojo(info, ["a", "b", "y"], {2: labels}, inner=base)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("transform", ["NONE", "Logit"])
def test_the_metalearner_sees_the_base_models_by_column_name(
    transform: str, make_mojo: Make, inner_files: Files
) -> None:
    found = read(stack(make_mojo, inner_files, transform)).score({"a": [1.0], "b": [-0.5]}).outputs["yes"][0]
    base = [sigmoid(-0.5 + 0.5), 0.0, sigmoid(2.0 + 0.5)]
    if transform == "Logit":
        clipped = [min(1 - 1e-9, max(p, 1e-9)) for p in base]
        base = [max(-19.0, math.log(p / (1 - p))) for p in clipped]
    assert found == pytest.approx(sigmoid(base[0] + 2 * base[1] + 3 * base[2] + 0.25), rel=1e-12)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"metalearner": "gone"}, "names the model 'gone', which the MOJO lacks"),
        ({"metalearner_transform": "Odd"}, "the transform 'Odd' is unknown"),
        ({"base_models_num": 2}, "reads 3 of 2 base answers"),
        ({"n_classes": 3}, "has 2 classes of 3"),
    ],
)
def test_contradictions_are_refused(extra: dict[str, Any], message: str, make_mojo: Make, inner_files: Files) -> None:
    with pytest.raises(ConfigError, match=message):
        read(stack(make_mojo, inner_files, **extra))


def test_k_lime_takes_the_regression_of_the_rows_cluster(make_mojo: Make, inner_files: Files) -> None:
    kmeans = {"algo": "kmeans", "category": "Clustering", "supervised": False, "n_features": 1, "standardize": False}
    kmeans |= {"center_num": 2, "center_0": [0.0], "center_1": [10.0]}
    parts = [
        inner_files(kmeans, ["b"], folder="k/"),
        inner_files(glm([1.0, 1.0, 0.0]), ["a", "b", "y"], folder="g/"),
        inner_files(glm([5.0, 0.0, 0.0]), ["a", "b", "y"], folder="c/"),
    ]
    info: dict[str, Any] = {"algo": "klime", "category": "KLime", "submodel_count": 3, "cluster_num": 2}
    for number, name in enumerate("kgc"):
        info |= {f"submodel_key_{number}": name, f"submodel_dir_{number}": f"{name}/"}
    info |= {"clustering_model": "k", "global_regression_model": "g", "cluster_regression_model_1": "c"}
    scores = read(make_mojo(info, ["a", "b", "y"], inner=parts)).score({"a": [2.0, 2.0], "b": [1.0, 9.0]})
    np.testing.assert_array_equal(scores.outputs["predict"], [3.0, 10.0])
    np.testing.assert_array_equal(scores.outputs["cluster"], [0.0, 1.0])
