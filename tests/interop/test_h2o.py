"""Round trips with H2O itself: a MOJO of every algorithm, compared with what genmodel's PredictCsv gives."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.importers import read

h2o = pytest.importorskip("h2o", reason="the interop environment has H2O")
pd = pytest.importorskip("pandas")
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ROWS = 400
TYPES = dict.fromkeys(("city", "dev", "mix", "y2", "y01", "y3"), "enum")
X = ["age", "price", "hour", "city", "dev", "mix"]


def make_frame(rng: np.random.Generator, rows: int, unseen: bool = False) -> Any:
    """Numbers and categories with missing values; y2, y01 (two classes), y3, yr, yp (counts), yg, ytw (with zeros)."""
    cities = [f"c{i}" for i in range(25)] + (["elsewhere"] if unseen else [])
    frame = pd.DataFrame(
        {
            "age": rng.normal(35, 10, rows).round(1),
            "price": rng.gamma(2, 10, rows).round(3),
            "hour": rng.integers(0, 24, rows).astype(float),
            "city": rng.choice(cities, rows).astype(object),
            "dev": rng.choice(["ios", "android", "web", "1"], rows).astype(object),
            "mix": rng.choice(["10", "20", "30"], rows).astype(object),
        }
    )
    z = 0.03 * (frame["age"] - 35) + (frame["dev"] == "ios") - 0.02 * frame["price"]
    z = (z + frame["city"].str[-1].isin(list("13579")) * 0.8).to_numpy()
    for name, share in (("age", 0.08), ("price", 0.08), ("city", 0.08), ("dev", 0.05)):
        frame.loc[rng.random(rows) < share, name] = None
    noise = rng.normal(0, 1, rows)
    frame["y2"] = np.where(z + noise > 0, "yes", "no")
    frame["y01"] = (z + noise > 0).astype(int)
    frame["y3"] = np.array(["low", "mid", "top"])[np.clip((z + 0.7 * noise + 1).astype(int), 0, 2)]
    frame["yr"] = z + 0.3 * noise
    frame["yp"] = rng.poisson(np.exp(np.clip(z, -3, 2)))
    frame["yg"] = np.exp(z + 0.2 * noise)
    frame["ytw"] = np.where(rng.random(rows) < 0.4, 0, frame["yg"])
    frame["off"] = rng.normal(0, 0.3, rows)
    return frame


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """The training frame on a cluster of its own, and a CSV file with levels that it has not."""
    rng = np.random.default_rng(7)
    h2o.init(nthreads=2, max_mem_size="2g", log_level="ERRR", bind_to_localhost=True)
    h2o.no_progress()
    path = tmp_path_factory.mktemp("h2o") / "input.csv"
    frame = h2o.H2OFrame(make_frame(rng, ROWS), column_types=TYPES)
    make_frame(rng, 150, unseen=True).to_csv(path, index=False, na_rep="")
    yield frame, path
    h2o.cluster().shutdown()


def predict(mojo: Path, inputs: Path) -> list[list[str]]:
    """genmodel's answers, the header first."""
    jar = Path(h2o.__file__).parent / "backend" / "bin" / "h2o.jar"
    output = mojo.with_suffix(".csv")
    command = ["java", "-cp", str(jar), "hex.genmodel.tools.PredictCsv", "--decimal"]
    command += ["--mojo", str(mojo), "--input", str(inputs), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with output.open(newline="") as file:
        return list(csv.reader(file))


def check(estimator: Any, cluster: tuple[Any, Path], folder: Path, target: str | None, columns: list[str]) -> None:
    frame, inputs = cluster
    estimator.train(x=columns, y=target, training_frame=frame)
    mojo = Path(estimator.download_mojo(path=str(folder / "model.zip")))
    head, *rows = predict(mojo, inputs)
    table = pd.read_csv(inputs, dtype=str, keep_default_na=False)
    model = read(mojo)
    cells = {name: [value or None for value in table[name]] for name in model.inputs if name in table}
    scores = model.score(cells)
    assert not scores.errors
    assert list(model.outputs)[: len(head)] == head
    for number, name in enumerate(head):
        got, want = scores.outputs[name], [row[number] for row in rows]
        if name == "predict" and not isinstance(np.asarray(got).flat[0], float):
            assert list(got) == want
        else:
            expected = [np.nan if cell == "NA" else float(cell) for cell in want]
            np.testing.assert_allclose(np.asarray(got, float), expected, rtol=1e-6, atol=1e-9)


def build(name: str) -> Callable[..., Any]:
    """An estimator class of H2O by the middle of its name."""
    found: Callable[..., Any] = getattr(h2o.estimators, f"H2O{name}Estimator")
    return found


GBM, DRF, GLM, DL = "GradientBoosting", "RandomForest", "GeneralizedLinear", "DeepLearning"
XGB, GAM, RULES = "XGBoost", "GeneralizedAdditive", "RuleFit"
TREES = {"ntrees": 6, "seed": 1}
SPLINE = {"gam_columns": ["age", "price"], "num_knots": [5, 6], "bs": [0, 0], "scale": [0.1, 0.1]}
NET = {"hidden": [8, 6], "epochs": 1, "seed": 1, "reproducible": True}
CASES: list[tuple[str, dict[str, Any], str | None]] = [
    *[(GBM, TREES | {"categorical_encoding": name}, "y2") for name in ("enum", "one_hot_explicit", "binary", "eigen")],
    *[(GBM, TREES | {"categorical_encoding": name}, "y2") for name in ("sort_by_response", "enum_limited")],
    *[(GBM, TREES | {"distribution": d}, y) for d, y in (("gaussian", "yr"), ("poisson", "yp"), ("gamma", "yg"))],
    *[(GBM, TREES | {"distribution": d}, y) for d, y in (("tweedie", "ytw"), ("laplace", "yr"), ("huber", "yr"))],
    (GBM, TREES, "y3"),
    (GBM, TREES, "y01"),
    (GBM, TREES | {"offset_column": "off"}, "yr"),
    (GBM, TREES | {"balance_classes": True}, "y3"),
    (DRF, TREES, "yr"),
    (DRF, TREES | {"binomial_double_trees": True}, "y2"),
    (DRF, {"ntrees": 1, "max_depth": 20, "seed": 1}, "y3"),
    (DRF, TREES | {"balance_classes": True}, "y2"),
    *[(GLM, {"family": f}, y) for f, y in (("gaussian", "yr"), ("binomial", "y2"), ("multinomial", "y3"))],
    *[(GLM, {"family": f}, y) for f, y in (("ordinal", "y3"), ("poisson", "yp"), ("gamma", "yg"), ("tweedie", "ytw"))],
    (GLM, {"family": "negativebinomial"}, "yp"),
    (GLM, {"family": "gamma", "link": "inverse"}, "yg"),
    (GLM, {"family": "gaussian", "offset_column": "off"}, "yr"),
    *[(DL, NET | {"activation": a}, "y2") for a in ("rectifier", "tanh", "maxout", "rectifier_with_dropout")],
    (DL, NET, "yr"),
    (DL, NET | {"use_all_factor_levels": False, "balance_classes": True}, "y3"),
    (DL, NET | {"distribution": "poisson", "standardize": False}, "yp"),
    (DL, NET | {"autoencoder": True}, None),
    *[(XGB, TREES | {"booster": b}, y) for b in ("gbtree", "dart", "gblinear") for y in ("y2", "y3")],
    (XGB, TREES | {"dmatrix_type": "dense"}, "yr"),
    (XGB, TREES | {"offset_column": "off"}, "yr"),
    *[(XGB, TREES | {"distribution": d}, y) for d, y in (("poisson", "yp"), ("gamma", "yg"), ("tweedie", "ytw"))],
    ("IsolationForest", TREES, None),
    ("IsolationForest", TREES | {"contamination": 0.1}, None),
    ("ExtendedIsolationForest", TREES | {"extension_level": 2}, None),
    ("KMeans", {"k": 4, "seed": 1}, None),
    ("KMeans", {"k": 4, "seed": 1, "standardize": False}, None),
    *[(GAM, SPLINE | {"family": f}, y) for f, y in (("binomial", "y2"), ("multinomial", "y3"), ("ordinal", "y3"))],
    (GAM, {"family": "gaussian", "gam_columns": ["hour"], "num_knots": [6], "bs": [3], "spline_orders": [4]}, "yr"),
    (GAM, {"gam_columns": ["hour", "age"], "num_knots": [5, 5], "bs": [2, 2], "spline_orders": [3, 2]}, "yr"),
    (RULES, {"max_rule_length": 3, "max_num_rules": 20, "model_type": "rules_and_linear", "seed": 1}, "y2"),
    (RULES, {"max_rule_length": 3, "max_num_rules": 20, "model_type": "rules", "seed": 1}, "y3"),
]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{CASES[i][0]}-{CASES[i][2]}-{i}")
def test_each_algorithm_scores_as_genmodel_does(number: int, cluster: tuple[Any, Path], tmp_path: Path) -> None:
    name, options, target = CASES[number]
    check(build(name)(**options), cluster, tmp_path, target, X)


def test_principal_components_score_as_genmodel_does(cluster: tuple[Any, Path], tmp_path: Path) -> None:
    make = h2o.estimators.H2OPrincipalComponentAnalysisEstimator
    estimator = make(k=3, transform="standardize", impute_missing=True, pca_method="gram_s_v_d")
    check(estimator, cluster, tmp_path, None, X)


@pytest.mark.parametrize("transform", ["none", "logit"])
@pytest.mark.parametrize("target", ["y2", "y3"])
def test_stacked_ensembles_score_as_genmodel_does(
    target: str, transform: str, cluster: tuple[Any, Path], tmp_path: Path
) -> None:
    folds = {"nfolds": 3, "keep_cross_validation_predictions": True, "fold_assignment": "modulo", "seed": 1}
    bases = [build(GBM)(ntrees=4, **folds), build(GLM)(**folds), build(XGB)(ntrees=3, **folds)]
    for base in bases:
        base.train(x=X, y=target, training_frame=cluster[0])
    estimator = build("StackedEnsemble")(base_models=bases, metalearner_transform=transform, seed=1)
    check(estimator, cluster, tmp_path, target, X)


@pytest.mark.parametrize("method", ["PlattScaling", "IsotonicRegression"])
def test_calibrated_models_score_as_genmodel_does(method: str, cluster: tuple[Any, Path], tmp_path: Path) -> None:
    options = {"calibrate_model": True, "calibration_frame": cluster[0], "calibration_method": method}
    check(build(GBM)(**TREES, **options), cluster, tmp_path, "y2", X)
