"""The basis functions of H2O's additive models, and how a weighted sum of them becomes one polynomial an interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Function = Callable[[float], np.ndarray]


@dataclass(frozen=True)
class Pieces:
    """A function of one number: a polynomial an interval.

    Attributes:
        edges: float64 [n] rising; the intervals are below edges[0], [edges[i], edges[i + 1]) and from edges[-1] on.
        centres: float64 [n + 1], where each polynomial counts from.
        scales: float64 [n + 1], what its argument is divided by.
        coefficients: float64 [n + 1, degree + 1], the constant first.
    """

    edges: np.ndarray
    centres: np.ndarray
    scales: np.ndarray
    coefficients: np.ndarray

    def __call__(self, x: float) -> float:
        """The value at x."""
        i = int(np.searchsorted(self.edges, x, side="right"))
        u = (x - self.centres[i]) / self.scales[i]
        return float(np.polynomial.polynomial.polyval(u, self.coefficients[i]))


def fit_pieces(function: Callable[[float], float], edges: np.ndarray, degree: int) -> Pieces:
    """The function, which is a polynomial of `degree` at most in each interval, exactly up to rounding.

    Args:
        function: of one number.
        edges: where one polynomial ends and the next begins; rising, one at least.
        degree: of the polynomials.
    """
    width = float(edges[-1] - edges[0]) or 1.0
    bounds = np.concatenate([[edges[0] - width], edges, [edges[-1] + width]])
    centres = (bounds[1:] + bounds[:-1]) / 2
    scales = (bounds[1:] - bounds[:-1]) / 2
    # Chebyshev's points keep the small system well conditioned; all lie inside the interval.
    points = np.cos(math.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    system = np.polynomial.polynomial.polyvander(points, degree)
    rows = [
        np.linalg.solve(system, np.array([function(float(centre + scale * u)) for u in points]))
        for centre, scale in zip(centres, scales, strict=True)
    ]
    return Pieces(edges, centres, scales, np.array(rows))


def cubic_basis(knots: np.ndarray, solved: np.ndarray) -> Function:
    """Cubic regression splines, one basis function a knot.

    Args:
        knots: float64 [n].
        solved: float64 [n − 2, n], H2O's `_binvD`.
    """
    gaps = np.diff(knots)

    def basis(x: float) -> np.ndarray:
        last = len(knots) - 2
        i = min(max(int(np.searchsorted(knots, x, side="right")) - 1, 0), last)
        below, above, gap = x - knots[i], knots[i + 1] - x, gaps[i]
        values = np.zeros(len(knots))
        if i > 0:
            values += solved[i - 1] * ((above**3 / gap - above * gap) / 6.0)
        if i < len(solved):
            values += solved[i] * ((below**3 / gap - below * gap) / 6.0)
        values[i] += above / gap
        values[i + 1] += below / gap
        return values

    return basis


def repeat_ends(knots: np.ndarray, order: int) -> np.ndarray:
    """The knots with each end `order` times."""
    extra = max(order - 1, 0)
    return np.concatenate([np.repeat(knots[0], extra), knots, np.repeat(knots[-1], extra)])


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def normalised_spline(knots: np.ndarray, first: int, order: int, x: float) -> float:
    """The B-spline of de Boor over knots[first … first + order]; 0 outside of them."""
    span = knots[first : first + order + 1]
    if len(span) < order + 1:  # H2O extends a span that leaves the sequence by its last knot
        span = np.concatenate([span, np.repeat(span[-1], order + 1 - len(span))])
    if x < span[0] or x >= span[-1]:
        return 0.0
    if order == 1:
        return 1.0
    left = _share(x - span[0], span[order - 1] - span[0]) * normalised_spline(knots, first, order - 1, x)
    right = _share(span[order] - x, span[order] - span[1]) * normalised_spline(knots, first + 1, order - 1, x)
    return left + right


def m_basis(knots: np.ndarray, order: int) -> Function:
    """Ramsay's M-splines: len(knots) + order − 2 functions."""
    full = repeat_ends(knots, order)

    def one(first: int, order: int, x: float) -> float:
        span = full[first : first + order + 1]
        if x < span[0] or x >= span[-1]:
            return 0.0
        width = span[-1] - span[0]
        if order == 1:
            return _share(1.0, width)
        left = _share(x - span[0], width) * one(first, order - 1, x)
        right = _share(span[order] - x, width) * one(first + 1, order - 1, x)
        return float(order / (order - 1.0) * (left + right))

    return lambda x: np.array([one(first, order, x) for first in range(len(knots) + order - 2)])


def i_basis(knots: np.ndarray, order: int) -> Function:
    """Ramsay's I-splines: len(knots) + order − 2 rising functions from 0 to 1."""
    full = repeat_ends(knots, order)
    splines = repeat_ends(knots, order + 1)
    count = len(knots) + order - 1  # B-splines of order + 1

    def one(first: int, x: float) -> float:
        span = full[first : first + order + 1]
        if x < span[0]:
            return 0.0
        if x >= span[min(order, len(span) - 1)]:
            return 1.0
        total = 0.0
        for number in range(first + 1, count):
            reach = splines[number : number + order + 2]
            if x < reach[0]:
                break
            total += 1.0 if x >= reach[-1] else normalised_spline(splines, number, order + 1, x)
        return total

    return lambda x: np.array([one(first, x) for first in range(len(knots) + order - 2)])
