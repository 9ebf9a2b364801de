"""scikit-learn's classifiers that are made of other estimators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from recserve.importers.pipelines.vectors import Vector
from recserve.importers.sklearn.classifiers import CLASSIFIERS, Classified, classify
from recserve.importers.sklearn.regressors import REGRESSORS, isotonic_of, regress
from recserve.importers.sklearn.table import Part, Table, array, kind_of, unsupported
from recserve.scoring.graph import Graph, Value


def _probability(model: Any, found: Classified) -> list[Value]:
    if found.probability is None:
        raise unsupported(model, "it needs probabilities, and its parts give none")
    return found.probability


def _spread(graph: Graph, found: Classified, model: Any) -> list[Value]:
    """The probabilities of a part at the places of its classes among all classes, which it may know by number."""
    places = {_plain(label): i for i, label in enumerate(model.classes_)}
    labels = [_plain(label) for label in found.classes]
    if not all(label in places for label in labels):
        places = {float(i): i for i in range(len(model.classes_))}
        labels = [float(label) for label in labels]
    spread: list[Value] = [graph.constant(0.0)] * len(model.classes_)
    probability = found.probability
    if probability is None:
        numbers = [float(i) for i in range(len(labels))]
        probability = graph.apply_many("one_hot", [found.label], values=numbers)
    for label, value in zip(labels, probability, strict=True):
        spread[places[label]] = value
    return spread


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _finish(model: Any, graph: Graph, probability: list[Value]) -> Classified:
    return Classified(list(model.classes_), graph.apply("argmax", *probability), probability)


def _averaged(graph: Graph, parts: list[list[Value]], weights: Any = None) -> list[Value]:
    weights = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
    return [graph.apply("weighted_mean", *column, weights=weights) for column in zip(*parts, strict=True)]


def _bagging(model: Any, table: Table) -> Classified:
    parts = []
    for one, features in zip(model.estimators_, model.estimators_features_, strict=True):
        parts.append(_spread(table.graph, classify(one, table.select([int(i) for i in features])), model))
    return _finish(model, table.graph, _averaged(table.graph, parts))


def _voting(model: Any, table: Table) -> Classified:
    graph, found = table.graph, [classify(one, table) for one in model.estimators_]
    weights = model._weights_not_none
    if model.voting == "soft":
        return _finish(model, graph, _averaged(graph, [_probability(model, one) for one in found], weights))
    numbers = [float(i) for i in range(len(model.classes_))]
    weights = [1.0] * len(found) if weights is None else [float(weight) for weight in weights]
    votes = graph.apply_many("vote", [one.label for one in found], weights=weights, classes=numbers)
    return Classified(list(model.classes_), graph.apply("argmax", *votes))


def _ada_boost(model: Any, table: Table) -> Classified:
    graph, classes = table.graph, len(model.classes_)
    weights = array(model.estimator_weights_)[: len(model.estimators_)]
    labels = [classify(one, table).label for one in model.estimators_]
    numbers = [float(i) for i in range(classes)]
    votes = graph.apply_many("vote", labels, weights=weights, classes=numbers)
    total, others = float(weights.sum()), -1.0 / (classes - 1)
    # A vote counts 1 for its class and `others` for each other one.
    scores = [graph.apply("linear", vote, weights=[(1.0 - others) / total], bias=others) for vote in votes]
    if classes == 2:
        margin = graph.apply("subtract", scores[1], scores[0])
        half = graph.apply("multiply", margin, 0.5)
        probability = graph.apply_many("softmax", [graph.apply("negate", half), half])
        label = graph.apply("boolean_to_number", graph.apply("greater", margin, 0.0))
        return Classified(list(model.classes_), label, probability, [margin])
    shown = [graph.apply("divide", score, float(classes - 1)) for score in scores]
    probability = graph.apply_many("softmax", shown)
    return Classified(list(model.classes_), graph.apply("argmax", *scores), probability, scores)


def _stacked(model: Any, table: Table) -> Table:
    """What the parts of a stack say, and the columns themselves where they are passed through."""
    parts: list[Part] = []
    for one, method in zip(model.estimators_, model.stack_method_, strict=True):
        parts.append(Vector.of(table.graph, _said(model, one, method, table)))
    return Table(table.frame, [*parts, *table.parts] if model.passthrough else parts)


def _said(model: Any, one: Any, method: str, table: Table) -> list[Value]:
    if not hasattr(one, "classes_"):
        return regress(one, table)
    found = classify(one, table)
    if method == "predict_proba":
        values = _probability(model, found)
        return values[1:] if len(values) == 2 else values
    if method == "decision_function" and found.decision is not None:
        return found.decision
    if method != "predict":
        raise unsupported(model, f"its parts have no {method}")
    return [labels_as_numbers(table.graph, found)]


def labels_as_numbers(graph: Graph, found: Classified) -> Value:
    """The label itself, where labels are numbers."""
    return graph.apply("pick", found.label, values=[float(label) for label in found.classes], dtype="number")


def _stacking(model: Any, table: Table) -> Classified:
    found = classify(model.final_estimator_, _stacked(model, table))
    return Classified(list(model.classes_), found.label, found.probability, found.decision)


def _stacking_regressor(model: Any, table: Table) -> list[Value]:
    return regress(model.final_estimator_, _stacked(model, table))


def _calibrated(model: Any, table: Table) -> Classified:
    parts = [_calibrated_part(model, one, table) for one in model.calibrated_classifiers_]
    return _finish(model, table.graph, _averaged(table.graph, parts))


def _calibrated_part(model: Any, part: Any, table: Table) -> list[Value]:
    graph = table.graph
    found = classify(part.estimator, table)
    scores = found.decision
    if scores is None:
        probability = _probability(model, found)
        scores = probability[1:] if len(probability) == 2 else probability
    if part.method == "temperature":
        raise unsupported(model, "calibration by temperature is not supported")
    values = [_calibrate(graph, score, one) for score, one in zip(scores, part.calibrators, strict=True)]
    if len(values) == 1:
        return [graph.apply("subtract", 1.0, values[0]), values[0]]
    total = graph.apply("sum", *values)
    is_zero = graph.apply("equal", total, 0.0)
    shares = [graph.apply("divide", value, total) for value in values]
    return [graph.apply("select", is_zero, 1.0 / len(values), share) for share in shares]


def _calibrate(graph: Graph, score: Value, calibrator: Any) -> Value:
    if kind_of(calibrator) == "IsotonicRegression":
        return isotonic_of(graph, score, calibrator)
    a, b = -float(calibrator.a_), -float(calibrator.b_)
    return graph.apply("sigmoid", graph.apply("linear", score, weights=[a], bias=b))


def _one_vs_rest(model: Any, table: Table) -> Classified:
    graph, ones, scores = table.graph, [], []
    for one in model.estimators_:
        found = classify(one, table)
        ones.append(found.probability[1] if found.probability is not None else None)
        scores.append(found.decision[0] if found.decision is not None else _probability(model, found)[1])
    known = [one for one in ones if one is not None]
    probability = None
    if len(known) == len(ones):
        if len(known) == 1:
            probability = [graph.apply("subtract", 1.0, known[0]), known[0]]
        else:
            total = graph.apply("sum", *known)
            probability = [graph.apply("divide", one, total) for one in known]
    if len(scores) == 1:
        limit = 0.0 if classify(model.estimators_[0], table).decision is not None else 0.5
        label = graph.apply("boolean_to_number", graph.apply("greater", scores[0], limit))
    else:
        label = graph.apply("argmax", *scores)
    return Classified(list(model.classes_), label, probability)


def _with_threshold(model: Any, table: Table) -> Classified:
    """A binary classifier whose label is cut at a threshold of one of its scores."""
    graph, found = table.graph, classify(model.estimator_, table)
    threshold = getattr(model, "best_threshold_", getattr(model, "threshold", "auto"))
    method = getattr(model, "response_method", "auto")
    uses_probability = method == "predict_proba" or (method == "auto" and found.probability is not None)
    if threshold == "auto":
        threshold = 0.5 if uses_probability else 0.0
    if getattr(model, "pos_label", None) not in {None, _plain(model.classes_[1])}:
        raise unsupported(model, f"pos_label {model.pos_label!r} is not the second class")
    if not uses_probability and found.decision is None:
        raise unsupported(model, f"its estimator has no {method}")
    score = _probability(model, found)[1] if found.decision is None or uses_probability else found.decision[0]
    label = graph.apply("boolean_to_number", graph.apply("greater_equal", score, float(threshold)))
    return Classified(list(model.classes_), label, found.probability, found.decision)


CLASSIFIERS.update(
    {
        "BaggingClassifier": _bagging,
        "VotingClassifier": _voting,
        "AdaBoostClassifier": _ada_boost,
        "StackingClassifier": _stacking,
        "CalibratedClassifierCV": _calibrated,
        "OneVsRestClassifier": _one_vs_rest,
        "FixedThresholdClassifier": _with_threshold,
        "TunedThresholdClassifierCV": _with_threshold,
    }
)
REGRESSORS["StackingRegressor"] = _stacking_regressor


def gaussian_mixture(model: Any, table: Table) -> tuple[list[Value], Value]:
    """(probability of each component, number of the likeliest)."""
    graph, vector, scores = table.graph, table.vector(), []
    for i, mean in enumerate(array(model.means_)):
        root = _precision_root(model, i, len(mean))
        turned = vector.dots(root.T, (-(mean @ root)).tolist())
        squares = [graph.apply("square", value) for value in turned]
        start = float(np.sum(np.log(np.abs(np.diag(root))))) - 0.5 * len(mean) * math.log(2.0 * math.pi)
        start += math.log(float(model.weights_[i]))
        scores.append(graph.apply("linear", *squares, weights=[-0.5] * len(squares), bias=start))
    return graph.apply_many("softmax", scores), graph.apply("argmax", *scores)


def _precision_root(model: Any, i: int, size: int) -> Any:
    """The Cholesky factor of the precision of a component, as a matrix."""
    found = np.asarray(model.precisions_cholesky_)
    if model.covariance_type == "full":
        return found[i]
    if model.covariance_type == "tied":
        return found
    return np.diag(found[i]) if model.covariance_type == "diag" else np.eye(size) * found[i]
