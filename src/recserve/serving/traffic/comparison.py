"""How far two answers to one request are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A shadow's answer against the one that was given.

    Attributes:
        mean_abs: mean absolute difference of the scores that both have; NaN where there is none.
        max_abs: the largest one; NaN where there is none.
        correlation: Spearman's rank correlation of them, −1 to 1; NaN where fewer than two scores differ.
        compared: number of scores that both have.
        is_alike: whether both answers have the same items, or tensors of the same names and shapes.
    """

    mean_abs: float
    max_abs: float
    correlation: float
    compared: int
    is_alike: bool


def compare_scores(given: F64, other: F64, *, is_alike: bool = True) -> Difference:
    """Compare scores of the same things in the same order; those that are not finite on both sides do not count."""
    both = np.isfinite(given) & np.isfinite(other)
    given, other = given[both], other[both]
    if not len(given):
        return Difference(np.nan, np.nan, np.nan, 0, is_alike)
    apart = np.abs(given - other)
    return Difference(float(apart.mean()), float(apart.max()), spearman(given, other), len(given), is_alike)


def compare_ranked(given_ids: Any, given: Any, other_ids: Any, other: Any) -> Difference:
    """Compare two rankings by the scores of the items that both have.

    Args:
        given_ids: K items, integers or strings, each item once.
        given: float[K], their scores.
        other_ids: the same of the other ranking.
        other: their scores.
    """
    ids = np.asarray(list(given_ids), object).astype(str)
    other_names = np.asarray(list(other_ids), object).astype(str)
    _, left, right = np.intersect1d(ids, other_names, return_indices=True)
    is_alike = len(left) == len(ids) == len(other_names)
    return compare_scores(np.asarray(given, np.float64)[left], np.asarray(other, np.float64)[right], is_alike=is_alike)


def compare_tensors(given: Mapping[str, Any], other: Mapping[str, Any]) -> Difference:
    """Compare the numbers of two sets of named tensors, all together; those of other shapes do not count."""
    same = [name for name in given if name in other and np.shape(given[name]) == np.shape(other[name])]
    is_alike = len(same) == len(given) == len(other)
    pairs = [(flat_scores(given[name]), flat_scores(other[name])) for name in same]
    pairs = [(a, b) for a, b in pairs if len(a) == len(b)]
    if not pairs:
        return Difference(np.nan, np.nan, np.nan, 0, is_alike)
    return compare_scores(
        np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]), is_alike=is_alike
    )


def flat_scores(tensor: Any) -> F64:
    """The numbers of a tensor in a row; none of a tensor of texts or complex numbers."""
    array = np.asarray(tensor)
    if array.dtype.kind not in "bifu" and str(array.dtype) != "bfloat16":
        return np.empty(0)
    return array.astype(np.float64).reshape(-1)


def spearman(a: F64, b: F64) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; NaN where one side is all the same."""
    if len(a) < 2:
        return float("nan")
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else float("nan")


def _ranks(values: F64) -> F64:
    """Mean rank of each value among all."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: F64 = last - (counts - 1) / 2.0
    return means[place]
