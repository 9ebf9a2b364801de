"""Labels of a data set and how well predictions meet them.

A label is 0, 1, or NaN where it is unknown: a row without a click has no answer to "would a click have led to a
purchase?". Unknown labels count neither in the loss nor in the metrics of their goal.

Axes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32
from recserve.errors import DataError
from recserve.training.metrics import auc, gauc, log_loss

Metrics = dict[str, dict[str, float]]
"""{goal: {"log_loss", "auc" and, where rows have groups, "gauc"}}."""


def check_labels(labels: Mapping[str, npt.ArrayLike], rows: int) -> dict[str, F32]:
    """The labels as float32[N] by goal.

    Args:
        labels: {goal: [N] of 0, 1 or NaN}.
        rows: N.

    Raises:
        DataError: no goals, another number of rows, another value, or a goal without any known label.
    """
    if not labels:
        raise DataError("there are no labels", hint="Give one array per goal, such as {'ctr': clicks}")
    checked: dict[str, F32] = {}
    for goal, values in labels.items():
        where = f"labels of {goal!r}"
        try:
            array = np.asarray(values).astype(np.float32)
        except (TypeError, ValueError):
            raise DataError("are not numbers", where=where) from None
        if array.shape != (rows,):
            raise DataError(f"have the shape {list(array.shape)}, but there are {rows} rows", where=where)
        wrong = np.flatnonzero((array != 0) & (array != 1) & ~np.isnan(array))
        if len(wrong):
            raise DataError(f"{array[wrong[0]]:g} in row {wrong[0]} is not 0, 1 or NaN (unknown)", where=where)
        if np.isnan(array).all():
            raise DataError("are all unknown (NaN)", where=where)
        checked[goal] = array
    return checked


def check_groups(groups: npt.ArrayLike | None, rows: int) -> npt.NDArray[Any] | None:
    """The groups as an array [N].

    Raises:
        DataError: another number of rows.
    """
    if groups is None:
        return None
    keys = np.asarray(groups)
    if keys.shape != (rows,):
        raise DataError(f"groups have the shape {list(keys.shape)}, but there are {rows} rows")
    return keys


def measure(labels: Mapping[str, F32], scores: Mapping[str, F32], groups: npt.NDArray[Any] | None) -> Metrics:
    """Metrics of each goal over the rows whose label is known.

    Args:
        labels: {goal: float32[N] of 0, 1 or NaN}.
        scores: {goal: float32[N] probability}.
        groups: [N] for GAUC, or None.
    """
    results: Metrics = {}
    for goal, truth in labels.items():
        known = ~np.isnan(truth)
        y, p = truth[known], scores[goal][known]
        results[goal] = {"log_loss": log_loss(y, p), "auc": auc(y, p)}
        if groups is not None:
            results[goal]["gauc"] = gauc(y, p, groups[known])
    return results
