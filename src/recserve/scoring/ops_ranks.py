"""Ops on the order of their arguments: ranks, the n-th true condition, sums by number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recserve.dtypes import F64, U8
from recserve.scoring.cells import MISSING, MISSING_STATE, VALID, Cell, DType, valid
from recserve.scoring.op import define, numbers
from recserve.scoring.params import Param

Params = Mapping[str, Any]


def _as_many(dtypes: Sequence[DType], params: Params) -> tuple[DType, ...]:  # noqa: ARG001
    one: tuple[DType, ...] = ("number",)
    return one * len(dtypes)


def _rank_block(params: Params, xs: F64, states: U8) -> tuple[F64, U8]:
    """Places [arguments, rows]; what has no place sorts last, as the greatest number of all."""
    unplaced = (states != VALID) | np.isnan(xs)
    keys = np.where(unplaced, 0.0, -xs if params["descending"] else xs)
    order = np.lexsort((keys, unplaced), axis=0).astype(np.float64)
    last = np.arange(len(xs))[:, None] >= len(xs) - unplaced.sum(axis=0)
    return order, np.where(last, MISSING_STATE, VALID).astype(np.uint8)


@define(
    "rank_order",
    "number*",
    _as_many,
    params={"descending": Param("flag", False)},
    is_strict=False,
    has_many=True,
    block=_rank_block,
)
def rank_order(params: Params, *cells: Cell) -> tuple[Cell, ...]:
    """Positions (from 0) of the arguments in the order of their values, equal ones in theirs.

    Missing arguments and NaN come in no order: as many results at the end are missing.
    """
    for cell in cells:
        if cell.is_failed:
            return (cell,) * len(cells)
    sign = -1.0 if params["descending"] else 1.0
    known = [i for i, cell in enumerate(cells) if cell.is_valid and not math.isnan(cell.value)]
    known.sort(key=lambda i: sign * cells[i].value)
    return tuple(valid(float(i)) for i in known) + (MISSING,) * (len(cells) - len(known))


@define("nth_true", "boolean*", "number", params={"nth": Param("integer", 1)}, is_strict=False)
def nth_true(params: Params, *cells: Cell) -> Cell:
    """Position (from 0) of the n-th true argument (from 1); missing is not true; missing where there are fewer."""
    seen = 0
    for i, cell in enumerate(cells):
        if cell.is_failed:
            return cell
        seen += int(cell.is_valid and cell.value)
        if seen == params["nth"]:
            return valid(float(i))
    return MISSING


def _check_tally(dtypes: Sequence[DType], params: Params) -> str | None:
    if len(dtypes) % 2:
        return f"{len(dtypes)} arguments; it takes all numbers of places, and then a weight for each"
    return None if params["size"] >= 0 else f"'size' is {params['size']}"


def _tally_block(params: Params, xs: F64, states: U8) -> tuple[F64, U8]:
    """Sums [size, rows], pair by pair in their order."""
    half, size = len(xs) // 2, params["size"]
    sums = np.zeros((size, xs.shape[1]))
    columns = np.arange(xs.shape[1])
    for i in range(half):
        counts = (states[i] == VALID) & (states[half + i] == VALID) & (xs[i] >= 0.0) & (xs[i] < size)
        chosen = columns[counts]
        sums[xs[i, chosen].astype(np.int64), chosen] += xs[half + i, chosen]
    return sums, np.zeros(sums.shape, np.uint8)


@define(
    "tally",
    "number*",
    numbers(lambda params: params["size"]),
    params={"size": Param("integer")},
    is_strict=False,
    has_many=True,
    check=_check_tally,
    block=_tally_block,
)
def tally(params: Params, *cells: Cell) -> tuple[Cell, ...]:
    """Sums of weights by place: the first half of the arguments are places (from 0), the other half their weights.

    A pair with a missing half, or with a place outside `size`, counts for nothing. One result a place.
    """
    for cell in cells:
        if cell.is_failed:
            return (cell,) * int(params["size"])
    sums = np.zeros(params["size"])
    half = len(cells) // 2
    for place, weight in zip(cells[:half], cells[half:], strict=True):
        if place.is_valid and weight.is_valid and 0.0 <= place.value < len(sums):
            sums[int(place.value)] += weight.value
    return tuple(valid(float(x)) for x in sums)
