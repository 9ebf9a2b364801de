"""What Spark's and MLeap's classifiers make of raw scores: raw prediction, probability, label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.pieces import Array
from recserve.importers.pipelines.trees import Tree, sum_trees
from recserve.importers.pipelines.vectors import Vector
from recserve.scoring.graph import Graph, Value


@dataclass(frozen=True)
class Prediction:
    """What a classifier gives.

    Attributes:
        raw: one score a class; None where the model has none.
        probability: one a class; None where the model has none.
        label: the number of the class, as a float.
    """

    raw: list[Value] | None
    probability: list[Value] | None
    label: Value


def pick_class(graph: Graph, probability: Sequence[Value], thresholds: Sequence[float] | None) -> Value:
    """The class of the largest probability, or of the largest probability / threshold; the first of equal ones."""
    if thresholds is None:
        return graph.apply("argmax", *probability)
    if len(thresholds) != len(probability):
        raise ConfigError(f"{len(thresholds)} thresholds for {len(probability)} classes", code="invalid_model")
    scaled: list[Value | float] = []
    for value, threshold in zip(probability, thresholds, strict=True):
        scaled.append(math.inf if threshold == 0.0 else graph.apply("divide", value, float(threshold)))
    return graph.apply("argmax", *scaled)


def over(graph: Graph, value: Value, threshold: float) -> Value:
    """1 where a value is above a threshold, else 0."""
    return graph.apply("boolean_to_number", graph.apply("greater", value, float(threshold)))


def binary_logistic(vector: Vector, weights: Array, bias: float, threshold: float) -> Prediction:
    """p(1) = 1 / (1 + exp(-margin)); label 1 where p(1) > threshold."""
    graph = vector.graph
    margin = vector.dot(weights, bias)
    negative = graph.apply("negate", margin)
    probability = [graph.apply("sigmoid", negative), graph.apply("sigmoid", margin)]
    return Prediction([negative, margin], probability, over(graph, probability[1], threshold))


def multinomial_logistic(
    vector: Vector, weights: Array, biases: Array, thresholds: Sequence[float] | None
) -> Prediction:
    """Softmax of the margins; `weights` [classes, size]."""
    graph = vector.graph
    raw = vector.dots(weights, biases.tolist())
    probability = graph.apply_many("softmax", raw)
    return Prediction(raw, probability, pick_class(graph, probability, thresholds))


def margin_classifier(vector: Vector, weights: Array, bias: float, threshold: float) -> Prediction:
    """Label 1 where the margin is above the threshold (a linear support vector machine)."""
    graph = vector.graph
    margin = vector.dot(weights, bias)
    return Prediction([graph.apply("negate", margin), margin], None, over(graph, margin, threshold))


def naive_bayes(
    vector: Vector,
    kind: str,
    tables: tuple[Array, Array, Array | None],
    thresholds: Sequence[float] | None,
) -> Prediction:
    """Class scores in log space, normalised.

    Args:
        vector: of the features.
        kind: multinomial, bernoulli, complement or gaussian.
        tables: [classes] log priors; [classes, size] log probabilities, or means; variances, for gaussian.
        thresholds: per class, or None.
    """
    graph = vector.graph
    pi, theta, sigma = tables
    if kind == "multinomial":
        raw = vector.dots(theta, pi.tolist())
    elif kind == "complement":
        scores = vector.dots(theta, [0.0] * len(pi))
        top = graph.apply("max", *scores)
        total = graph.apply("sum", *[graph.apply("exp", graph.apply("subtract", score, top)) for score in scores])
        scale = graph.apply("add", top, graph.apply("log", total))
        raw = [graph.apply("subtract", score, scale) for score in scores]
    elif kind == "bernoulli":
        negative = np.log1p(-np.exp(theta))
        raw = vector.dots(theta - negative, (pi + negative.sum(axis=1)).tolist())
    elif kind == "gaussian" and sigma is not None:
        raw = gaussian_scores(vector, pi, theta, sigma)
    else:
        raise ConfigError(f"naive Bayes of type {kind!r} is not supported", code="unsupported_element")
    probability = graph.apply_many("softmax", raw)
    return Prediction(raw, probability, pick_class(graph, probability, thresholds))


def gaussian_scores(vector: Vector, priors: Array, means: Array, variances: Array) -> list[Value]:
    """Per class: prior - Σ (log variance + (x - mean)² / variance) / 2."""
    graph, elements = vector.graph, vector.elements()
    scores = []
    for prior, mean, variance in zip(priors, means, variances, strict=True):
        terms = [graph.apply("square", graph.apply("subtract", x, m)) for x, m in zip(elements, mean, strict=True)]
        start = float(prior - 0.5 * np.sum(np.log(variance)))
        scores.append(graph.apply("linear", *terms, weights=-0.5 / variance, bias=start))
    return scores


def forest_classifier(
    vector: Vector, trees: Sequence[Tree], classes: int, thresholds: Sequence[float] | None
) -> Prediction:
    """Each tree's class counts normalised, summed, normalised again."""
    graph = vector.graph

    def share(_: int, counts: Sequence[float]) -> Sequence[float]:
        total = sum(counts)
        _check_counts(counts, classes)
        return [count / total for count in counts] if total else [0.0] * classes

    raw = sum_trees(vector, trees, share)
    return _normalised(graph, raw, thresholds)


def tree_classifier(vector: Vector, tree: Tree, classes: int, thresholds: Sequence[float] | None) -> Prediction:
    """The class counts of a leaf, normalised."""

    def counts_of(_: int, counts: Sequence[float]) -> Sequence[float]:
        _check_counts(counts, classes)
        return counts

    return _normalised(vector.graph, sum_trees(vector, [tree], counts_of), thresholds)


def _check_counts(counts: Sequence[float], classes: int) -> None:
    if len(counts) != classes:
        raise ConfigError(f"a leaf has {len(counts)} class counts for {classes} classes", code="invalid_model")


def _normalised(graph: Graph, raw: list[Value], thresholds: Sequence[float] | None) -> Prediction:
    total = graph.apply("sum", *raw)
    divisor = graph.apply("select", graph.apply("equal", total, 0.0), 1.0, total)
    probability = [graph.apply("divide", value, divisor) for value in raw]
    return Prediction(raw, probability, pick_class(graph, probability, thresholds))


def boosted_classifier(
    vector: Vector, trees: Sequence[Tree], weights: Sequence[float], thresholds: Sequence[float] | None
) -> Prediction:
    """p(1) = 1 / (1 + exp(-2 · Σ weight · tree)); label 1 where the sum is positive."""
    graph = vector.graph
    (margin,) = sum_trees(vector, trees, lambda i, values: [weights[i] * values[0]])
    one = graph.apply("sigmoid", graph.apply("multiply", margin, 2.0))
    probability = [graph.apply("subtract", 1.0, one), one]
    label = over(graph, margin, 0.0) if thresholds is None else pick_class(graph, probability, thresholds)
    return Prediction([graph.apply("negate", margin), margin], probability, label)


def perceptron(vector: Vector, layers: Sequence[int], weights: Array, thresholds: Sequence[float] | None) -> Prediction:
    """Layers with a logistic function each, softmax at the end.

    Args:
        vector: of the features.
        layers: sizes, that of the input first.
        weights: per layer the matrix [outputs, inputs] in columns, then the biases.
        thresholds: per class, or None.
    """
    graph, values, at = vector.graph, vector, 0
    expected = sum((a + 1) * b for a, b in pairwise(layers))
    if len(layers) < 2 or len(weights) != expected or layers[0] != vector.size:
        raise ConfigError(
            f"layers {list(layers)} need {expected} weights and a vector of {layers[0] if layers else 0} elements; "
            f"there are {len(weights)} and {vector.size}",
            code="invalid_model",
        )
    raw: list[Value] = []
    for number, (inputs, outputs) in enumerate(pairwise(layers)):
        matrix = weights[at : at + inputs * outputs].reshape((outputs, inputs), order="F")
        at += inputs * outputs
        raw = values.dots(matrix, weights[at : at + outputs].tolist())
        at += outputs
        if number < len(layers) - 2:
            values = Vector.of(graph, [graph.apply("sigmoid", value) for value in raw])
    probability = graph.apply_many("softmax", raw)
    return Prediction(raw, probability, pick_class(graph, probability, thresholds))
