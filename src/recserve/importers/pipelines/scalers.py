"""Stages on vectors of numbers: scaling, norms, thresholds, selections, rotations and expansions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.pieces import Array
from recserve.importers.pipelines.vectors import Vector
from recserve.scoring.graph import Value

_EXPANSION_LIMIT = 1 << 14


def standardize(vector: Vector, mean: Array | None, std: Array | None) -> Vector:
    """(x - mean) · (1 / std); an element with std 0 becomes 0."""
    size = vector.size
    shifts = np.zeros(size) if mean is None else np.asarray(mean)
    if std is None:
        return vector.affine(np.ones(size), shifts)
    std = np.asarray(std)
    with np.errstate(divide="ignore"):
        slopes = np.where(std == 0.0, 0.0, 1.0 / std)
    return vector.affine(slopes, shifts)


def rescale(vector: Vector, low: Array, high: Array, target: tuple[float, float]) -> Vector:
    """From [low, high] to the target interval; an element with low = high becomes its middle."""
    spread, scale = np.asarray(high) - np.asarray(low), target[1] - target[0]
    flat = spread == 0.0
    slopes = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, spread)) * scale
    moved = vector.affine(slopes, np.where(flat, 0.0, low))
    offsets = np.where(flat, 0.5 * scale, 0.0) + target[0]
    return moved.affine(np.ones(vector.size), -offsets) if np.any(offsets) else moved


def divide_clamped(vector: Vector, largest: Array) -> Vector:
    """X / largest within [-1, 1]."""
    graph, divisors = vector.graph, np.where(np.asarray(largest) == 0.0, 1.0, largest)

    def symbolic(value: Value, i: int) -> Value:
        ratio = graph.apply("divide", value, float(divisors[i]))
        return graph.apply("max", graph.apply("min", ratio, 1.0), -1.0)

    return vector.map(symbolic, lambda x, at: np.clip(x / divisors[at], -1.0, 1.0))


def normalize(vector: Vector, power: float) -> Vector:
    """The vector divided by its p-norm; a vector of zeros stays."""
    graph = vector.graph
    if power == 1.0:
        norm = vector.norm_sum("absolute")
    elif power == 2.0:
        norm = graph.apply("sqrt", vector.norm_sum("square"))
    else:
        sizes = [graph.apply("abs", element) for element in vector.elements()]
        if math.isinf(power):
            norm = graph.apply("max", *sizes)
        else:
            powers = [graph.apply("power", size, power) for size in sizes]
            norm = graph.apply("power", graph.apply("sum", *powers), 1.0 / power)
    is_zero = graph.apply("equal", norm, 0.0)
    return vector.times(graph.apply("select", is_zero, 1.0, graph.apply("reciprocal", norm)))


def binarize(vector: Vector, thresholds: Array) -> Vector:
    """1 where x > threshold, else 0."""
    graph = vector.graph

    def symbolic(value: Value, i: int) -> Value:
        return graph.apply("boolean_to_number", graph.apply("greater", value, float(thresholds[i])))

    return vector.map(symbolic, lambda x, at: (x > thresholds[at]).astype(np.float64))


def project(vector: Vector, components: Array, biases: Array | None = None) -> Vector:
    """Products with each row of `components` [outputs, size], plus biases."""
    if components.shape[1] != vector.size:
        raise ConfigError(
            f"components of {components.shape[1]} elements for a vector of {vector.size}", code="invalid_model"
        )
    offsets = np.zeros(len(components)) if biases is None else biases
    return Vector.of(vector.graph, vector.dots(components, offsets.tolist()))


def cosine_matrix(size: int, inverse: bool) -> Array:
    """The orthonormal DCT-II [size, size], one row an output; its transpose for the inverse."""
    k, n = np.arange(size)[:, None], np.arange(size)[None, :]
    matrix = np.cos(np.pi * (2 * n + 1) * k / (2 * size)) * np.sqrt(2.0 / size)
    matrix[0] /= np.sqrt(2.0)
    return np.asarray(matrix.T if inverse else matrix)


def monomials(size: int, degree: int) -> list[tuple[int, ...]]:
    """The exponents of Spark's polynomial expansion, in its order, without the constant.

    Raises:
        ConfigError: "unsupported_element" where there are too many.
    """
    if math.comb(size + degree, degree) > _EXPANSION_LIMIT:
        raise ConfigError(
            f"an expansion of {size} elements to degree {degree}; at most {_EXPANSION_LIMIT} terms are supported",
            code="unsupported_element",
        )
    found: list[tuple[int, ...]] = []

    def expand(last: int, left: int, tail: tuple[int, ...]) -> None:
        if left == 0 or last < 0:
            found.append((0,) * (last + 1) + tail)
            return
        for power in range(left + 1):
            expand(last - 1, left - power, (power, *tail))

    expand(size - 1, degree, ())
    return found[1:]


def products(vector: Vector, exponents: Sequence[Sequence[int]]) -> Vector:
    """One element for each row of exponents: the product of the elements to these powers."""
    graph, results = vector.graph, []
    for row in exponents:
        factors = [vector.element(i) for i, power in enumerate(row) for _ in range(power)]
        if not factors:
            results.append(graph.constant(1.0))
        else:
            results.append(factors[0] if len(factors) == 1 else graph.apply("product", *factors))
    return Vector.of(graph, results)
