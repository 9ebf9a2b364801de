"""`Targets`: what becomes of a prediction before it is given out, and what stands for a missing one."""

from __future__ import annotations

import numpy as np

from recserve.importers.pmml.document import Element
from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Scope


def apply(result: Result, scope: Scope) -> None:
    """Default, bounds, rescaling and rounding of a regression; prior probabilities of a classification.

    Raises:
        ConfigError: the `Target` contradicts itself.
    """
    target = scope.target
    element = target.element if target else None
    if element is None or result.value is None:
        return
    values = element.all("TargetValue")
    if result.function == "regression" and result.value.dtype == "number":
        _apply_default(result, scope, values)
        _rescale(result, scope, element)
    elif result.function == "classification" and values:
        _apply_priors(result, scope, values)
    for value in values:
        if (shown := value.get("displayValue")) is not None and (text := value.get("value")) is not None:
            result.display.setdefault(text, shown)


def _apply_default(result: Result, scope: Scope, values: list[Element]) -> None:
    defaults = [value.need_number("defaultValue") for value in values if value.get("defaultValue") is not None]
    if len(defaults) > 1:
        raise values[1].invalid("there are two default values")
    if defaults and result.value is not None:
        result.value = scope.graph.apply("replace_missing", result.value, defaults[0])


def _rescale(result: Result, scope: Scope, element: Element) -> None:
    graph, value = scope.graph, result.value
    assert value is not None
    low, high = element.number_or_none("min"), element.number_or_none("max")
    if low is not None:
        value = graph.apply("max", value, low)
    if high is not None:
        value = graph.apply("min", value, high)
    precise = "to_float32" if scope.math == "float" else None
    for op, neutral, name in (("multiply", 1.0, "rescaleFactor"), ("add", 0.0, "rescaleConstant")):
        number = element.number(name, neutral)
        if number != neutral:
            if precise:
                number = float(np.float32(number))
            value = graph.apply(op, value, number)
            value = graph.apply(precise, value) if precise else value
    rounding = {"round": "round_half_up", "ceiling": "ceil", "floor": "floor"}
    if element.get("castInteger") is not None:
        value = graph.apply(rounding[element.choice("castInteger", tuple(rounding))], value)
    result.value = value


def _apply_priors(result: Result, scope: Scope, values: list[Element]) -> None:
    """Prior probabilities stand for a missing prediction; they are scaled to the sum 1."""
    priors = {v.need("value"): v.number("priorProbability", 0.0) for v in values if v.get("priorProbability")}
    total = sum(priors.values())
    if not priors or total <= 0.0 or result.value is None:
        return
    graph = scope.graph
    likeliest = max(priors, key=lambda label: priors[label])
    missing = graph.apply("is_missing", result.value)
    result.value = graph.apply("replace_missing", result.value, likeliest)
    for label, prior in priors.items():
        known = result.probabilities.get(label, graph.missing("number"))
        result.probabilities[label] = graph.apply("select", missing, prior / total, known)
