"""The label that H2O's scorer takes among class probabilities, with its way to break ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.scoring.cells import MISSING, MISSING_STATE, VALID, Cell, DType, valid
from recserve.scoring.op import define
from recserve.scoring.params import Param

Params = Mapping[str, Any]

_MULTIPLIER: Final = 0x5DEECE66D  # java.util.Random
_MASK: Final = (1 << 48) - 1
_NAN: Final = 0x7FF8000000000000


def _check(dtypes: Sequence[DType], params: Params) -> str | None:
    classes = params["classes"]
    if not 2 <= classes <= len(dtypes):
        return f"{classes} classes for {len(dtypes)} arguments"
    if params["prior"] is not None and len(params["prior"]) != classes:
        return f"{len(params['prior'])} shares for {classes} classes"
    return None


def java_double(seed: int) -> float:
    """The first `nextDouble` of a `java.util.Random` of that seed (a signed 64-bit number)."""
    state = (seed ^ _MULTIPLIER) & _MASK
    parts = []
    for bits in (26, 27):
        state = (state * _MULTIPLIER + 0xB) & _MASK
        parts.append(state >> (48 - bits))
    return float((parts[0] << 27) + parts[1]) * 2.0**-53


def hash_row(row: Sequence[float]) -> int:
    """H2O's hash of a row: its bits, shifted by 6 with their sign, exclusive-or one another; a signed 64-bit number."""
    found = 0
    for x in row:
        bits = _NAN if np.isnan(x) else int(np.float64(x).view(np.int64))
        found ^= bits >> 6
    return found


def tied_label(probabilities: Sequence[float], row: Sequence[float], prior: Sequence[float] | None) -> int:
    """What H2O's `getPredictionMultinomial` gives: its list of ties always starts with class 0 and is never emptied."""
    best, count, ties = 0, 0, [0]
    for i in range(1, len(probabilities)):
        if probabilities[best] < probabilities[i]:
            best, count = i, 0
        elif probabilities[best] == probabilities[i]:
            count += 1
            ties.append(i)
    if not count:
        return best
    seed = hash_row(row)
    if prior is not None:
        total = 0.0
        for i in ties:
            total += prior[i]
        drawn, reached = java_double(seed), 0.0
        for i in ties:
            reached += prior[i] / total if total else np.nan
            if drawn <= reached:
                return i
    low = (seed + 2**31) % 2**32 - 2**31  # Java's (int)
    left = abs(low) % (count + 1) * (1 if low >= 0 else -1)
    for i, probability in enumerate(probabilities):
        if probability == probabilities[best]:
            left -= 1
            if left < 0:
                return i
    return best


def _labels(params: Params, xs: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first largest one where it is alone; ties, which are rare, by their definition."""
    classes = params["classes"]
    probabilities = xs[:classes]
    missing = (states[:classes] == MISSING_STATE).any(axis=0)
    labels = np.argmax(probabilities, axis=0).astype(np.float64)
    tied = np.flatnonzero(((probabilities == probabilities.max(axis=0)).sum(axis=0) > 1) & ~missing)
    rows = np.where(states[classes:] == MISSING_STATE, np.nan, xs[classes:])
    prior = None if params["prior"] is None else params["prior"].tolist()
    for i in tied.tolist():
        labels[i] = tied_label(probabilities[:, i].tolist(), rows[:, i].tolist(), prior)
    return labels[None], np.where(missing, MISSING_STATE, VALID).astype(np.uint8)[None]


@define(
    "h2o_label",
    "number*",
    "number",
    params={"classes": Param("integer"), "prior": Param("numbers", None)},
    is_strict=False,
    check=_check,
    block=_labels,
)
def h2o_label(params: Params, *cells: Cell) -> Cell:
    """Number of the likeliest class. The first `classes` arguments are probabilities, the others the row of the model.

    Ties are broken as genmodel does: at random by the classes' shares in `prior`, with the row's hash as the seed.
    """
    classes = params["classes"]
    for cell in cells:
        if cell.is_failed:
            return cell
    if any(cell.is_missing for cell in cells[:classes]):
        return MISSING
    row = [cell.value if cell.is_valid else np.nan for cell in cells[classes:]]
    prior = None if params["prior"] is None else params["prior"].tolist()
    return valid(float(tied_label([cell.value for cell in cells[:classes]], row, prior)))
