"""Regressions and clusterings that pipelines end with, by the rules of Spark and MLeap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.pieces import Array
from recserve.importers.pipelines.vectors import Vector
from recserve.scoring.graph import Graph, Value

_LARGEST = float(np.finfo(np.float64).max)
_EPSILON = 1e-16
_DEFAULT_LINKS = {
    "gaussian": "identity",
    "binomial": "logit",
    "poisson": "log",
    "gamma": "inverse",
    "tweedie": "power",
}


def unlink(graph: Graph, eta: Value, link: str, power: float = 1.0) -> Value:
    """The inverse of a link function; `power` is that of the link `power`, where 0 stands for log."""
    if link == "power":
        if power == 0.0:
            return graph.apply("exp", eta)
        return eta if power == 1.0 else graph.apply("power", eta, 1.0 / power)
    simple = {
        "logit": "sigmoid",
        "log": "exp",
        "inverse": "reciprocal",
        "probit": "normal_cdf",
        "cloglog": "inverse_cloglog",
        "sqrt": "square",
    }
    if link == "identity":
        return eta
    if link not in simple:
        raise ConfigError(f"link function {link!r} is not supported", code="unsupported_element")
    return graph.apply(simple[link], eta)


def generalized_linear(
    vector: Vector, weights: Array, bias: float, family: str, *, link: str | None, powers: tuple[float, float | None]
) -> tuple[Value, Value]:
    """(mean, linear predictor) of a generalized linear model.

    Args:
        vector: of the features.
        weights: one a feature.
        bias: the intercept.
        family: gaussian, binomial, poisson, gamma or tweedie.
        link: None for the family's own.
        powers: the variance's power, and the link's (None: 1 - the variance's), for tweedie.
    """
    graph = vector.graph
    family = family.lower()
    if family not in _DEFAULT_LINKS:
        raise ConfigError(f"family {family!r} is not supported", code="unsupported_element")
    eta = vector.dot(weights, bias)
    power = 1.0 - powers[0] if powers[1] is None else powers[1]
    mean = unlink(graph, eta, (link or _DEFAULT_LINKS[family]).lower(), power)
    return _within(graph, mean, family), eta


def _within(graph: Graph, mean: Value, family: str) -> Value:
    """The mean within what its family allows."""
    if family == "binomial":
        return graph.apply("min", graph.apply("max", mean, _EPSILON), 1.0 - _EPSILON)
    capped = graph.apply("min", mean, _LARGEST)
    return graph.apply("max", capped, -_LARGEST if family == "gaussian" else _EPSILON)


def survival(
    vector: Vector, weights: Array, bias: float, scale: float, quantiles: Sequence[float]
) -> tuple[Value, list[Value]]:
    """(expected time, its quantiles) of an accelerated failure time model."""
    graph = vector.graph
    time = graph.apply("exp", vector.dot(weights, bias))
    factors = [math.exp(math.log(-math.log1p(-q)) * scale) for q in quantiles]
    return time, [graph.apply("multiply", time, factor) for factor in factors]


def isotonic(graph: Graph, value: Value, boundaries: Sequence[float], predictions: Sequence[float]) -> Value:
    """Linear between boundaries, constant outside."""
    if len(boundaries) == 1:
        boundaries, predictions = [boundaries[0], boundaries[0] + 1.0], [predictions[0]] * 2
    return graph.apply("piecewise", value, xs=list(boundaries), ys=list(predictions), outside="clamp")


def nearest_centre(vector: Vector, centres: Array, *, cosine: bool = False) -> Value:
    """The number of the nearest of `centres` [clusters, size]; the first of equally near ones."""
    graph = vector.graph
    norms = np.linalg.norm(centres, axis=1)
    if cosine:
        with np.errstate(divide="ignore", invalid="ignore"):
            directions = centres / norms[:, None]
        return graph.apply("argmax", *vector.dots(directions, [0.0] * len(centres)))
    if any_wide(vector):
        return graph.apply("argmin", *vector.dots(-2.0 * centres, (norms * norms).tolist()))
    return graph.apply("argmin", *squared_distances(vector, centres))


def any_wide(vector: Vector) -> bool:
    """Whether a vector is better not spelt out."""
    return vector.size > 256


def squared_distances(vector: Vector, centres: Array) -> list[Value]:
    """Σ (x - centre)² for each centre [centres, size]."""
    graph, elements = vector.graph, vector.elements()
    found = []
    for centre in centres:
        gaps = [
            graph.apply("square", graph.apply("subtract", x, float(c))) for x, c in zip(elements, centre, strict=True)
        ]
        found.append(graph.apply("sum", *gaps))
    return found


@dataclass(frozen=True)
class Cluster:
    """A node of a tree of clusters.

    Attributes:
        index: of the cluster, for a leaf.
        centre: [size].
        children: none for a leaf.
    """

    index: int
    centre: Array
    children: tuple[Cluster, ...]


def descend(vector: Vector, root: Cluster) -> Value:
    """The leaf that is reached from the root by taking the nearest child each time."""
    graph = vector.graph
    if not root.children:
        return graph.constant(float(root.index))
    ways = [descend(vector, child) for child in root.children]
    if len(ways) == 1:
        return ways[0]
    nearest = graph.apply("argmin", *squared_distances(vector, np.stack([child.centre for child in root.children])))
    return graph.apply("choose", nearest, *ways)


def mixture(vector: Vector, weights: Array, means: Array, covariances: Array) -> tuple[list[Value], Value]:
    """(probability of each, number of the likeliest) of Gaussians, with Spark's pseudo-inverse and smoothing."""
    graph = vector.graph
    densities = []
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        values, vectors = np.linalg.eigh(covariance)
        tolerance = np.finfo(np.float64).eps * values.max() * len(values)
        kept = values > tolerance
        root = (vectors[:, kept] / np.sqrt(values[kept])).T
        start = -0.5 * (len(mean) * math.log(2.0 * math.pi) + float(np.sum(np.log(values[kept]))))
        turned = vector.dots(root, (-root @ mean).tolist())
        squares = [graph.apply("square", value) for value in turned]
        density = graph.apply("exp", graph.apply("linear", *squares, weights=[-0.5] * len(squares), bias=start))
        densities.append(graph.apply("linear", density, weights=[float(weight)], bias=float(np.finfo(np.float64).eps)))
    total = graph.apply("sum", *densities)
    probability = [graph.apply("divide", density, total) for density in densities]
    return probability, graph.apply("argmax", *probability)


def factorized(vector: Vector, bias: float, linear: Array | None, factors: Array) -> Value:
    """Bias + Σ w·x + ½ Σ_f ((Σ v_f·x)² - Σ v_f²·x²) with `factors` [size, f]: a factorisation machine."""
    graph = vector.graph
    sums = vector.dots(factors.T, [0.0] * factors.shape[1])
    squares = [graph.apply("square", value) for value in sums]
    own = vector.squared().dot(np.square(factors).sum(axis=1))
    first = vector.dot(np.zeros(vector.size) if linear is None else linear, bias)
    weights = [1.0, *([0.5] * len(squares)), -0.5]
    return graph.apply("linear", first, *squares, own, weights=weights)


def factor_product(graph: Graph, sides: Sequence[tuple[Value, Sequence[int], Array]]) -> Value:
    """The product of the factors of two ids, each given as (id, known ids, factors [ids, rank]); missing if unknown."""
    rows = []
    for value, ids, factors in sides:
        keys, numbers = [(float(one),) for one in ids], [float(i) for i in range(len(ids))]
        row = graph.apply("lookup", value, keys=keys, values=numbers)
        rows.append(graph.apply_many("gather", [row], table=factors))
    return graph.apply("sum", *[graph.apply("multiply", a, b) for a, b in zip(*rows, strict=True)])
