"""Ops that compare a row with stored rows: distances and similarities (clusters), and the nearest of many rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F64, U8
from recserve.scoring.cells import MISSING, MISSING_STATE, VALID, Cell, DType, valid
from recserve.scoring.op import define, numbers
from recserve.scoring.params import Param

Params = Mapping[str, Any]

MEASURES: Final = ("euclidean", "squared", "cityblock", "chebychev", "minkowski")
COMPARISONS: Final = ("absolute", "gaussian", "delta", "equal")
_CELLS: Final = 1 << 16  # of the arrays that a block works on at once: they stay in cache
_FEW: Final = 16  # so many least values are sooner found one after the other than by sorting

_METRIC: Final = {
    "centers": Param("matrix"),
    "measure": Param("text", "euclidean", MEASURES),
    "power": Param("number", 2.0),
    "weights": Param("numbers", None),
    "compare": Param("values", None),
    "scales": Param("numbers", None),
    "missing_weights": Param("numbers", None),
    "skip_missing": Param("flag", False),
}


def _check_metric(dtypes: Sequence[DType], params: Params) -> str | None:
    if params["centers"].shape[1] != len(dtypes):
        return f"'centers' of {params['centers'].shape[1]} columns for {len(dtypes)} arguments"
    for name in ("weights", "compare", "scales", "missing_weights"):
        if params[name] is not None and len(params[name]) != len(dtypes):
            return f"{len(params[name])} {name!r} for {len(dtypes)} arguments"
    for name in params["compare"] or ():
        if name not in COMPARISONS:
            return f"{name!r} in 'compare' is none of {', '.join(COMPARISONS)}"
    if "gaussian" in (params["compare"] or ()) and params["scales"] is None:
        return "'compare' gaussian needs 'scales'"
    return None


def _check_nearest(dtypes: Sequence[DType], params: Params) -> str | None:
    problem = _check_metric(dtypes, params)
    return problem or (None if params["count"] > 0 else f"'count' is {params['count']}")


def _term(params: Params, i: int, x: Any, center: Any) -> Any:
    """What argument i adds to a distance: its difference to a center, raised and weighted."""
    kind = "absolute" if params["compare"] is None else params["compare"][i]
    if kind == "absolute":
        off = x - center
        term = off if params["measure"] in {"euclidean", "squared"} else np.abs(off)
    elif kind == "gaussian":
        ratio = (x - center) / params["scales"][i]
        term = np.exp(-math.log(2.0) * ratio * ratio)
    else:
        term = np.where((x == center) == (kind == "equal"), 1.0, 0.0)
    if params["measure"] in {"euclidean", "squared"}:
        term = term * term
    elif params["measure"] == "minkowski":
        term = np.power(term, params["power"])
    weight = 1.0 if params["weights"] is None else params["weights"][i]
    return term if weight == 1.0 else weight * term


def _rooted(params: Params, total: Any) -> Any:
    if params["measure"] == "euclidean":
        return np.sqrt(total)
    return np.power(total, 1.0 / params["power"]) if params["measure"] == "minkowski" else total


def _missing_weight(params: Params, i: int) -> float:
    return 1.0 if params["missing_weights"] is None else float(params["missing_weights"][i])


def distance(params: Params, cells: Sequence[Cell], center: Sequence[float]) -> float | None:
    """Distance of a row to one center; None where there is none."""
    total, known, all_weights = np.float64(0.0), 0.0, 0.0
    for i, cell in enumerate(cells):
        all_weights += _missing_weight(params, i)
        if not cell.is_valid:
            continue
        known += _missing_weight(params, i)
        term = _term(params, i, np.float64(cell.value), center[i])
        total = np.maximum(total, term) if params["measure"] == "chebychev" else total + term
    if any(cell.is_missing for cell in cells):
        if not params["skip_missing"] or known == 0.0:
            return None
        total = total * (all_weights / known)
    return float(_rooted(params, total))


def _distances_block(params: Params, xs: F64, states: U8) -> tuple[F64, U8]:
    """Distances [centers, rows] and their states."""
    centers, is_known = params["centers"], states == VALID
    total = np.zeros((len(centers), xs.shape[1]))
    known = np.zeros(xs.shape[1])
    all_weights = 0.0
    for i, x in enumerate(xs):
        all_weights += _missing_weight(params, i)
        known += np.where(is_known[i], _missing_weight(params, i), 0.0)
        term = _term(params, i, x[None, :], centers[:, i, None])
        if not is_known[i].all():
            term = np.where(is_known[i], term, 0.0)
        total = np.maximum(total, term) if params["measure"] == "chebychev" else total + term
    complete = is_known.all(axis=0)
    if not complete.all():
        with np.errstate(all="ignore"):
            total = np.where(complete, total, total * (all_weights / known))
    missing = ~complete & ((known == 0.0) | (not params["skip_missing"]))
    out = np.broadcast_to(np.where(missing, MISSING_STATE, VALID).astype(np.uint8), total.shape)
    return _rooted(params, total), out.copy()


@define(
    "distances",
    "number*",
    numbers(lambda params: len(params["centers"])),
    params=_METRIC,
    is_strict=False,
    has_many=True,
    check=_check_metric,
    block=_distances_block,
)
def distances(params: Params, *cells: Cell) -> tuple[Cell, ...]:
    """Distance of the arguments from each row of `centers` [centers, arguments]: one result a center.

    Each argument is compared with the center's number as `compare` says (absolute difference where it is None;
    `gaussian` exp(-ln 2 · (x - c)² / scale²); `delta` 0 where equal, else 1; `equal` 1 where equal, else 0), then the
    terms are put together by `measure` with `weights`. A missing argument makes all results missing; where
    `skip_missing`, it is left out and the sum (of chebychev: the maximum) is multiplied by Σ `missing_weights` over the
    same sum over the arguments that are there; missing where that is 0.
    """
    failure = next((cell for cell in cells if cell.is_failed), None)
    if failure is not None:
        return (failure,) * len(params["centers"])
    return tuple(valid(distance(params, cells, center)) for center in params["centers"].tolist())


def _least(values: F64, count: int) -> npt.NDArray[np.int64]:
    """Places of the `count` least values of each column, least first, of equal ones the first first; NaN comes last."""
    if count > _FEW or np.isnan(values).any() or np.isinf(values).any():
        return np.argsort(values, axis=0, kind="stable")[:count]
    left, columns = values.copy(), np.arange(values.shape[1])
    places = np.empty((count, values.shape[1]), np.int64)
    for i in range(count):
        places[i] = left.argmin(axis=0)
        left[places[i], columns] = np.inf
    return places


def _nearest_block(params: Params, xs: F64, states: U8) -> tuple[F64, U8]:
    """Places and distances of the nearest [2 · count, rows], in parts of the rows that fit a cache."""
    count, centers, rows = params["count"], len(params["centers"]), xs.shape[1]
    found = min(count, centers)
    results = np.zeros((2 * count, rows))
    out = np.full((2 * count, rows), MISSING_STATE, np.uint8)
    step = max(1, _CELLS // max(1, centers))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        far, far_states = _distances_block(params, xs[:, part], states[:, part])
        if not centers:
            continue
        order = _least(far, found)
        results[:found, part] = order
        results[count : count + found, part] = np.take_along_axis(far, order, axis=0)
        out[:found, part] = out[count : count + found, part] = far_states[0]
    return results, out


@define(
    "nearest",
    "number*",
    numbers(lambda params: 2 * params["count"]),
    params={**_METRIC, "count": Param("integer")},
    is_strict=False,
    has_many=True,
    check=_check_nearest,
    block=_nearest_block,
)
def nearest(params: Params, *cells: Cell) -> tuple[Cell, ...]:
    """The `count` rows of `centers` with the least `distances`, in that order, ties by row.

    Results are the row numbers (from 0), and then their distances; missing where there are fewer rows.
    """
    count: int = params["count"]
    found: tuple[Cell, ...] = distances(params, *cells)
    if not found or not found[0].is_valid:
        return (found[0] if found else MISSING,) * (2 * count)
    values = [cell.value for cell in found]
    order = sorted(range(len(values)), key=lambda i: (math.isnan(values[i]), values[i]))[:count]
    absent = (MISSING,) * (count - len(order))
    rows = tuple(valid(float(i)) for i in order)
    return rows + absent + tuple(valid(values[i]) for i in order) + absent


SIMILARITIES: Final = {
    "simple": ((1.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0, 1.0)),
    "jaccard": ((1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 0.0)),
    "tanimoto": ((1.0, 0.0, 0.0, 1.0), (1.0, 2.0, 2.0, 1.0)),
    "binary": None,
}
"""Factors of the counts a11, a10, a01, a00 above and below the line."""


def _factors(params: Params) -> tuple[Sequence[float], Sequence[float]]:
    fixed = SIMILARITIES[params["kind"]]
    if fixed is not None:
        return fixed
    factors = params["factors"].tolist()
    return factors[:4], factors[4:]


def _check_similarities(dtypes: Sequence[DType], params: Params) -> str | None:
    if params["centers"].shape[1] != len(dtypes):
        return f"'centers' of {params['centers'].shape[1]} columns for {len(dtypes)} arguments"
    if params["kind"] == "binary" and (params["factors"] is None or len(params["factors"]) != 8):
        return "kind 'binary' needs 'factors' c11, c10, c01, c00, d11, d10, d01, d00"
    return None


def _similarities_block(params: Params, xs: F64, states: U8) -> tuple[F64, U8]:  # noqa: ARG001
    row, center = (xs != 0.0).astype(np.float64), (params["centers"] != 0.0).astype(np.float64)
    both = center @ row
    counts = (both, (1.0 - center) @ row, center @ (1.0 - row), (1.0 - center) @ (1.0 - row))
    above, below = _factors(params)
    with np.errstate(all="ignore"):
        top = sum(factor * count for factor, count in zip(above, counts, strict=True))
        bottom = np.asarray(sum(factor * count for factor, count in zip(below, counts, strict=True)))
        found = top / bottom
    return found, np.where(bottom == 0.0, MISSING_STATE, VALID).astype(np.uint8)


@define(
    "similarities",
    "boolean*",
    numbers(lambda params: len(params["centers"])),
    params={
        "centers": Param("matrix"),
        "kind": Param("text", "simple", tuple(SIMILARITIES)),
        "factors": Param("numbers", None),
    },
    has_many=True,
    check=_check_similarities,
    block=_similarities_block,
)
def similarities(params: Params, *xs: bool) -> tuple[float | None, ...]:
    """Similarity of the arguments to each row of `centers` (0 or not): one result a center.

    A pair counts as a11 where both are true, a10 where the argument alone is, a01, a00. `simple` is
    (a11 + a00) / all, `jaccard` a11 / (a11 + a10 + a01), `tanimoto` (a11 + a00) / (a11 + 2 (a10 + a01) + a00),
    `binary` Σ c·a / Σ d·a with `factors` c11, c10, c01, c00, d11, d10, d01, d00. Missing where the divisor is 0.
    """
    above, below = _factors(params)
    results = []
    for center in params["centers"].tolist():
        counts = [0.0] * 4
        for x, y in zip(xs, center, strict=True):
            counts[(0 if x else 2) + (0 if y else 1)] += 1.0
        top = sum(factor * count for factor, count in zip(above, counts, strict=True))
        bottom = sum(factor * count for factor, count in zip(below, counts, strict=True))
        results.append(top / bottom if bottom else None)
    return tuple(results)
