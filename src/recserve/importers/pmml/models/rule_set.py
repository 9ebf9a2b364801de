"""RuleSetModel: rules that fire for a row, and how one label comes of them.

A rule inside a compound rule fires where all predicates around it are true as well. Unknown predicates do not fire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recserve.importers.pmml import predicates
from recserve.importers.pmml.results import Result

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Graph, Value

CRITERIA = ("firstHit", "weightedMax", "weightedSum")


@dataclass(frozen=True)
class Rule:
    """A simple rule.

    Attributes:
        id: its own, else its place among the simple rules, from 1.
        score: the label it votes for.
        weight, confidence: 1 where the document says nothing.
        fires: boolean, never missing.
    """

    id: str
    score: str
    weight: float
    confidence: float
    fires: Value


@dataclass(frozen=True)
class Fallback:
    """What holds where no rule fires: a label and its confidence, or None."""

    score: str | None
    confidence: float | None


def lower(model: Element, scope: Scope) -> Result:
    """Lower a `RuleSetModel`: the first of its selection methods is the one that scores.

    Raises:
        ConfigError: there is no selection method.
    """
    model.choice("functionName", ("classification",))
    rule_set = model.need_child("RuleSet")
    criterion = rule_set.need_child("RuleSelectionMethod").choice("criterion", CRITERIA)
    fallback = Fallback(rule_set.get("defaultScore"), rule_set.number_or_none("defaultConfidence"))
    rules: list[Rule] = []
    _collect(rule_set, None, scope, rules)
    graph = scope.graph
    if not rules:
        return _of_no_rule(fallback, graph)
    labels = list(dict.fromkeys(rule.score for rule in rules))
    if criterion == "weightedSum":
        return _weighted_sum(rules, labels, fallback, graph)
    if criterion == "firstHit":
        winner = graph.apply("first_true", *(rule.fires for rule in rules))
    else:
        winner = _heaviest(graph, [rule.fires for rule in rules], rules)
    confidences = {label: _best_of_label(label, rules, criterion, graph) for label in labels}
    confidence = graph.apply("pick", winner, values=[rule.confidence for rule in rules])
    return _answer(winner, confidence, confidences, rules, fallback)


def _collect(parent: Element, around: Value | None, scope: Scope, rules: list[Rule]) -> None:
    graph = scope.graph
    never = graph.constant(False)
    for element in parent.all("SimpleRule", "CompoundRule"):
        holds = predicates.lower(predicates.find(element), scope)
        fires = graph.apply("replace_missing", holds, never)
        if around is not None:
            fires = graph.apply("and", around, fires)
        if element.tag == "CompoundRule":
            _collect(element, fires, scope, rules)
            continue
        id_ = element.get("id") or str(len(rules) + 1)
        weight, confidence = element.finite("weight", 1.0), element.finite("confidence", 1.0)
        rules.append(Rule(id_, element.need("score"), weight, confidence, fires))


def _of_no_rule(fallback: Fallback, graph: Graph) -> Result:
    label = graph.constant(fallback.score) if fallback.score is not None else graph.missing("string")
    confidence = graph.constant(fallback.confidence) if fallback.confidence is not None else None
    return Result("classification", value=label, confidence=confidence)


def _heaviest(graph: Graph, chosen: list[Value], rules: list[Rule]) -> Value:
    """Number of the rule with the greatest weight among those where `chosen` is true, the first of equals."""
    weights = [
        graph.apply("mark_missing", graph.constant(rule.weight), graph.apply("not", one))
        for rule, one in zip(rules, chosen, strict=True)
    ]
    return graph.apply("argmax", *weights, skip_missing=True)


def _best_of_label(label: str, rules: list[Rule], criterion: str, graph: Graph) -> Value:
    """Confidence of the rule that speaks for a label, 0 where none fires."""
    own = [rule for rule in rules if rule.score == label]
    fires = [rule.fires for rule in own]
    best = graph.apply("first_true", *fires) if criterion == "firstHit" else _heaviest(graph, fires, own)
    confidence = graph.apply("pick", best, values=[rule.confidence for rule in own])
    return graph.apply("replace_missing", confidence, graph.constant(0.0))


def _weighted_sum(rules: list[Rule], labels: list[str], fallback: Fallback, graph: Graph) -> Result:
    """The label with the greatest sum of weights; its confidence is the mean weight over all rules that fire."""
    zero = graph.constant(0.0)
    weights = [graph.apply("select", rule.fires, graph.constant(rule.weight), zero) for rule in rules]
    totals = {
        label: graph.apply("sum", *(weight for rule, weight in zip(rules, weights, strict=True) if rule.score == label))
        for label in labels
    }
    count = graph.apply("sum", *(graph.apply("boolean_to_number", rule.fires) for rule in rules))
    some = graph.apply("greater", count, zero)
    confidences = {
        label: graph.apply("select", some, graph.apply("divide", total, count), zero) for label, total in totals.items()
    }
    # The first rule to fire for the best label: so that of equal labels the one wins whose rule comes first.
    votes = [graph.apply("mark_missing", totals[rule.score], graph.apply("not", rule.fires)) for rule in rules]
    first = graph.apply("argmax", *votes, skip_missing=True)
    winner = graph.apply("pick", first, values=[float(labels.index(rule.score)) for rule in rules])
    confidence = graph.apply("choose", winner, *confidences.values())
    speaks = [graph.apply("and", rule.fires, _is(winner, float(labels.index(rule.score)), graph)) for rule in rules]
    return _answer(_heaviest(graph, speaks, rules), confidence, confidences, rules, fallback)


def _is(winner: Value, number: float, graph: Graph) -> Value:
    same = graph.apply("equal", winner, graph.constant(number))
    return graph.apply("replace_missing", same, graph.constant(False))


def _answer(
    winner: Value, confidence: Value, confidences: dict[str, Value], rules: list[Rule], fallback: Fallback
) -> Result:
    """The result by the number of the rule that decides, missing where none fires."""
    graph = winner.graph
    label = graph.apply("pick", winner, values=[rule.score for rule in rules], dtype="string")
    if fallback.score is not None:
        label = graph.apply("replace_missing", label, graph.constant(fallback.score))
    if fallback.confidence is not None:
        default = graph.constant(fallback.confidence)
        if fallback.score is not None:
            known = confidences.get(fallback.score, graph.constant(0.0))
            none_fires = graph.apply("is_missing", winner)
            confidences = {**confidences, fallback.score: graph.apply("select", none_fires, default, known)}
        confidence = graph.apply("replace_missing", confidence, default)
    entity = graph.apply("pick", winner, values=[rule.id for rule in rules], dtype="string")
    return Result("classification", value=label, confidences=confidences, confidence=confidence, entity_id=entity)
