"""Programs out to ONNX, run by ONNX Runtime."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from recserve import importers
from recserve.errors import ConfigError
from recserve.importers.export.onnx import to_onnx
from recserve.importers.model import ImportedModel, Output, Report
from recserve.scoring.graph import Graph

TREES = Path(__file__).resolve().parent.parent / "trees" / "conftest.py"


def check(model: ImportedModel, columns: dict[str, Any], rtol: float = 1e-12) -> None:
    session = onnxruntime.InferenceSession(to_onnx(model))
    feeds = {slot.name: columns[slot.name] for slot in session.get_inputs()}
    names = [slot.name for slot in session.get_outputs()]
    wanted = model.score(columns).outputs
    for name, got in zip(names, session.run(None, feeds), strict=True):
        want = wanted[name] if name in wanted else wanted[name[:-3]][:, int(name[-2])]
        if got.dtype == np.float64:
            np.testing.assert_allclose(got, want, rtol=rtol)
        else:
            assert got.tolist() == want.tolist()


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "count:poisson"])
def test_boosted_trees_keep_their_scores_and_missing_rules(tmp_path: Path, objective: str) -> None:
    tools = runpy.run_path(str(TREES))
    rng = np.random.default_rng(5)
    path = tmp_path / "trees.json"
    path.write_text(json.dumps(tools["write_document"]([tools["random_tree"](rng, 3) for _ in range(7)], objective, 3)))
    columns = {f"f{i}": np.where(rng.random(200) < 0.2, np.nan, rng.normal(size=200)) for i in range(3)}
    check(importers.read(path), columns, rtol=1e-5)


def test_scikit_learn_estimators_go_out() -> None:
    linear, ensemble = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.ensemble")
    from recserve.importers.sklearn import read_estimator

    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    classes = np.array(["a", "b", "c"])[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0)]
    columns = {f"x{i}": rng.normal(size=50) for i in range(3)}
    for estimator in (linear.LogisticRegression(), ensemble.GradientBoostingClassifier(n_estimators=4)):
        check(read_estimator(estimator.fit(x, x[:, 0] > 0)), columns, rtol=1e-6)
    check(read_estimator(linear.LogisticRegression().fit(x, classes)), columns)
    check(read_estimator(linear.PoissonRegressor().fit(x, np.exp(x[:, 0]))), columns)


def one(op: str, dtype: Any = "number", **params: Any) -> ImportedModel:
    g = Graph()
    g.output("y", g.apply(op, g.input("x", dtype), **params))
    kind = "float64" if dtype == "number" else dtype
    return ImportedModel(g.build(), {"x": kind}, [Output("y", "float64", ("y",))], Report("test"))


@pytest.mark.parametrize("op", ["negate", "square", "relu", "exp", "sigmoid", "to_float32", "tanh"])
def test_functions_of_a_number_keep_their_values(op: str) -> None:
    check(one(op), {"x": np.array([0.1, 2.5, np.nan, -3.0])})


def test_vectors_leave_part_by_part_and_missing_values_are_replaced() -> None:
    g = Graph()
    x = g.apply("replace_missing", g.input("x", "number"), 7.0)
    parts = g.apply_many("dense", [x, x], weights=[[1.0, 2.0], [3.0, 4.0]], bias=[0.5, -9.0], activation="rectifier")
    for i, part in enumerate(parts):
        g.output(f"p{i}", part)
    outputs = [Output("v", "float64", ("p0", "p1"), "vector")]
    check(ImportedModel(g.build(), {"x": "float64"}, outputs, Report("test")), {"x": np.array([1.0, np.nan, -2.0])})


def test_what_has_no_counterpart_is_refused() -> None:
    with pytest.raises(ConfigError, match="op 'normal_quantile' has no exact counterpart in this format") as caught:
        to_onnx(one("normal_quantile"))
    assert caught.value.code == "not_exportable"
    with pytest.raises(ConfigError, match="op 'dense' with the activation 'gauss' has no exact counterpart"):
        to_onnx(one("dense", weights=[[1.0]], bias=[0.0], activation="gauss"))
    g = Graph()
    is_small = g.apply("less", g.input("x", "number"), 1.0)
    g.output("y", g.apply("boolean_to_number", is_small))
    g.output("z", g.apply("select", is_small, 1.0, g.input("w", "number")))
    outputs = [Output("y", "float64", ("y",)), Output("z", "float64", ("z",))]
    check(
        ImportedModel(g.build(), {"x": "float64", "w": "float64"}, outputs, Report("test")),
        {"x": np.ones(2), "w": np.ones(2)},
    )
