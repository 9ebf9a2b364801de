"""Predicates as three-valued booleans of the graph: a missing value is `unknown`."""

from __future__ import annotations

from typing import Final

from recserve.importers.pmml.arrays import read_words
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.scope import Scope
from recserve.scoring.graph import Value

PREDICATES: Final = ("True", "False", "SimplePredicate", "SimpleSetPredicate", "CompoundPredicate")
COMPARISONS: Final = {
    "lessThan": "less",
    "lessOrEqual": "less_equal",
    "greaterThan": "greater",
    "greaterOrEqual": "greater_equal",
}
OPERATORS: Final = ("equal", "notEqual", *COMPARISONS, "isMissing", "isNotMissing")


def find(parent: Element) -> Element:
    """The predicate of a node, a segment or a rule.

    Raises:
        ConfigError: it has none.
    """
    return parent.need_child(*PREDICATES)


def lower(element: Element, scope: Scope) -> Value:
    """A predicate as a boolean; missing is unknown."""
    if element.tag == "True":
        return scope.graph.constant(True)
    if element.tag == "False":
        return scope.graph.constant(False)
    if element.tag == "SimplePredicate":
        return _lower_simple(element, scope)
    if element.tag == "SimpleSetPredicate":
        return _lower_set(element, scope)
    if element.tag == "CompoundPredicate":
        return _lower_compound(element, scope)
    raise element.invalid(f"<{element.tag}> is no predicate")


def _lower_simple(element: Element, scope: Scope) -> Value:
    field = scope.field(element.need("field"), element)
    operator = element.choice("operator", OPERATORS)
    graph = scope.graph
    if operator in ("isMissing", "isNotMissing"):
        missing = graph.apply("is_missing", field.value)
        return missing if operator == "isMissing" else graph.apply("not", missing)
    text = element.need("value")
    if operator in ("equal", "notEqual"):
        equal = scope.equals(field, text, element)
        return equal if operator == "equal" else graph.apply("not", equal)
    return _compare(scope, operator, field.name, text, element)


def _compare(scope: Scope, operator: str, name: str, text: str, element: Element) -> Value:
    """An order: of numbers, of the categories of an ordinal field, else of texts."""
    field = scope.field(name, element)
    graph = scope.graph
    if field.optype == "ordinal" and text in field.categories:
        places = [float(i) for i in range(len(field.categories))]
        place = scope.lookup(field, list(field.categories), places, None, element)
        return graph.apply(COMPARISONS[operator], place, graph.constant(float(field.categories.index(text))))
    if field.data_type == "string":
        order = scope.texts.compare(field.value, graph.constant(text))
        return graph.apply(COMPARISONS[operator], order, graph.constant(0.0))
    value = float(scope.bound(text, field, element))
    left = graph.apply("boolean_to_number", field.value) if field.data_type == "boolean" else field.value
    return graph.apply(COMPARISONS[operator], left, graph.constant(value))


def _lower_set(element: Element, scope: Scope) -> Value:
    field = scope.field(element.need("field"), element)
    operator = element.choice("booleanOperator", ("isIn", "isNotIn"))
    inside = scope.is_one_of(field, read_words(element.need_child("Array")), element)
    return inside if operator == "isIn" else scope.graph.apply("not", inside)


def _lower_compound(element: Element, scope: Scope) -> Value:
    operator = element.choice("booleanOperator", ("or", "and", "xor", "surrogate"))
    parts = [lower(child, scope) for child in element.all(*PREDICATES)]
    if len(parts) < 2:
        raise element.invalid(f"has {len(parts)} predicates; it needs two at least")
    graph = scope.graph
    if operator == "surrogate":
        return graph.apply("coalesce", *parts)
    if operator == "xor":
        result = parts[0]
        for part in parts[1:]:
            result = graph.apply("xor", result, part)
        return result
    return graph.apply(operator, *parts)
