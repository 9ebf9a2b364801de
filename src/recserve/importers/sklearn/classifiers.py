"""scikit-learn's classifiers: scores, probabilities and classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recserve.importers.pipelines import scalers
from recserve.importers.pipelines.classifiers import gaussian_scores
from recserve.importers.pipelines.vectors import Vector, look_up
from recserve.importers.sklearn import forests, regressors
from recserve.importers.sklearn.table import Table, array, kind_of, unsupported
from recserve.importers.sklearn.transformers import transform
from recserve.scoring.graph import Graph, Value

_LOG_LOSSES = {"log_loss", "log", "deviance"}


@dataclass(frozen=True)
class Classified:
    """What a classifier says.

    Attributes:
        classes: their labels.
        label: the number of the class among them.
        probability: one a class, or None.
        decision: one value for two classes, else one a class; or None.
    """

    classes: Sequence[Any]
    label: Value
    probability: list[Value] | None = None
    decision: list[Value] | None = None


Classify = Callable[[Any, Table], Classified]


def classify(model: Any, table: Table) -> Classified:
    """What a classifier says.

    Raises:
        ConfigError: "unsupported_element" where recserve lacks it, or an option of it.
    """
    kind = kind_of(model)
    table.frame.report.count(kind)
    if kind in CLASSIFIERS:
        return CLASSIFIERS[kind](model, table)
    if hasattr(model, "coef_") and hasattr(model, "intercept_") and not hasattr(model, "dual_coef_"):
        return _by_decision(model, table, regressors.linear(model, table))
    raise unsupported(model, f"classifier {kind!r} is not supported")


def _by_probability(
    model: Any, table: Table, probability: list[Value], decision: list[Value] | None = None
) -> Classified:
    return Classified(list(model.classes_), table.graph.apply("argmax", *probability), probability, decision)


def _by_decision(model: Any, table: Table, decision: list[Value], probability: list[Value] | None = None) -> Classified:
    graph = table.graph
    if len(decision) == 1:
        label = graph.apply("boolean_to_number", graph.apply("greater", decision[0], 0.0))
    else:
        label = graph.apply("argmax", *decision)
    return Classified(list(model.classes_), label, probability, decision)


def _pair(graph: Graph, one: Value) -> list[Value]:
    return [graph.apply("subtract", 1.0, one), one]


def _normalised(graph: Graph, values: list[Value]) -> list[Value]:
    """Shares of the sum; equal ones where all are 0."""
    total = graph.apply("sum", *values)
    is_zero = graph.apply("equal", total, 0.0)
    return [graph.apply("select", is_zero, 1.0 / len(values), graph.apply("divide", v, total)) for v in values]


def _one_vs_rest_probability(graph: Graph, decision: list[Value]) -> list[Value]:
    if len(decision) == 1:
        return _pair(graph, graph.apply("sigmoid", decision[0]))
    return _normalised(graph, [graph.apply("sigmoid", value) for value in decision])


def _logistic(model: Any, table: Table) -> Classified:
    graph, decision = table.graph, regressors.linear(model, table)
    if len(decision) == 1 or getattr(model, "solver", "") == "liblinear":
        return _by_decision(model, table, decision, _one_vs_rest_probability(graph, decision))
    if getattr(model, "multi_class", "auto") == "ovr":
        return _by_decision(model, table, decision, _one_vs_rest_probability(graph, decision))
    return _by_decision(model, table, decision, graph.apply_many("softmax", decision))


def _stochastic(model: Any, table: Table) -> Classified:
    graph, decision = table.graph, regressors.linear(model, table)
    probability = None
    if model.loss in _LOG_LOSSES:
        probability = _one_vs_rest_probability(graph, decision)
    elif model.loss == "modified_huber":
        clipped = [graph.apply("max", graph.apply("min", value, 1.0), -1.0) for value in decision]
        ones = [graph.apply("linear", value, weights=[0.5], bias=0.5) for value in clipped]
        probability = _pair(graph, ones[0]) if len(ones) == 1 else _normalised(graph, ones)
    return _by_decision(model, table, decision, probability)


def _discriminant(model: Any, table: Table) -> Classified:
    graph, decision = table.graph, regressors.linear(model, table)
    if len(decision) == 1:
        return _by_decision(model, table, decision, _pair(graph, graph.apply("sigmoid", decision[0])))
    return _by_decision(model, table, decision, graph.apply_many("softmax", decision))


def _quadratic(model: Any, table: Table) -> Classified:
    graph, vector, scores = table.graph, table.vector(), []
    for i, mean in enumerate(model.means_):
        turn = array(model.rotations_[i]) / np.sqrt(array(model.scalings_[i]))
        turned = vector.dots(turn.T, (-(array(mean) @ turn)).tolist())
        squares = [graph.apply("square", value) for value in turned]
        start = -0.5 * float(np.sum(np.log(model.scalings_[i]))) + float(np.log(model.priors_[i]))
        scores.append(graph.apply("linear", *squares, weights=[-0.5] * len(squares), bias=start))
    probability = graph.apply_many("softmax", scores)
    if len(scores) == 2:
        scores = [graph.apply("subtract", scores[1], scores[0])]
    return _by_decision(model, table, scores, probability)


def _support_vectors(model: Any, table: Table) -> Classified:
    """One machine for each pair of classes, and votes among them."""
    graph, classes = table.graph, len(model.classes_)
    dual = array(model.dual_coef_)
    if classes == 2:
        decision = regressors.kernel_scores(model, table, dual, model.intercept_)
        probability = None
        if getattr(model, "probability", False) is True:
            a, b = float(model._probA[0]), float(model._probB[0])
            inner = graph.apply("linear", decision[0], weights=[a], bias=-b)
            first = graph.apply("sigmoid", inner)  # libsvm's scores have the other sign
            first = graph.apply("max", graph.apply("min", first, 1.0 - 1e-7), 1e-7)
            probability = [first, graph.apply("subtract", 1.0, first)]
        return _by_decision(model, table, decision, probability)
    ends = np.cumsum([0, *model.n_support_])
    rows, pairs = [], []
    for i in range(classes):
        for j in range(i + 1, classes):
            row = np.zeros(dual.shape[1])
            row[ends[i] : ends[i + 1]] = dual[j - 1, ends[i] : ends[i + 1]]
            row[ends[j] : ends[j + 1]] = dual[i, ends[j] : ends[j + 1]]
            rows.append(row)
            pairs.append((i, j))
    scores = regressors.kernel_scores(model, table, np.array(rows), model.intercept_)
    votes = [
        graph.apply("select", graph.apply("greater", score, 0.0), float(i), float(j))
        for score, (i, j) in zip(scores, pairs, strict=True)
    ]
    numbers = [float(i) for i in range(classes)]
    counts = graph.apply_many("vote", votes, weights=[1.0] * len(votes), classes=numbers)
    return Classified(list(model.classes_), graph.apply("argmax", *counts))


def _tree(model: Any, table: Table) -> Classified:
    trees = [forests.tree_of(model.tree_, forests.shares(model.tree_))]
    return _by_probability(model, table, forests.sum_forest(table.vector(), trees, 1.0))


def _forest(model: Any, table: Table) -> Classified:
    trees = [forests.tree_of(one.tree_, forests.shares(one.tree_)) for one in model.estimators_]
    return _by_probability(model, table, forests.average_forest(table.vector(), trees))


def _boosted_probability(graph: Graph, scores: list[Value]) -> list[Value]:
    if len(scores) == 1:
        return _pair(graph, graph.apply("sigmoid", scores[0]))
    return graph.apply_many("softmax", scores)


def _boosted(model: Any, table: Table) -> Classified:
    graph, scores = table.graph, regressors.boosted_scores(model, table)
    shown = scores
    if model.loss == "exponential":
        shown = [graph.apply("multiply", score, 2.0) for score in scores]
    return _by_decision(model, table, scores, _boosted_probability(graph, shown))


def _histogram(model: Any, table: Table) -> Classified:
    scores = regressors.histogram_scores(model, table)
    return _by_decision(model, table, scores, _boosted_probability(table.graph, scores))


def _network(model: Any, table: Table) -> Classified:
    graph, last = table.graph, regressors.network(model, table)
    if model.out_activation_ == "softmax":
        return _by_probability(model, table, graph.apply_many("softmax", last))
    one = graph.apply("sigmoid", last[0])
    label = graph.apply("boolean_to_number", graph.apply("greater", one, 0.5))
    return Classified(list(model.classes_), label, _pair(graph, one))


def _nearest(model: Any, table: Table) -> Classified:
    graph = table.graph
    rows, weights = regressors.neighbours(model, table)
    hot = np.eye(len(model.classes_))[np.ravel(model._y)]
    gathered = [graph.apply_many("gather", [row], table=hot) for row in rows]
    votes = []
    for column in zip(*gathered, strict=True):
        products = [graph.apply("multiply", weight, x) for weight, x in zip(weights, column, strict=True)]
        votes.append(graph.apply("sum", *products))
    return _by_probability(model, table, _normalised(graph, votes))


def _bayes(model: Any, table: Table) -> Classified:
    """Naive Bayes: joint log likelihoods, normalised."""
    graph, kind, vector = table.graph, kind_of(model), table.vector()
    if kind == "GaussianNB":
        scores = gaussian_scores(vector, np.log(array(model.class_prior_)), array(model.theta_), array(model.var_))
    elif kind == "CategoricalNB":
        scores = _categorical_scores(model, vector)
    else:
        logs = array(model.feature_log_prob_)
        priors = array(model.class_log_prior_)
        if kind == "ComplementNB":
            priors = priors if len(priors) == 1 else np.zeros(len(priors))
        elif kind == "BernoulliNB":
            if model.binarize is not None:
                vector = scalers.binarize(vector, np.full(vector.size, float(model.binarize)))
            negative = np.log(1.0 - np.exp(logs))
            logs, priors = logs - negative, priors + negative.sum(axis=1)
        scores = vector.dots(logs, priors.tolist())
    probability = graph.apply_many("softmax", scores)
    return Classified(list(model.classes_), graph.apply("argmax", *scores), probability)


def _categorical_scores(model: Any, vector: Vector) -> list[Value]:
    graph, scores = vector.graph, []
    for i, prior in enumerate(array(model.class_log_prior_).tolist()):
        terms = []
        for column, table in enumerate(model.feature_log_prob_):
            pairs = [(float(code), float(x)) for code, x in enumerate(array(table)[i])]
            terms.append(look_up(graph, vector.element(column), pairs, default=None))
        scores.append(graph.apply("linear", *terms, weights=[1.0] * len(terms), bias=prior))
    return scores


def _pipeline(model: Any, table: Table) -> Classified:
    *steps, (_, last) = model.steps
    for _, step in steps:
        table = transform(step, table)
    return classify(last, table)


def _searched(model: Any, table: Table) -> Classified:
    return classify(model.best_estimator_, table)


def _constant(model: Any, table: Table) -> Classified:
    if model.strategy not in {"prior", "most_frequent", "constant"}:
        raise unsupported(model, f"strategy {model.strategy!r} is drawn by chance")
    priors = [float(prior) for prior in model.class_prior_]
    if model.strategy == "most_frequent":
        priors = [float(i == int(np.argmax(priors))) for i in range(len(priors))]
    if model.strategy == "constant":
        priors = [float(one == np.ravel(model.constant)[0]) for one in model.classes_]
    return _by_probability(model, table, [table.graph.constant(prior) for prior in priors])


CLASSIFIERS: dict[str, Classify] = {
    "Pipeline": _pipeline,
    "GridSearchCV": _searched,
    "RandomizedSearchCV": _searched,
    "HalvingGridSearchCV": _searched,
    "HalvingRandomSearchCV": _searched,
    "LogisticRegression": _logistic,
    "LogisticRegressionCV": _logistic,
    "SGDClassifier": _stochastic,
    "LinearDiscriminantAnalysis": _discriminant,
    "QuadraticDiscriminantAnalysis": _quadratic,
    "SVC": _support_vectors,
    "NuSVC": _support_vectors,
    "DecisionTreeClassifier": _tree,
    "ExtraTreeClassifier": _tree,
    "RandomForestClassifier": _forest,
    "ExtraTreesClassifier": _forest,
    "GradientBoostingClassifier": _boosted,
    "HistGradientBoostingClassifier": _histogram,
    "MLPClassifier": _network,
    "KNeighborsClassifier": _nearest,
    **dict.fromkeys(("GaussianNB", "MultinomialNB", "ComplementNB", "BernoulliNB", "CategoricalNB"), _bayes),
    "DummyClassifier": _constant,
}
"""Each classifier by its class name; `ensembles` adds those made of others. Linear ones are known by coefficients."""
