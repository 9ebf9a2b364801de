"""`Output`: the features of a result that a model gives out, and fields computed from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from recserve.errors import suggest
from recserve.importers.pmml import datatypes, expressions
from recserve.importers.pmml.dictionary import read_type
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Field, Scope, Typed
from recserve.scoring.graph import Value

RULE_FEATURES: Final = ("antecedent", "consequent", "rule", "ruleId", "support", "lift", "leverage")


def declare(model: Element, result: Result, scope: Scope) -> None:
    """Compute a model's OutputFields, in order: each is a field for the next, and of the result.

    Raises:
        ConfigError: a field asks for what the model does not know.
    """
    output = model.first("Output")
    for element in output.all("OutputField") if output else []:
        name = element.need("name")
        if (element.get("feature") or "").startswith("x-"):
            scope.report.notes.append(
                f"The output {name!r} is left out: {element.get('feature')} is its producer's own."
            )
            continue
        typed = _lower(element, result, scope)
        data_type = element.get("dataType")
        if data_type is not None and typed.value.dtype != "object":
            typed = scope.convert(typed, read_type(element))
        optype = element.get("optype") or ("categorical" if typed.value.dtype == "string" else "continuous")
        field = Field(typed.value, typed.data_type, name=name, optype=optype)
        scope.declare(name, field)
        result.fields[name] = field
        if not element.flag("isFinalResult", True):
            result.hidden.add(name)


def _lower(element: Element, result: Result, scope: Scope) -> Typed:
    feature = element.get("feature", element.get("resultFeature", "predictedValue"))
    assert feature is not None
    if feature in ("transformedValue", "decision") and element.get("segmentId") is None:
        expression = expressions.find(element)
        if element.get("dataType") is None:
            return expressions.lower(expression, scope)
        return expressions.lower_as(expression, scope, read_type(element))
    segment = element.get("segmentId")
    if segment is not None:
        if segment not in result.segments:
            return scope.nothing(element.get("dataType", "double") or "double")
        result = result.segments[segment]
        if feature in ("transformedValue", "decision"):
            name = element.need("value")
            if name not in result.fields:
                raise element.invalid(f"the segment {segment!r} puts out no field {name!r}")
            return result.fields[name]
    if feature not in FEATURES:
        hint = suggest(feature, [*FEATURES, "transformedValue", "decision"])
        raise element.unsupported(f"the feature {feature!r} is not read", hint)
    return FEATURES[feature](element, result, scope)


def label_as_target(value: Value, scope: Scope, data_type: str) -> Typed:
    """A label in the type of the field that it is a value of."""
    return scope.convert(Typed(value, "string"), data_type)


def predicted(result: Result, scope: Scope, at: Element) -> Typed:
    """The prediction in the target's type."""
    if result.value is None:
        raise at.unsupported("the model has no predicted value")
    if result.value.dtype == "string":
        if result.function == "classification":
            return label_as_target(result.value, scope, result.data_type or scope.label_type)
        return Typed(result.value, "string")
    return Typed(result.value, "double" if result.value.dtype == "number" else "boolean")


def _predicted(element: Element, result: Result, scope: Scope) -> Typed:
    name = element.get("targetField")
    if name is not None and name in result.values:
        value = result.values[name]
        return Typed(value, "string" if value.dtype == "string" else "double")
    return predicted(result, scope, element)


def _display(element: Element, result: Result, scope: Scope) -> Typed:
    """The text to show for the predicted label, else the label."""
    typed = predicted(result, scope, element)
    shown = dict(scope.target.display) if scope.target else {}
    shown = {**shown, **result.display}
    if typed.data_type != "string" and result.value is not None and result.value.dtype == "string":
        typed = Typed(result.value, "string")
    if not shown or typed.data_type != "string":
        return typed
    keys, values = [(label,) for label in shown], list(shown.values())
    found = scope.graph.apply("lookup", typed.value, keys=keys, values=values, dtype="string")
    return Typed(scope.graph.apply("coalesce", found, typed.value), "string")


def _by_label(choose: Callable[[Result], dict[str, Value]], what: str) -> Callable[[Element, Result, Scope], Typed]:
    """A number a label: that of the attribute `value`, else that of the predicted label."""

    def lower(element: Element, result: Result, scope: Scope) -> Typed:
        known = choose(result)
        label = element.get("value")
        if label is not None:
            found = _find(known, label, scope)
            return Typed(found, "double") if found is not None else scope.nothing("double")
        if result.value is None or not known:
            raise element.unsupported(f"the model has no {what}")
        return Typed(_of_winner(known, result.value, scope), "double")

    return lower


def _find(known: dict[str, Value], label: str, scope: Scope) -> Value | None:
    """The entry of a label: by its text, else by its value in the target's type ("1.0" is 1)."""
    if label in known:
        return known[label]
    for text, value in known.items():
        try:
            if datatypes.parse(text, scope.label_type) == datatypes.parse(label, scope.label_type):
                return value
        except ValueError:
            continue
    return None


def _of_winner(known: dict[str, Value], winner: Value, scope: Scope) -> Value:
    keys, places = [(label,) for label in known], [float(i) for i in range(len(known))]
    place = scope.graph.apply("lookup", winner, keys=keys, values=places)
    return scope.graph.apply("choose", place, *known.values())


def _confidence(element: Element, result: Result, scope: Scope) -> Typed:
    if result.rules is not None:
        return _rule_value("confidence")(element, result, scope)
    if result.confidence is not None and element.get("value") is None:
        return Typed(result.confidence, "double")
    return _by_label(lambda one: one.confidences or one.probabilities, "confidence")(element, result, scope)


def _affinity(element: Element, result: Result, scope: Scope) -> Typed:
    if result.rules is not None:
        return _rule_value("affinity")(element, result, scope)
    rank = element.integer("rank", 1)
    if element.get("value") is None and (rank > 1 or result.affinity is None) and result.ranked_affinities:
        return _ranked(result.ranked_affinities, rank, "double", element, scope)
    if element.get("value") is None and result.affinity is not None:
        return Typed(result.affinity, "double")
    return _by_label(lambda one: one.affinities, "affinity")(element, result, scope)


def _ranked(values: list[Value], rank: int, data_type: str, element: Element, scope: Scope) -> Typed:
    if rank < 1:
        raise element.invalid(f"the rank is {rank}", "Ranks count from 1")
    if element.choice("rankOrder", ("descending", "ascending"), "descending") == "ascending":
        values = values[::-1]
    return Typed(values[rank - 1], data_type) if rank <= len(values) else scope.nothing(data_type)


def _entity(element: Element, result: Result, scope: Scope) -> Typed:
    if result.rules is not None:
        return _rule_value("ruleId")(element, result, scope)
    rank = element.integer("rank", 1)
    if result.ranked_ids and (rank > 1 or result.entity_id is None):
        return _ranked(result.ranked_ids, rank, "string", element, scope)
    if result.entity_id is None:
        raise element.unsupported("the model has no entity id")
    return Typed(result.entity_id, "string")


def _reason_code(element: Element, result: Result, scope: Scope) -> Typed:
    if not result.reason_codes:
        raise element.unsupported("the model has no reason codes")
    return _ranked(result.reason_codes, element.integer("rank", 1), "string", element, scope)


def _residual(element: Element, result: Result, scope: Scope) -> Typed:
    """Actual minus predicted; of a label: 1 where it is right, else 0, minus its probability."""
    if scope.target is None or not scope.target.name:
        raise element.invalid("a residual needs a target field")
    actual = scope.field(scope.target.name, element)
    if result.function == "classification":
        winner = predicted(result, scope, element)
        right = scope.graph.apply("equal", *[one.value for one in scope.unify([winner, actual])])
        chance = _by_label(lambda one: one.probabilities, "probability")(element, result, scope)
        value = scope.graph.apply("subtract", scope.graph.apply("boolean_to_number", right), chance.value)
        return Typed(value, "double")
    number = scope.convert(actual, "double")
    return Typed(scope.graph.apply("subtract", number.value, predicted(result, scope, element).value), "double")


def _rule_value(feature: str) -> Callable[[Element, Result, Scope], Typed]:
    def lower(element: Element, result: Result, scope: Scope) -> Typed:
        if result.rules is None:
            raise element.unsupported(f"the model has no association rules for {feature!r}")
        return result.rules.lower(feature, element, scope)

    return lower


def _any_rule_value(element: Element, result: Result, scope: Scope) -> Typed:
    return _rule_value(element.get("ruleFeature", "consequent") or "consequent")(element, result, scope)


def _absent(_element: Element, _result: Result, scope: Scope) -> Typed:
    """Warnings: there are none, for what would be one is an error here."""
    return scope.nothing("string")


FEATURES: Final[dict[str, Callable[[Element, Result, Scope], Typed]]] = {
    "predictedValue": _predicted,
    "predictedDisplayValue": _display,
    "probability": _by_label(lambda one: one.probabilities, "probability"),
    "confidence": _confidence,
    "affinity": _affinity,
    "clusterAffinity": _affinity,
    "entityAffinity": _affinity,
    "clusterId": _entity,
    "entityId": _entity,
    "reasonCode": _reason_code,
    "residual": _residual,
    "ruleValue": _any_rule_value,
    "warning": _absent,
    **{feature: _rule_value(feature) for feature in RULE_FEATURES},
}
"""What an OutputField may ask a result for; `transformedValue` and `decision` are expressions."""
