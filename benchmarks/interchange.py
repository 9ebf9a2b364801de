"""Imported models beside their own platforms: a row from a dict, and 10,000 rows at once, one thread.

Models: logistic regressions, gradient boosting of 100 trees × depth 5 and 500 × depth 8, forests, all of 12 inputs,
trained by scikit-learn on drawn data. Each is scored by recserve, by scikit-learn, by ONNX Runtime on recserve's own
export, and, where they can be imported, by ONNX Runtime on skl2onnx's conversion (float32), by LightGBM and XGBoost on
a model of their own of the same size, and by JPMML-Evaluator on recserve's PMML export (never a dependency; it needs
Java). The variants take turns; compare ratios.

    recserve bench interchange --seconds 1 --json interchange.json
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recserve.errors import ConfigError
from recserve.importers import read
from recserve.importers.model import ImportedModel
from recserve.importers.sklearn import read_estimator
from results import make_header, pin_to_one_core, print_table, time_in_turns, write_json

INPUTS = 12
BATCH = 10_000
TRAINING = 4_000
Variants = dict[str, tuple[Callable[[], object], Callable[[], object]]]
"""{variant: (score one row, score the batch)}."""


def main() -> None:
    """Parse the arguments, measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each variant of each case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--json", type=Path, help="result file")
    arguments = parser.parse_args()
    pin_to_one_core()
    header = make_header(arguments.seed)
    cases = list(measure(arguments.seed, arguments.seconds, arguments.only))
    write_json(arguments.json, header, cases)
    rows = [
        [case["case"], case["variant"], f"{case['row_us']:.2f}", f"{case['rows_per_s']:,.0f}", f"{case['ratio']:.2f}"]
        for case in cases
    ]
    title = f"{header['machine']['cpu']}, one thread, commit {header['commit']}"
    print_table(title, ["model", "variant", "µs a row", "rows/s", "batch, times ours"], rows)


def measure(seed: int, seconds: float, only: str) -> Iterator[dict[str, Any]]:
    """One record a model and variant."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(TRAINING, INPUTS))
    logit = x @ rng.normal(size=INPUTS) + x[:, 0] * x[:, 1]
    y = logit + rng.logistic(size=TRAINING) > 0
    batch = rng.normal(size=(BATCH, INPUTS))
    for name, train in trainers().items():
        if only not in name:
            continue
        estimator = train(seed).fit(x, y)
        variants = variants_of(estimator, batch)
        variants |= own_boosters(name, x, y, batch)
        row_us = time_in_turns({key: calls[0] for key, calls in variants.items()}, seconds)
        batch_us = time_in_turns({key: calls[1] for key, calls in variants.items()}, seconds)
        ours = float(np.median(batch_us["recserve"]))
        for key in variants:
            many = float(np.median(batch_us[key]))
            yield {
                "case": name,
                "variant": key,
                "row_us": float(np.median(row_us[key])),
                "row_us_p99": float(np.quantile(row_us[key], 0.99)),
                "rows_per_s": BATCH / many * 1e6,
                "ratio": many / ours,
            }


def trainers() -> dict[str, Callable[[int], Any]]:
    """Name → an estimator that is not fitted yet."""
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression

    def boosting(trees: int, depth: int) -> Callable[[int], Any]:
        return lambda seed: GradientBoostingClassifier(n_estimators=trees, max_depth=depth, random_state=seed)

    return {
        "logistic": lambda _: LogisticRegression(),
        "gbm 100 x 5": boosting(100, 5),
        "gbm 500 x 8": boosting(500, 8),
        "forest 100 x 8": lambda seed: RandomForestRegressor(100, max_depth=8, random_state=seed),
    }


def variants_of(estimator: Any, batch: np.ndarray[Any, Any]) -> Variants:
    """All ways to score an estimator."""
    model = read_estimator(estimator)
    found = {"recserve": ours(model, batch)}
    predict = getattr(estimator, "predict_proba", estimator.predict)
    one = batch[:1]
    found["scikit-learn"] = (lambda: predict(one), lambda: predict(batch))
    for name, make in (("onnxruntime, our export", our_onnx), ("JPMML, our export", our_pmml)):
        if (calls := make(model, batch)) is not None:
            found[name] = calls
    if (calls := converted(estimator, batch)) is not None:
        found["onnxruntime, skl2onnx"] = calls
    return found


def ours(model: ImportedModel, batch: np.ndarray[Any, Any]) -> tuple[Callable[[], object], Callable[[], object]]:
    """A row as a dict of floats, and columns."""
    columns = {name: np.ascontiguousarray(batch[:, i]) for i, name in enumerate(model.inputs)}
    row = {name: float(cells[0]) for name, cells in columns.items()}
    model.program.warm()
    return lambda: model.program.score_row(row), lambda: model.score(columns)


def our_onnx(model: ImportedModel, batch: np.ndarray[Any, Any]) -> tuple[Callable[[], object], Callable[[], object]]:
    """ONNX Runtime on our export."""
    from recserve.importers.export.onnx import to_onnx

    session = session_of(to_onnx(model))
    names = [slot.name for slot in session.get_inputs()]
    places = {name: i for i, name in enumerate(model.inputs)}
    columns = {name: np.ascontiguousarray(batch[:, places[name]]) for name in names}
    row = {name: float(cells[0]) for name, cells in columns.items()}
    return (
        lambda: session.run(None, {name: np.array([row[name]]) for name in names}),
        lambda: session.run(None, columns),
    )


def session_of(data: bytes) -> Any:
    """An ONNX Runtime session of one thread."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def converted(estimator: Any, batch: np.ndarray[Any, Any]) -> tuple[Callable[[], object], Callable[[], object]] | None:
    """ONNX Runtime on skl2onnx's conversion; None where that is not installed."""
    try:
        skl2onnx = importlib.import_module("skl2onnx")
    except ImportError:
        return None
    narrow = batch.astype(np.float32)
    data = skl2onnx.to_onnx(estimator, narrow[:1], options={"zipmap": False}).SerializeToString()
    session = session_of(data)
    name = session.get_inputs()[0].name
    row = dict(enumerate(batch[0].tolist()))
    return (
        lambda: session.run(None, {name: np.array([list(row.values())], np.float32)}),
        lambda: session.run(None, {name: narrow}),
    )


def our_pmml(
    model: ImportedModel, batch: np.ndarray[Any, Any]
) -> tuple[Callable[[], object], Callable[[], object]] | None:
    """JPMML-Evaluator on our export, transpiled; None where it is not installed."""
    from recserve.importers.export.pmml import to_pmml

    try:
        jpmml, pandas = importlib.import_module("jpmml_evaluator"), importlib.import_module("pandas")
        data = to_pmml(model)
    except (ImportError, ConfigError):
        return None
    with tempfile.NamedTemporaryFile(suffix=".pmml") as file:
        Path(file.name).write_bytes(data)
        read(file.name)  # it must be a document before it is compared
        evaluator = jpmml.make_evaluator(file.name, transpile=True).verify()
    frame = pandas.DataFrame(batch, columns=list(model.inputs))
    row = {name: float(x) for name, x in zip(model.inputs, batch[0], strict=True)}
    return lambda: evaluator.evaluate(row), lambda: evaluator.evaluateAll(frame)


def own_boosters(name: str, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], batch: np.ndarray[Any, Any]) -> Variants:
    """LightGBM and XGBoost, as themselves and imported, of the size of the case, where they are installed."""
    found: Variants = {}
    if not name.startswith("gbm"):
        return found
    trees, depth = (int(word) for word in name.removeprefix("gbm ").split(" x "))
    options = {"n_estimators": trees, "max_depth": depth, "n_jobs": 1}
    for library, kind, suffix in (("lightgbm", "LGBMClassifier", "txt"), ("xgboost", "XGBClassifier", "json")):
        try:
            module = importlib.import_module(library)
        except ImportError:
            continue
        extra = {"num_leaves": 1 << depth, "verbose": -1} if library == "lightgbm" else {}
        booster = getattr(module, kind)(**options, **extra).fit(x, y)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model.{suffix}"
            (booster.booster_ if library == "lightgbm" else booster.get_booster()).save_model(str(path))
            found[f"recserve, {library}'s file"] = ours(read(path), batch)
        found[library] = (
            lambda booster=booster: booster.predict_proba(batch[:1]),
            lambda booster=booster: booster.predict_proba(batch),
        )
    return found


if __name__ == "__main__":
    main()
