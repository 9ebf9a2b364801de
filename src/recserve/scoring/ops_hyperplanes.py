"""Trees whose nodes cut by planes: extended isolation forests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recserve.scoring.cells import MISSING_STATE, Cell, DType, valid
from recserve.scoring.op import define
from recserve.scoring.params import Param

Params = Mapping[str, Any]


def _check(dtypes: Sequence[DType], params: Params) -> str | None:
    count = len(params["yes"])
    for name in ("no", "values", "normals", "points"):
        if len(params[name]) != count:
            return f"{len(params[name])} {name!r} for {count} nodes"
    for name in ("normals", "points"):
        if params[name].shape[1] != len(dtypes):
            return f"{name!r} of {params[name].shape[1]} numbers for {len(dtypes)} arguments"
    inner = np.flatnonzero(params["yes"] >= 0)
    for name in ("yes", "no"):
        wrong = inner[(params[name][inner] <= inner) | (params[name][inner] >= count)]
        if len(wrong):
            return f"node {wrong[0]}: {name!r} is {params[name][wrong[0]]}; a branch is a later node of {count}"
    if any(not 0 <= root < count for root in params["roots"].tolist()):
        return f"a root is no node of {count}"
    return None


def _sum_block(params: Params, xs: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All trees of all rows walk one level at a time."""
    rows = xs.shape[1]
    known = np.where(states == MISSING_STATE, np.nan, xs)
    roots = params["roots"]
    node = np.repeat(roots[:, None], rows, axis=1)
    row = np.repeat(np.arange(rows)[None], len(roots), axis=0)
    while True:
        inner = params["yes"][node] >= 0
        if not inner.any():
            break
        at, of = node[inner], row[inner]
        side = np.zeros(len(at))
        for column in range(len(known)):
            side = side + (known[column, of] - params["points"][at, column]) * params["normals"][at, column]
        node[inner] = np.where(side <= 0.0, params["yes"][at], params["no"][at])
    found = params["values"][node]
    total = np.zeros(rows)
    for values in found:
        total = total + values
    return total[None], np.zeros((1, rows), np.uint8)


@define(
    "plane_trees",
    "number*",
    "number",
    params={
        "normals": Param("matrix"),
        "points": Param("matrix"),
        "yes": Param("integers"),
        "no": Param("integers"),
        "values": Param("numbers"),
        "roots": Param("integers"),
    },
    is_strict=False,
    check=_check,
    block=_sum_block,
)
def plane_trees(params: Params, *cells: Cell) -> Cell:
    """Σ over trees, in order, of `values` at the leaf that a row comes to.

    Node i is a leaf where `yes[i]` is -1. Else the row goes on at `yes[i]` if Σ (x - points[i]) · normals[i], added in
    the order of the arguments, is at most 0, and at `no[i]` if it is above or the row lacks any argument.
    """
    if any(cell.is_failed for cell in cells):
        return next(cell for cell in cells if cell.is_failed)
    xs = [cell.value if cell.is_valid else np.nan for cell in cells]
    total = 0.0
    for node in params["roots"].tolist():
        while params["yes"][node] >= 0:
            side = 0.0
            for x, point, normal in zip(xs, params["points"][node], params["normals"][node], strict=True):
                side = side + (x - point) * normal
            node = int(params["yes"][node] if side <= 0.0 else params["no"][node])  # noqa: PLW2901
        total = total + float(params["values"][node])
    return valid(float(total))
