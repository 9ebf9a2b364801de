"""Ops of kernel methods: support vector machines, and layers of radial basis neurons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64, U8
from recserve.scoring.cells import DType
from recserve.scoring.op import define, numbers
from recserve.scoring.params import Param

Params = Mapping[str, Any]
KERNELS: Final = ("linear", "polynomial", "radial", "sigmoid")
_CELLS: Final = 1 << 16  # of the arrays that a block works on at once: they stay in cache


def _check_svm(dtypes: Sequence[DType], params: Params) -> str | None:
    (vectors, width), (machines, used) = params["vectors"].shape, params["coefficients"].shape
    if width != len(dtypes):
        return f"'vectors' of {width} columns for {len(dtypes)} arguments"
    if used != vectors:
        return f"'coefficients' of {used} columns for {vectors} vectors"
    if len(params["intercepts"]) != machines:
        return f"{len(params['intercepts'])} 'intercepts' for {machines} rows of 'coefficients'"
    return None


def _kernel(params: Params, total: Any) -> Any:
    """The kernel of a dot product, or for `radial` of a squared distance."""
    if params["kernel"] == "linear":
        return total
    if params["kernel"] == "radial":
        return np.exp(-params["gamma"] * total)
    inner = params["gamma"] * total + params["coef0"]
    return np.power(inner, params["degree"]) if params["kernel"] == "polynomial" else np.tanh(inner)


def _squared_distances(vectors: F64, xs: F64) -> F64:
    """Squared distance of each row to each vector [vectors, rows]."""
    total = np.zeros((len(vectors), xs.shape[1]))
    for x, column in zip(xs, vectors.T, strict=True):
        off = x[None, :] - column[:, None]
        off *= off
        total += off
    return total


def _svm_block(params: Params, xs: F64, states: U8) -> tuple[F64, U8]:  # noqa: ARG001
    """Results [machines, rows], in parts of the rows that fit a cache."""
    vectors, rows = params["vectors"], xs.shape[1]
    results = np.empty((len(params["coefficients"]), rows))
    step = max(1, _CELLS // max(1, len(vectors)))
    for start in range(0, rows, step):
        part = xs[:, start : start + step]
        # Squared distances are summed, not put together of products: those would cancel where values are large.
        total = _squared_distances(vectors, part) if params["kernel"] == "radial" else vectors @ part
        with np.errstate(all="ignore"):
            kernels = _kernel(params, total)
        results[:, start : start + step] = params["coefficients"] @ kernels + params["intercepts"][:, None]
    return results, np.zeros(results.shape, np.uint8)


@define(
    "svm",
    "number*",
    numbers(lambda params: len(params["coefficients"])),
    params={
        "vectors": Param("matrix"),
        "coefficients": Param("matrix"),
        "intercepts": Param("numbers"),
        "kernel": Param("text", choices=KERNELS),
        "gamma": Param("number", 1.0),
        "coef0": Param("number", 0.0),
        "degree": Param("number", 3.0),
    },
    has_many=True,
    check=_check_svm,
    block=_svm_block,
)
def svm(params: Params, *xs: float) -> tuple[float, ...]:
    """Σ coefficient · kernel(vector, x) + intercept, one result a machine (row of `coefficients`).

    Kernels: x·v; (gamma · x·v + coef0)^degree; exp(-gamma · Σ (x - v)²); tanh(gamma · x·v + coef0).
    """
    kernels = []
    for vector in params["vectors"].tolist():
        total = np.float64(0.0)
        for x, v in zip(xs, vector, strict=True):
            total = total + ((x - v) * (x - v) if params["kernel"] == "radial" else x * v)
        kernels.append(_kernel(params, total))
    results = []
    for coefficients, intercept in zip(params["coefficients"].tolist(), params["intercepts"].tolist(), strict=True):
        total = np.float64(0.0)
        for coefficient, kernel in zip(coefficients, kernels, strict=True):
            total = total + coefficient * kernel
        results.append(float(total + intercept))
    return tuple(results)


def _check_radial(dtypes: Sequence[DType], params: Params) -> str | None:
    units, width = params["centers"].shape
    if width != len(dtypes):
        return f"'centers' of {width} columns for {len(dtypes)} arguments"
    if not len(params["widths"]) == len(params["offsets"]) == units:
        return f"{len(params['widths'])} 'widths' and {len(params['offsets'])} 'offsets' for {units} units"
    return None


def _radial_block(params: Params, xs: F64, states: U8) -> tuple[F64, U8]:  # noqa: ARG001
    total = _squared_distances(params["centers"], xs)
    widths = params["widths"]
    with np.errstate(all="ignore"):
        results = np.exp(params["offsets"][:, None] - total / (2.0 * widths * widths)[:, None])
    return results, np.zeros(results.shape, np.uint8)


@define(
    "radial",
    "number*",
    numbers(lambda params: len(params["centers"])),
    params={"centers": Param("matrix"), "widths": Param("numbers"), "offsets": Param("numbers")},
    has_many=True,
    check=_check_radial,
    block=_radial_block,
)
def radial(params: Params, *xs: float) -> tuple[float, ...]:
    """A layer of radial basis units: exp(offset - Σ (x - center)² / (2 · width²)), one result a unit."""
    results = []
    rows = zip(params["centers"].tolist(), params["widths"], params["offsets"], strict=True)
    for center, width, offset in rows:
        total = np.float64(0.0)
        for c, x in zip(center, xs, strict=True):
            total = total + (x - c) * (x - c)
        results.append(float(np.exp(offset - total / (2.0 * width * width))))
    return tuple(results)


@define("log_gamma", "number", "number")
def log_gamma(x: float) -> float:
    """Logarithm of |Γ(x)|; infinite at 0 and below it at whole numbers."""
    if math.isnan(x):
        return x
    if math.isinf(x) or (x <= 0.0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)
