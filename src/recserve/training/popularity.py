"""The baseline every model has to beat: score an item by how it did in the training set, for everyone alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32
from recserve.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Popularity:
    """Scores of the items of a training set.

    Attributes:
        items: [K] distinct item ids, ascending.
        scores: float32[K].
        unknown: score of an item that the training set does not hold.
    """

    items: npt.NDArray[Any]
    scores: F32
    unknown: float

    @classmethod
    def fit(
        cls,
        items: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        by: Literal["rate", "count"] = "rate",
        smoothing: float = 10.0,
    ) -> Popularity:
        """Count the rows of a training set.

        Args:
            items: [N] item ids, integers or strings.
            labels: [N] of 0 and 1.
            by: "rate" scores (positives + smoothing · p) / (rows + smoothing), p being the share of positives over all
                rows; "count" scores the number of positives.
            smoothing: at least 0; rows of evidence that pull an item's rate to p.

        Raises:
            ConfigError: another `by`, or a negative smoothing.
            DataError: no rows, or unequal numbers of them.
        """
        if by not in ("rate", "count"):
            raise ConfigError(f"popularity by {by!r} is not known", hint="Use 'rate' or 'count'")
        if not smoothing >= 0:
            raise ConfigError(f"smoothing {smoothing} is not a number of at least 0")
        keys, positive = np.asarray(items), np.asarray(labels, np.float64)
        if not len(keys) or keys.shape != positive.shape:
            raise DataError(f"items have the shape {keys.shape} and labels {positive.shape}; both need the same N ≥ 1")
        distinct, numbers = np.unique(keys, return_inverse=True)
        rows = np.bincount(numbers)
        positives = np.bincount(numbers, weights=positive)
        if by == "count":
            return cls(distinct, positives.astype(np.float32), 0.0)
        share = float(positive.mean())
        rates = (positives + smoothing * share) / (rows + smoothing)
        return cls(distinct, rates.astype(np.float32), share)

    def score(self, items: npt.ArrayLike) -> F32:
        """float32[N] scores of item ids [N]."""
        keys = np.asarray(items)
        places = np.minimum(np.searchsorted(self.items, keys), len(self.items) - 1)
        scores: F32 = np.where(self.items[places] == keys, self.scores[places], np.float32(self.unknown))
        return scores
