"""scikit-learn's regressors, and the decision values that other models are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from recserve.importers.pipelines import regressors as shared
from recserve.importers.pipelines.trees import sum_trees
from recserve.importers.pipelines.vectors import Vector
from recserve.importers.sklearn import forests
from recserve.importers.sklearn.table import Table, array, kind_of, unsupported
from recserve.importers.sklearn.transformers import transform
from recserve.scoring.graph import Graph, Value

Regress = Callable[[Any, Table], list[Value]]

_ACTIVATIONS = {"identity": "identity", "logistic": "logistic", "tanh": "tanh", "relu": "rectifier"}
_INVERSES = {"expm1": "expm1", "exp": "exp", "square": "square", "log": "log", "log1p": "log1p", "sqrt": "sqrt"}


def regress(model: Any, table: Table) -> list[Value]:
    """The predictions of a regressor, one an output.

    Raises:
        ConfigError: "unsupported_element" where recserve lacks it, or an option of it.
    """
    kind = kind_of(model)
    table.frame.report.count(kind)
    if kind in REGRESSORS:
        return REGRESSORS[kind](model, table)
    if hasattr(model, "coef_") and hasattr(model, "intercept_") and not hasattr(model, "dual_coef_"):
        return linear(model, table)
    raise unsupported(model, f"regressor {kind!r} is not supported")


def linear(model: Any, table: Table) -> list[Value]:
    """Weighted sums: one for each row of `coef_`."""
    weights = np.atleast_2d(array(model.coef_))
    biases = np.broadcast_to(np.atleast_1d(array(model.intercept_)), (len(weights),))
    return table.vector().dots(weights, biases.tolist())


def _generalized(model: Any, table: Table) -> list[Value]:
    """The inverse of the link of a weighted sum: exp, but for a Tweedie model that is told otherwise."""
    (eta,) = linear(model, table)
    link = getattr(model, "link", "log")
    if link == "auto":
        link = "identity" if getattr(model, "power", 0) <= 0 else "log"
    return [eta if link == "identity" else table.graph.apply("exp", eta)]


def _tree(model: Any, table: Table) -> list[Value]:
    return forests.sum_forest(table.vector(), [forests.tree_of(model.tree_, forests.means(model.tree_))], 1.0)


def _forest(model: Any, table: Table) -> list[Value]:
    trees = [forests.tree_of(one.tree_, forests.means(one.tree_)) for one in model.estimators_]
    return forests.average_forest(table.vector(), trees)


def boosted_scores(model: Any, table: Table) -> list[Value]:
    """The raw scores of gradient boosting: one a class, or one alone."""
    if hasattr(model, "init_") and kind_of(model.init_) not in {"DummyClassifier", "DummyRegressor", "str"}:
        raise unsupported(model, f"init of class {kind_of(model.init_)!r} is not supported")
    start = np.ravel(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)))
    scores = []
    for output in range(model.estimators_.shape[1]):
        trees = [forests.tree_of(one.tree_, forests.means(one.tree_)) for one in model.estimators_[:, output]]
        scores += forests.sum_forest(table.vector(), trees, float(model.learning_rate), start[output : output + 1])
    return scores


def histogram_scores(model: Any, table: Table) -> list[Value]:
    """The raw scores of histogram gradient boosting: one a class, or one alone."""
    if getattr(model, "_preprocessor", None) is not None:
        table = transform(model._preprocessor, table)
    vector, rounds = table.vector(), forests.histogram_trees(model)
    start = np.ravel(model._baseline_prediction)
    scores = []
    for output in range(len(rounds[0]) if rounds else len(start)):
        trees = [round_[output] for round_ in rounds]
        scores += sum_trees(vector, trees, lambda _, values: values, start[output : output + 1])
    return scores


def _histogram(model: Any, table: Table) -> list[Value]:
    (score,) = histogram_scores(model, table)
    is_log = model.loss in {"poisson", "gamma"}
    return [table.graph.apply("exp", score) if is_log else score]


def network(model: Any, table: Table) -> list[Value]:
    """The last layer of a multi-layer perceptron, before its output activation."""
    graph, values = table.graph, table.vector().elements()
    if model.activation not in _ACTIVATIONS:
        raise unsupported(model, f"activation {model.activation!r} is not supported")
    last = len(model.coefs_) - 1
    for i, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        activation = "identity" if i == last else _ACTIVATIONS[model.activation]
        values = graph.apply_many("dense", values, weights=array(weights), bias=array(bias), activation=activation)
    return values


def kernel_scores(model: Any, table: Table, coefficients: Any, intercepts: Any) -> list[Value]:
    """Sums over support vectors, one for each row of coefficients."""
    names = {"linear": "linear", "poly": "polynomial", "rbf": "radial", "sigmoid": "sigmoid"}
    if model.kernel not in names:
        raise unsupported(model, f"kernel {model.kernel!r} is not supported")
    return table.graph.apply_many(
        "svm",
        table.vector().elements(),
        vectors=array(model.support_vectors_),
        coefficients=array(coefficients),
        intercepts=array(intercepts),
        kernel=names[model.kernel],
        gamma=float(model._gamma),
        coef0=float(model.coef0),
        degree=float(model.degree),
    )


def _support_vectors(model: Any, table: Table) -> list[Value]:
    return kernel_scores(model, table, model.dual_coef_, model.intercept_)


def neighbours(model: Any, table: Table) -> tuple[list[Value], list[Value]]:
    """(row numbers, weights) of the nearest rows of training."""
    graph, count = table.graph, int(model.n_neighbors)
    metric, power = model.effective_metric_, float(model.effective_metric_params_.get("p", 2.0))
    measures = {"euclidean": "euclidean", "manhattan": "cityblock", "chebyshev": "chebychev", "minkowski": "minkowski"}
    if metric not in measures or model.weights not in {"uniform", "distance"}:
        raise unsupported(model, f"metric {metric!r} with weights {model.weights!r} is not supported")
    found = graph.apply_many(
        "nearest",
        table.vector().elements(),
        centers=array(model._fit_X),
        measure=measures[metric],
        power=power,
        count=count,
    )
    rows, distances = found[:count], found[count:]
    if model.weights == "uniform":
        return rows, [graph.constant(1.0)] * count
    is_zero = [graph.apply("equal", distance, 0.0) for distance in distances]
    some = graph.apply("or", *is_zero)
    weights = []
    for zero, distance in zip(is_zero, distances, strict=True):
        exact = graph.apply("boolean_to_number", zero)
        weights.append(graph.apply("select", some, exact, graph.apply("reciprocal", distance)))
    return rows, weights


def _nearest(model: Any, table: Table) -> list[Value]:
    graph = table.graph
    rows, weights = neighbours(model, table)
    targets = array(model._y).reshape(len(model._y), -1)
    total = graph.apply("sum", *weights)
    columns = zip(*[graph.apply_many("gather", [row], table=targets) for row in rows], strict=True)
    results = []
    for column in columns:
        products = [graph.apply("multiply", weight, x) for weight, x in zip(weights, column, strict=True)]
        results.append(graph.apply("divide", graph.apply("sum", *products), total))
    return results


def _isotonic(model: Any, table: Table) -> list[Value]:
    return [isotonic_of(table.graph, table.vector().element(0), model)]


def isotonic_of(graph: Graph, value: Value, model: Any) -> Value:
    """A fitted IsotonicRegression of one value."""
    if model.out_of_bounds != "clip":
        raise unsupported(model, f"out_of_bounds {model.out_of_bounds!r} is not supported, only 'clip'")
    return shared.isotonic(graph, value, model.X_thresholds_.tolist(), model.y_thresholds_.tolist())


def _voting(model: Any, table: Table) -> list[Value]:
    found = [regress(one, table)[0] for one in model.estimators_]
    weights = model._weights_not_none or [1.0] * len(found)
    return [table.graph.apply("weighted_mean", *found, weights=weights)]


def _bagging(model: Any, table: Table) -> list[Value]:
    found = [
        regress(one, table.select([int(i) for i in features]))[0]
        for one, features in zip(model.estimators_, model.estimators_features_, strict=True)
    ]
    return [table.graph.apply("mean", *found)]


def _ada_boost(model: Any, table: Table) -> list[Value]:
    found = [regress(one, table)[0] for one in model.estimators_]
    weights = array(model.estimator_weights_)[: len(found)]
    return [table.graph.apply("weighted_median", *found, weights=weights)]


def _transformed_target(model: Any, table: Table) -> list[Value]:
    found = regress(model.regressor_, table)
    inner = kind_of(model.transformer_)
    if inner == "FunctionTransformer":
        inverse = model.transformer_.inverse_func
        if inverse is None:
            return found
        name = getattr(inverse, "__name__", "?")
        if type(inverse).__name__ != "ufunc" or name not in _INVERSES:
            raise unsupported(model, f"inverse function {name!r} is none that recserve knows: {', '.join(_INVERSES)}")
        return [table.graph.apply(_INVERSES[name], value) for value in found]
    if inner == "StandardScaler":
        scaler = model.transformer_
        scale, mean = (
            1.0 if not scaler.with_std else float(scaler.scale_[0]),
            0.0 if not scaler.with_mean else float(scaler.mean_[0]),
        )
        return [table.graph.apply("linear", value, weights=[scale], bias=mean) for value in found]
    raise unsupported(model, f"a target transformed by {inner!r} is not supported")


def _constant(model: Any, table: Table) -> list[Value]:
    return [table.graph.constant(float(value)) for value in np.ravel(model.constant_)]


def _searched(model: Any, table: Table) -> list[Value]:
    return regress(model.best_estimator_, table)


def _pipeline(model: Any, table: Table) -> list[Value]:
    *steps, (_, last) = model.steps
    for _, step in steps:
        table = transform(step, table)
    return regress(last, table)


def isolation_scores(model: Any, table: Table) -> Value:
    """IsolationForest: 2 ** -(depth of the row over all trees / that of a random tree), negative."""
    graph = table.graph
    vector = table.vector()
    depths = []
    parts = zip(model.estimators_, model.estimators_features_, strict=True)
    for i, (one, features) in enumerate(parts):
        lengths = model._decision_path_lengths[i] + model._average_path_length_per_tree[i] - 1.0
        tree = forests.tree_of(one.tree_, lambda node, lengths=lengths: [float(lengths[node])])  # type: ignore[misc]
        part = vector.slice([int(k) for k in features]) if len(features) != vector.size else vector
        depths += forests.sum_forest(part, [tree], 1.0)
    samples = float(model._max_samples)
    usual = 0.0
    if samples == 2.0:
        usual = 1.0
    elif samples > 2.0:
        usual = 2.0 * (math.log(samples - 1.0) + np.euler_gamma) - 2.0 * (samples - 1.0) / samples
    if usual == 0.0:
        return graph.constant(-0.5)
    ratio = graph.apply("divide", graph.apply("sum", *depths), -len(model.estimators_) * usual)
    return graph.apply("negate", graph.apply("power", 2.0, ratio))


def vector_of(table: Table, values: list[Value]) -> Table:
    """Values as a table."""
    return Table(table.frame, [Vector.of(table.graph, values)])


REGRESSORS: dict[str, Regress] = {
    "Pipeline": _pipeline,
    "GridSearchCV": _searched,
    "RandomizedSearchCV": _searched,
    "HalvingGridSearchCV": _searched,
    "HalvingRandomSearchCV": _searched,
    "PoissonRegressor": _generalized,
    "GammaRegressor": _generalized,
    "TweedieRegressor": _generalized,
    "DecisionTreeRegressor": _tree,
    "ExtraTreeRegressor": _tree,
    "RandomForestRegressor": _forest,
    "ExtraTreesRegressor": _forest,
    "GradientBoostingRegressor": boosted_scores,
    "HistGradientBoostingRegressor": _histogram,
    "MLPRegressor": network,
    "SVR": _support_vectors,
    "NuSVR": _support_vectors,
    "KNeighborsRegressor": _nearest,
    "IsotonicRegression": _isotonic,
    "VotingRegressor": _voting,
    "BaggingRegressor": _bagging,
    "AdaBoostRegressor": _ada_boost,
    "TransformedTargetRegressor": _transformed_target,
    "DummyRegressor": _constant,
}
"""Each regressor by its class name; other linear ones are known by their coefficients."""
