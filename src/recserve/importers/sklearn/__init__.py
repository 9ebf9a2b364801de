"""scikit-learn estimators and pipelines, from the live object: `read_estimator(model)`.

A pickle runs code of whoever made it when it is loaded, so no path to one is ever opened: the owner of the model loads
it and hands the object over.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.model import ImportedModel
from recserve.importers.pipelines.frame import Frame
from recserve.importers.pipelines.regressors import nearest_centre
from recserve.importers.pipelines.vectors import Vector
from recserve.importers.sklearn import ensembles
from recserve.importers.sklearn.classifiers import CLASSIFIERS, Classified, classify
from recserve.importers.sklearn.regressors import isolation_scores, regress
from recserve.importers.sklearn.table import Raw, Table, array, kind_of, unsupported
from recserve.importers.sklearn.transformers import transform
from recserve.scoring.graph import Graph, Value

__all__ = ["read", "read_estimator"]

_TEXTS = {"CountVectorizer", "TfidfVectorizer", "HashingVectorizer"}
_CENTRES = {"KMeans", "MiniBatchKMeans"}


def read(path: Path) -> ImportedModel:
    """Refuse a file of scikit-learn's, which is a pickle.

    Raises:
        ConfigError: "unsafe_pickle", always; it shows how to hand the model over.
    """
    raise ConfigError(
        "a pickle runs the code of whoever wrote it when it is loaded, so recserve opens none",
        code="unsafe_pickle",
        where=str(path),
        hint=(
            "Where you trust it, convert it in a process of your own: "
            f"`estimator = joblib.load({path.name!r})`, then "
            "`model = recserve.importers.sklearn.read_estimator(estimator)`"
        ),
    )


def read_estimator(estimator: Any) -> ImportedModel:
    """A fitted scikit-learn estimator, pipeline or search as a model.

    Inputs are named by `feature_names_in_`, or `x0`, `x1` …; a step decides on the type of the column that it reads.
    Outputs:

        classifiers              predict (the label), probability(<label>) …, decision or decision(<label>) …
        regressors               predict, or predict[0] … for several targets
        clusterings, mixtures    predict; probability(0) … of a mixture
        outlier detectors        predict (1 or -1), score_samples, decision
        transformers             transform, a vector

    Raises:
        ConfigError: "unsupported_element" for an estimator, or an option of one, that recserve cannot take exactly;
            "invalid_model" for one that is not fitted.
    """
    frame = Frame("sklearn")
    table = Table(frame, [Raw(name) for name in _input_names(estimator)])
    try:
        for name, value in _outputs(estimator, table):
            frame.put(name, value)
    except AttributeError as error:
        raise ConfigError(
            f"it is not fitted, or of a version that recserve does not know: {error}",
            code="invalid_model",
            where=f"scikit-learn {kind_of(estimator)}",
        ) from error
    frame.report.transformations += [name for name, _ in getattr(estimator, "steps", [])]
    return frame.finish(frame.made)


def _input_names(estimator: Any) -> list[str]:
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return [str(name) for name in names]
    count = getattr(estimator, "n_features_in_", None)
    if count is not None:
        return [f"x{i}" for i in range(int(count))]
    first = estimator
    while hasattr(first, "steps"):
        first = first.steps[0][1]
    if kind_of(first) in _TEXTS or hasattr(first, "X_thresholds_"):
        return ["x0"]
    raise ConfigError(
        "it does not say how many columns it takes; it is not fitted",
        code="invalid_model",
        where=f"scikit-learn {kind_of(estimator)}",
    )


def _outputs(estimator: Any, table: Table) -> list[tuple[str, Value | Vector]]:
    """(name, value) of each output."""
    *steps, last = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    if hasattr(last, "best_estimator_"):
        return _outputs(last.best_estimator_, _after(steps, table))
    kind = kind_of(last)
    if hasattr(last, "steps"):
        return _outputs(last, _after(steps, table))
    if kind == "IsolationForest":
        return _outlier_outputs(table.graph, isolation_scores(last, _after(steps, table)), float(last.offset_))
    if kind in _CENTRES:
        return [("predict", nearest_centre(_after(steps, table).vector(), array(last.cluster_centers_)))]
    if kind == "GaussianMixture":
        probability, label = ensembles.gaussian_mixture(last, _after(steps, table))
        return [("predict", label), *[(f"probability({i})", value) for i, value in enumerate(probability)]]
    if hasattr(last, "classes_") and (hasattr(last, "predict") or kind in CLASSIFIERS):
        return _class_outputs(table.graph, classify(last, _after(steps, table)), last)
    if hasattr(last, "predict"):
        values = regress(last, _after(steps, table))
        return [("predict", values[0])] if len(values) == 1 else [(f"predict[{i}]", v) for i, v in enumerate(values)]
    return [("transform", transform(last, _after(steps, table)).vector())]


def _after(steps: Sequence[Any], table: Table) -> Table:
    for step in steps:
        table = transform(step, table)
    return table


def _outlier_outputs(graph: Graph, score: Value, offset: float) -> list[tuple[str, Value | Vector]]:
    decision = graph.apply("subtract", score, offset)
    is_out = graph.apply("less", decision, 0.0)
    return [("predict", graph.apply("select", is_out, -1.0, 1.0)), ("score_samples", score), ("decision", decision)]


def _class_outputs(graph: Graph, found: Classified, model: Any) -> list[tuple[str, Value | Vector]]:
    labels = [label.item() if isinstance(label, np.generic) else label for label in found.classes]
    if any(isinstance(label, list | np.ndarray) for label in labels):
        raise unsupported(model, "several targets at once are not supported")
    kinds = {str: "string", bool: "boolean"}
    dtype = kinds.get(type(labels[0]), "number")
    values = [str(x) if dtype == "string" else x if dtype == "boolean" else float(x) for x in labels]
    outputs: list[tuple[str, Value | Vector]] = [
        ("predict", graph.apply("pick", found.label, values=values, dtype=dtype))
    ]
    if found.probability is not None:
        outputs += [(f"probability({label})", p) for label, p in zip(labels, found.probability, strict=True)]
    if found.decision is not None:
        if len(found.decision) == 1:
            outputs.append(("decision", found.decision[0]))
        else:
            outputs += [(f"decision({label})", d) for label, d in zip(labels, found.decision, strict=True)]
    return outputs
