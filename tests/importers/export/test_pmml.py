"""Programs out to PMML and in again."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve import importers
from recserve.errors import ConfigError
from recserve.importers.export.pmml import to_pmml
from recserve.importers.model import ImportedModel, Output, Report
from recserve.scoring.graph import Graph

TREES = Path(__file__).resolve().parent.parent / "trees" / "conftest.py"
LINE = """<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header/><DataDictionary>
<DataField name="age" optype="continuous" dataType="double"/>
<DataField name="city" optype="categorical" dataType="string"><Value value="x"/><Value value="y"/></DataField>
<DataField name="y" optype="continuous" dataType="double"/></DataDictionary>
<RegressionModel functionName="regression" normalizationMethod="logit"><MiningSchema>
<MiningField name="age" missingValueReplacement="30"/><MiningField name="city"/>
<MiningField name="y" usageType="target"/></MiningSchema><RegressionTable intercept="1">
<NumericPredictor name="age" coefficient="0.05"/><CategoricalPredictor name="city" value="y" coefficient="-3"/>
</RegressionTable></RegressionModel></PMML>"""


def again(model: ImportedModel, folder: Path) -> ImportedModel:
    path = folder / "out.pmml"
    path.write_bytes(to_pmml(model))
    return importers.read(path)


def check(model: ImportedModel, found: ImportedModel, columns: dict[str, Any], rtol: float = 1e-12) -> None:
    wanted, got = model.score(columns), found.score(columns)
    assert got.errors.keys() == wanted.errors.keys()
    for name in model.outputs:
        if model.outputs[name] == "float64":
            np.testing.assert_allclose(got.outputs[name], wanted.outputs[name], rtol=rtol)
        else:
            assert got.outputs[name].tolist() == wanted.outputs[name].tolist()


def test_pmml_read_and_written_and_read_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "in.pmml"
    path.write_text(LINE)
    model = importers.read(path)
    found = again(model, tmp_path)
    columns = {"age": ["20", None, "50", "1", "old"], "city": ["x", "y", None, "nowhere", "x"]}
    check(model, found, columns)
    assert sorted(model.score(columns).errors) == [3, 4]
    assert found.inputs == model.inputs


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "count:poisson"])
def test_boosted_trees_keep_their_scores_and_missing_rules(tmp_path: Path, objective: str) -> None:
    tools = runpy.run_path(str(TREES))
    rng = np.random.default_rng(5)
    path = tmp_path / "trees.json"
    path.write_text(json.dumps(tools["write_document"]([tools["random_tree"](rng, 3) for _ in range(7)], objective, 3)))
    model = importers.read(path)
    columns = {f"f{i}": np.where(rng.random(200) < 0.2, np.nan, rng.normal(size=200)) for i in range(3)}
    check(model, again(model, tmp_path), columns, rtol=1e-5)


def test_scikit_learn_estimators_go_out(tmp_path: Path) -> None:
    linear, ensemble = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.ensemble")
    from recserve.importers.sklearn import read_estimator

    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    classes = np.array(["a", "b", "c"])[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0)]
    estimators = [
        linear.LogisticRegression().fit(x, x[:, 0] > 0),
        linear.LogisticRegression().fit(x, classes),
        linear.LinearRegression().fit(x, x[:, 0]),
        linear.PoissonRegressor().fit(x, np.exp(x[:, 0])),
        ensemble.GradientBoostingClassifier(n_estimators=4).fit(x, x[:, 0] > 0),
        ensemble.RandomForestRegressor(n_estimators=4).fit(x, x[:, 0]),
    ]
    columns = {f"x{i}": rng.normal(size=50) for i in range(3)}
    for estimator in estimators:
        model = read_estimator(estimator)
        check(model, again(model, tmp_path), columns)


def number_model(op: str, *extra: Any, **params: Any) -> ImportedModel:
    g = Graph()
    g.output("y", g.apply(op, g.input("x", "number"), *extra, **params))
    return ImportedModel(g.build(), {"x": "float64"}, [Output("y", "float64", ("y",))], Report("test"))


@pytest.mark.parametrize(
    "op", ["negate", "square", "reciprocal", "relu", "exp", "log1p", "sigmoid", "to_float32", "floor"]
)
def test_functions_of_a_number_keep_their_values(tmp_path: Path, op: str) -> None:
    model = number_model(op)
    check(model, again(model, tmp_path), {"x": np.array([0.1, 2.5, np.nan, 3.0])})


def test_what_has_no_counterpart_is_refused() -> None:
    with pytest.raises(ConfigError, match="op 'erf' has no exact counterpart in this format") as caught:
        to_pmml(number_model("erf"))
    assert caught.value.code == "not_exportable"
    g = Graph()
    x = g.input("x", "number")
    g.output("y", g.apply("fail", x, g.apply("less", x, 0.0), message="negative"))
    failing = ImportedModel(g.build(), {"x": "float64"}, [Output("y", "float64", ("y",))], Report("test"))
    with pytest.raises(ConfigError, match=r"op 'fail' \(negative\) has no exact counterpart"):
        to_pmml(failing)
    g = Graph()
    g.output("y", g.input("x", "string"))
    labels = ImportedModel(g.build(), {"x": "string"}, [Output("y", "string", ("y",))], Report("test"))
    with pytest.raises(ConfigError, match="no output is a number"):
        to_pmml(labels)
