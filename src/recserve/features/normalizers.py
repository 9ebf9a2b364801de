"""The `normalizer` option: text such as `method=log10,threshold=1e-10,default=-10`.

| method                                   | result                               |
|------------------------------------------|--------------------------------------|
| `log10`, `threshold` (1), `default` (0)  | log10 x if x > threshold else default |
| `zscore`, `mean`, `standard_deviation`   | (x - mean) / standard_deviation      |
| `minmax`, `min`, `max`                   | (x - min) / (max - min), not clipped |
| `expression`, `expr`                     | the expression over `x`              |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from recserve.errors import ConfigError, suggest
from recserve.features import expressions

_PARAMETERS: Final[dict[str, dict[str, float | None]]] = {
    "log10": {"threshold": 1.0, "default": 0.0},
    "zscore": {"mean": None, "standard_deviation": None},
    "minmax": {"min": None, "max": None},
}


@dataclass(frozen=True)
class Normalizer:
    """A normalizer in force.

    Attributes:
        method: "log10", "zscore", "minmax" or "expression".
        a: threshold, mean or min.
        b: default, standard_deviation, or max - min.
        expression: over `x`; "" of the other methods.
    """

    method: str
    a: float = 0.0
    b: float = 0.0
    expression: str = ""


def parse(text: str) -> Normalizer | None:
    """The normalizer that `text` spells; None for "".

    Raises:
        ConfigError: unknown or absent method, unknown, absent or useless parameter.
    """
    if not text.strip():
        return None
    head, separator, expression = text.partition("expr=")
    method, parameters = _split(head.rstrip(", ") if separator else head)
    if method == "expression" or separator:
        if method != "expression" or parameters or not expression.strip():
            raise ConfigError(f"normalizer {text!r} is not `method=expression,expr=...`")
        expressions.parse(expression, ["x"])
        return Normalizer(method, expression=expression)
    if method not in _PARAMETERS:
        problem = f"unknown normalizer method {method!r}" if method else f"normalizer {text!r} has no method"
        raise ConfigError(problem, hint=suggest(method, [*_PARAMETERS, "expression"]))
    known = _PARAMETERS[method]
    for name in parameters.keys() - known.keys():
        raise ConfigError(f"normalizer method {method!r} has no parameter {name!r}", hint=suggest(name, known))
    given = {name: parameters.get(name, fallback) for name, fallback in known.items()}
    if missing := [name for name, value in given.items() if value is None]:
        raise ConfigError(f"normalizer method {method!r} needs {' and '.join(missing)}")
    a, b = (float(value) for value in given.values() if value is not None)
    return _checked(method, a, b)


def _split(text: str) -> tuple[str, dict[str, float]]:
    method, parameters = "", {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name == "method":
            method = value
            continue
        try:
            parameters[name] = float(value)
        except ValueError:
            raise ConfigError(f"normalizer parameter {name!r} is {value!r}, not a number") from None
        if not math.isfinite(parameters[name]):
            raise ConfigError(f"normalizer parameter {name!r} is {value!r}, not a finite number")
    return method, parameters


def _checked(method: str, a: float, b: float) -> Normalizer:
    if method == "log10" and a < 0:
        raise ConfigError(f"normalizer threshold {a:g} is negative")
    if method == "zscore" and b == 0:
        raise ConfigError("normalizer standard_deviation is 0")
    if method == "minmax" and a >= b:
        raise ConfigError(f"normalizer min {a:g} is not below max {b:g}")
    return Normalizer(method, a, b - a if method == "minmax" else b)


def normalize(normalizer: Normalizer, x: float) -> float:
    """One number, normalised: the definition that the ops Normalize and Evaluate share."""
    if normalizer.method == "expression":
        tree = expressions.parse(normalizer.expression, ["x"])
        return float(expressions.evaluate(tree, {"x": np.array([x])})[0])
    if normalizer.method == "log10":
        return math.log10(x) if x > normalizer.a else x if math.isnan(x) else normalizer.b
    return (x - normalizer.a) / normalizer.b
