"""Ops on numbers: arithmetic, functions, comparisons, aggregates, rounding. All strict unless they say otherwise.

They follow IEEE 754: what has no result is NaN or infinite, and stays a valid value; `is_finite` tells.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from recserve.scoring.cells import MISSING, Cell, merged, valid
from recserve.scoring.op import define
from recserve.scoring.params import Param

_NORMAL: Final = statistics.NormalDist()


def _normal_quantile(p: float) -> float:
    if 0.0 < p < 1.0:
        return _NORMAL.inv_cdf(p)
    return math.copysign(math.inf, p - 0.5) if p in {0.0, 1.0} else math.nan


def _sigmoid(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.float64(x))))


UNARY: Final[dict[str, Callable[[float], Any]]] = {
    "negate": lambda x: -x,
    "abs": np.abs,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1.0 / x,
    "floor": np.floor,
    "ceil": np.ceil,
    "rint": np.rint,
    "round_half_up": lambda x: np.floor(x + 0.5),
    "truncate": np.trunc,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "logit": lambda x: np.log(x / (1.0 - x)),
    "relu": lambda x: max(x, 0.0),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "erf": math.erf,
    "normal_cdf": lambda x: 0.5 * math.erfc(-x / math.sqrt(2.0)),
    "normal_pdf": lambda x: np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi),
    "normal_quantile": _normal_quantile,
    "inverse_cloglog": lambda x: 1.0 - np.exp(-np.exp(x)),
    "inverse_loglog": lambda x: np.exp(-np.exp(-x)),
    "inverse_cauchit": lambda x: 0.5 + np.arctan(x) / math.pi,
    "to_float32": np.float32,
}
"""One number to one number. `rint` rounds halves to even, `round_half_up` is floor(x + 0.5)."""


def _modulo(x: np.float64, y: np.float64) -> Any:
    return x - np.floor(x / y) * y


BINARY: Final[dict[str, Callable[[np.float64, np.float64], Any]]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "power": np.power,
    "modulo": _modulo,
    "remainder": np.fmod,
    "atan2": np.arctan2,
    "hypot": np.hypot,
}
"""Two numbers to one. `modulo` has the sign of the divisor (PMML), `remainder` that of the dividend (C, Java)."""

COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
}
"""Numbers only; `equal` and `not_equal` compare any two values of one dtype."""

TESTS: Final[dict[str, Callable[[float], bool]]] = {
    "is_nan": math.isnan,
    "is_finite": math.isfinite,
    "is_integer": lambda x: math.isfinite(x) and x == math.floor(x),
}


def _define_elementwise() -> None:
    for name, one in UNARY.items():
        define(name, "number", "number")(lambda x, one=one: float(one(np.float64(x))))
    for name, two in BINARY.items():
        define(name, "number number", "number")(lambda x, y, two=two: float(two(np.float64(x), np.float64(y))))
    for name, test in COMPARE.items():
        define(name, "number number", "boolean")(lambda x, y, test=test: bool(test(x, y)))
    for name, test_one in TESTS.items():
        define(name, "number", "boolean")(lambda x, test=test_one: test(x))
    define("equal", "T T", "boolean")(lambda x, y: bool(x == y))
    define("not_equal", "T T", "boolean")(lambda x, y: bool(x != y))


_define_elementwise()


def _median(values: list[float]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0


def _mean(values: list[float]) -> float:
    return _sum(values) / len(values)


def _sum(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def _product(values: list[float]) -> float:
    total = 1.0
    for value in values:
        total *= value
    return total


def _smallest(values: list[float]) -> float:
    found = values[0]
    for value in values:
        found = value if value < found else found
    return found


def _largest(values: list[float]) -> float:
    found = values[0]
    for value in values:
        found = value if value > found else found
    return found


AGGREGATES: Final[dict[str, Callable[[list[float]], float]]] = {
    "sum": _sum,
    "product": _product,
    "min": _smallest,
    "max": _largest,
    "mean": _mean,
    "median": _median,
}
"""Any number of numbers to one, in the order of the arguments."""


def _define_aggregates() -> None:
    for name, function in AGGREGATES.items():

        def aggregate(params: Mapping[str, Any], *cells: Cell, function: Any = function) -> Cell:
            if params["skip_missing"]:
                cells = tuple(cell for cell in cells if not cell.is_missing)
            problem = merged(cells)
            if problem is not None or not cells:
                return problem or MISSING
            return valid(function([cell.value for cell in cells]))

        skip = {"skip_missing": Param("flag", False)}
        define(name, "number*", "number", params=skip, is_strict=False)(aggregate)


_define_aggregates()
