"""Inverse link functions and the normalisations that turn sums into probabilities."""

from __future__ import annotations

from typing import Final

from recserve.importers.pmml.document import Element
from recserve.importers.pmml.scope import Scope
from recserve.scoring.graph import Graph, Value

INVERSE: Final[dict[str, str]] = {
    "logit": "sigmoid",
    "probit": "normal_cdf",
    "cloglog": "inverse_cloglog",
    "loglog": "inverse_loglog",
    "cauchit": "inverse_cauchit",
}
"""Link → op of its inverse."""


def inverse(scope: Scope, name: str, value: Value) -> Value:
    """The inverse of a link by name (a key of `INVERSE`), in the precision of the model."""
    result = scope.graph.apply(INVERSE[name], value)
    return scope.graph.apply("to_float32", result) if scope.math == "float" else result


def rounded(scope: Scope, value: Value) -> Value:
    """A step's result in the precision of the model."""
    return scope.graph.apply("to_float32", value) if scope.math == "float" else value


def clamp(graph: Graph, value: Value) -> Value:
    """A number kept within [0, 1]."""
    return graph.apply("min", graph.apply("max", value, 0.0), 1.0)


def complement(scope: Scope, value: Value) -> Value:
    """One minus a number."""
    return rounded(scope, scope.graph.apply("subtract", 1.0, value))


def softmax(scope: Scope, values: list[Value]) -> list[Value]:
    """exp(x) / Σ exp(x)."""
    return [rounded(scope, one) for one in scope.graph.apply_many("softmax", values)]


def simplemax(scope: Scope, values: list[Value]) -> list[Value]:
    """X / Σ x."""
    return [rounded(scope, one) for one in scope.graph.apply_many("simplemax", values)]


SIMPLE: Final = {"log": "exp", **INVERSE}
"""Link of GeneralRegressionModel that needs no parameter → op of its inverse."""


def _oddspower(graph: Graph, x: Value, power: float) -> Value:
    """1 / (1 + (1 + d·x)^(-1/d)), which is the logistic function at d = 0."""
    if power == 0.0:
        return graph.apply("sigmoid", x)
    base = graph.apply("add", 1.0, graph.apply("multiply", power, x))
    return graph.apply("reciprocal", graph.apply("add", 1.0, graph.apply("power", base, -1.0 / power)))


def negbin(graph: Graph, x: Value, parameter: float) -> Value:
    """1 / (d·(exp(-x) - 1)), the inverse of the negative binomial link."""
    below = graph.apply("subtract", graph.apply("exp", graph.apply("negate", x)), 1.0)
    return graph.apply("reciprocal", graph.apply("multiply", parameter, below))


def general_inverse(element: Element, graph: Graph, x: Value) -> Value:
    """The inverse of the `linkFunction` of a GeneralRegressionModel.

    Raises:
        ConfigError: there is no such link, or it needs a parameter that is absent.
    """
    link = element.choice("linkFunction", ("identity", *SIMPLE, "logc", "power", "oddspower", "negbin"))
    if link in SIMPLE:
        return graph.apply(SIMPLE[link], x)
    if link == "logc":
        return graph.apply("subtract", 1.0, graph.apply("exp", x))
    if link == "negbin":
        return negbin(graph, x, element.need_number("distParameter"))
    if link == "identity":
        return x
    power = element.need_number("linkParameter")
    if link == "oddspower":
        return _oddspower(graph, x, power)
    return graph.apply("exp", x) if power == 0.0 else graph.apply("power", x, 1.0 / power)
