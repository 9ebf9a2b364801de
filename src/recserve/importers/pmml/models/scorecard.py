"""Scorecard: the sum of one partial score a characteristic, and the reasons for it.

A characteristic gives the score of its first attribute whose predicate is true. Where none is, or where a complex score
is missing, the card has no valid answer: the row fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recserve.importers.pmml import expressions, predicates
from recserve.importers.pmml.results import Result

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Graph, Value


@dataclass(frozen=True)
class Part:
    """What one characteristic gives.

    Attributes:
        element: the characteristic.
        chosen: number of the attribute that holds, from 0.
        score: its partial score.
    """

    element: Element
    chosen: Value
    score: Value


def lower(model: Element, scope: Scope) -> Result:
    """Lower a `Scorecard`.

    Raises:
        ConfigError: an attribute has neither a partial score nor an expression for one, or reason codes are asked for
            and an attribute has none.
    """
    graph = scope.graph
    model.choice("functionName", ("regression",))
    characteristics = model.need_child("Characteristics").all("Characteristic")
    if not characteristics:
        raise model.need_child("Characteristics").invalid("holds no <Characteristic>")
    parts = [_lower_characteristic(element, scope) for element in characteristics]
    start = model.finite("initialScore", 0.0)
    score = graph.apply("linear", *(part.score for part in parts), weights=[1.0] * len(parts), bias=start)
    reasons = _reason_codes(model, parts, graph) if _asks_for_reasons(model) else []
    return Result("regression", value=score, reason_codes=reasons)


def _lower_characteristic(element: Element, scope: Scope) -> Part:
    graph = scope.graph
    attributes = element.all("Attribute")
    if not attributes:
        raise element.invalid("holds no <Attribute>")
    holds = [predicates.lower(predicates.find(attribute), scope) for attribute in attributes]
    chosen = graph.apply("first_true", *holds)
    name = element.get("name") or f"in line {element.line}"
    if all(attribute.first("ComplexPartialScore") is None for attribute in attributes):
        scores = [attribute.finite("partialScore") for attribute in attributes]
        score = graph.apply("pick", chosen, values=scores)
    else:
        score = graph.apply("choose", chosen, *(_score(attribute, scope) for attribute in attributes))
    problem = f"no attribute of characteristic {name!r} holds, or its score is missing"
    score = graph.apply("fail", score, graph.apply("is_missing", score), message=problem)
    return Part(element, chosen, score)


def _score(attribute: Element, scope: Scope) -> Value:
    """An attribute's score; the expression comes before the number where both are given."""
    complex_score = attribute.first("ComplexPartialScore")
    if complex_score is None:
        return scope.graph.constant(attribute.finite("partialScore"))
    if len(complex_score.children) != 1:
        raise complex_score.invalid(f"holds {len(complex_score.children)} expressions instead of one")
    return scope.convert(expressions.lower(complex_score.children[0], scope), "double").value


def _asks_for_reasons(model: Element) -> bool:
    output = model.first("Output")
    fields = output.all("OutputField") if output is not None else []
    return model.flag("useReasonCodes", True) and any(field.get("feature") == "reasonCode" for field in fields)


def _reason_codes(model: Element, parts: list[Part], graph: Graph) -> list[Value]:
    """Codes with the points lost (or won) against the baseline, summed by code: most points first, none below zero.

    Codes with equal points keep the order of the characteristics that gave them to the row.
    """
    algorithm = model.choice("reasonCodeAlgorithm", ("pointsAbove", "pointsBelow"), "pointsBelow")
    sign = 1.0 if algorithm == "pointsAbove" else -1.0
    common = model.number_or_none("baselineScore")
    codes: list[str] = []
    chosen: list[Value] = []
    points: list[Value] = []
    known: list[set[float]] = []
    for part in parts:
        numbers = [_code_number(codes, attribute, part.element) for attribute in part.element.all("Attribute")]
        known.append(set(numbers))
        chosen.append(graph.apply("pick", part.chosen, values=numbers))
        points.append(graph.apply("linear", part.score, weights=[sign], bias=-sign * _baseline(part.element, common)))
    totals = _totals(chosen, points, known, len(codes), graph)
    order = graph.apply_many("rank_order", totals, descending=True)
    return [graph.apply("pick", graph.apply("choose", one, *chosen), values=codes, dtype="string") for one in order]


def _totals(chosen: list[Value], points: list[Value], known: list[set[float]], size: int, graph: Graph) -> list[Value]:
    """Points of the code that each characteristic gives; missing below zero, and where an earlier one gave it too."""
    sums = graph.apply_many("tally", [*chosen, *points], size=size)
    totals = []
    for i, number in enumerate(chosen):
        total = graph.apply("choose", number, *sums)
        out = [graph.apply("less", total, 0.0)]
        out += [graph.apply("equal", chosen[j], number) for j in range(i) if known[j] & known[i]]
        totals.append(graph.apply("mark_missing", total, graph.apply("or", *out)))
    return totals


def _code_number(codes: list[str], attribute: Element, characteristic: Element) -> float:
    """Number of an attribute's reason code in `codes`, which grows as new ones come."""
    code = attribute.get("reasonCode", characteristic.get("reasonCode"))
    if code is None:
        raise attribute.invalid(
            "has no reason code, nor has its characteristic", "An OutputField asks for reason codes"
        )
    if code not in codes:
        codes.append(code)
    return float(codes.index(code))


def _baseline(characteristic: Element, common: float | None) -> float:
    """What a partial score is compared with: the characteristic's baseline, else the card's."""
    own = characteristic.number_or_none("baselineScore")
    baseline = own if own is not None else common
    if baseline is None:
        raise characteristic.invalid(
            "has no baselineScore, nor has the scorecard", "Reason codes are differences to it"
        )
    return baseline
