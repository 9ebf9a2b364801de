"""Quality of predicted probabilities: AUC, AUC within groups, log loss. Exact under ties; NumPy only.

Axes: N rows, G groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F64, I64, Bool
from recserve.errors import DataError


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one; a tie counts half.

    Args:
        labels: [N] of 0 and 1.
        scores: [N] finite numbers.

    Returns:
        0 … 1, or NaN where there is only one class.

    Raises:
        DataError: another label, a score that is not finite, or unequal numbers of rows.
    """
    positive, ranked = _checked(labels, scores)
    areas, _ = _areas(positive, ranked, np.zeros(len(ranked), np.int64))
    return float(areas[0]) if len(areas) else float("nan")


def gauc(labels: npt.ArrayLike, scores: npt.ArrayLike, groups: npt.ArrayLike) -> float:
    """Mean AUC within groups (usually users or requests), weighted by their rows.

    GAUC = Σ_g n_g · AUC_g / Σ_g n_g over the groups that have both classes, n_g being all rows of group g. Groups of
    one class have no AUC and are left out of both sums.

    Args:
        labels: [N] of 0 and 1.
        scores: [N] finite numbers.
        groups: [N] integers or strings.

    Returns:
        0 … 1, or NaN where no group has both classes.

    Raises:
        DataError: as `auc` does.
    """
    positive, ranked = _checked(labels, scores)
    keys = np.asarray(groups)
    if keys.shape != positive.shape:
        raise DataError(f"there are {positive.size} labels, but groups have the shape {list(keys.shape)}")
    _, numbers = np.unique(keys, return_inverse=True)
    areas, sizes = _areas(positive, ranked, numbers.astype(np.int64))
    is_mixed = ~np.isnan(areas)
    return float(np.average(areas[is_mixed], weights=sizes[is_mixed])) if is_mixed.any() else float("nan")


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of -(y · ln p + (1 - y) · ln(1 - p)), natural logarithm, with p clipped to 1e-7 … 1 - 1e-7.

    Args:
        labels: [N] of 0 and 1.
        probabilities: [N], 0 … 1.

    Returns:
        At least 0, or NaN where there are no rows.

    Raises:
        DataError: as `auc` does, or a probability outside 0 … 1.
    """
    positive, p = _checked(labels, probabilities)
    if not len(p):
        return float("nan")
    outside = np.flatnonzero((p < 0) | (p > 1))
    if len(outside):
        raise DataError(f"probability {p[outside[0]]} in row {outside[0]} is outside 0 … 1")
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return float(-np.mean(np.log(np.where(positive, p, 1 - p))))


def _checked(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Bool, F64]:
    """Labels as bool[N] and scores as float64[N]."""
    numbers, ranked = _floats(labels, "labels"), _floats(scores, "scores")
    if numbers.shape != ranked.shape or numbers.ndim != 1:
        raise DataError(f"labels and scores need one axis of N rows, but are {numbers.shape} and {ranked.shape}")
    wrong = np.flatnonzero((numbers != 0) & (numbers != 1))
    if len(wrong):
        raise DataError(f"label {numbers[wrong[0]]} in row {wrong[0]} is neither 0 nor 1")
    wild = np.flatnonzero(~np.isfinite(ranked))
    if len(wild):
        raise DataError(f"score {ranked[wild[0]]} in row {wild[0]} is not finite")
    return numbers == 1, ranked


def _floats(values: npt.ArrayLike, name: str) -> F64:
    try:
        array: npt.NDArray[Any] = np.asarray(values)
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} are not numbers") from None


def _areas(positive: Bool, scores: F64, groups: I64) -> tuple[F64, I64]:
    """AUC (float64[G], NaN where undefined) and rows (int64[G]) of each group; `groups` are 0 … G - 1.

    By the rank sum: AUC = (Σ ranks of positives - P(P + 1)/2) / (P · Q), tied rows sharing their mean rank.
    """
    if not len(scores):
        return np.empty(0), np.empty(0, np.int64)
    order = np.lexsort((scores, groups))
    positive, scores, groups = positive[order], scores[order], groups[order]
    sizes = np.bincount(groups)
    firsts = np.cumsum(sizes) - sizes
    is_new = np.ones(len(scores), np.bool_)
    is_new[1:] = (scores[1:] != scores[:-1]) | (groups[1:] != groups[:-1])
    ties = np.cumsum(is_new) - 1
    starts = np.flatnonzero(is_new)
    ends = np.append(starts[1:], len(scores))
    ranks = ((starts + ends + 1) / 2)[ties] - firsts[groups]
    positives = np.bincount(groups, weights=positive)
    sums = np.bincount(groups, weights=ranks * positive)
    pairs = positives * (sizes - positives)
    wins = sums - positives * (positives + 1) / 2
    return np.divide(wins, pairs, out=np.full(len(sizes), np.nan), where=pairs > 0), sizes.astype(np.int64)
