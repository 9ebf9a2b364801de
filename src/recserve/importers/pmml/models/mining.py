"""`MiningModel`: segments with models of their own, and the methods that make one answer of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recserve.importers.pmml import models, predicates
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.models.aggregation import aggregate
from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Field, Scope
from recserve.scoring.graph import Value

METHODS: Final = (
    "majorityVote",
    "weightedMajorityVote",
    "average",
    "weightedAverage",
    "median",
    "weightedMedian",
    "x-weightedMedian",
    "max",
    "sum",
    "weightedSum",
    "x-weightedSum",
    "selectFirst",
    "selectAll",
    "modelChain",
    "multiModelChain",
    "x-multiModelChain",
)
CHAINS: Final = ("modelChain", "multiModelChain", "x-multiModelChain")


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        element: `Segment`.
        id: its own, or its number from 1.
        active: boolean: whether its predicate is true; None where it always is.
        result: what its model gives, whether active or not.
        weight: of its vote.
    """

    element: Element
    id: str
    active: Value | None
    result: Result
    weight: float


def lower(model: Element, scope: Scope) -> Result:
    """The answer of all segments together."""
    segmentation = model.need_child("Segmentation")
    if segmentation.first("LocalTransformations") is not None:
        raise segmentation.unsupported("LocalTransformations inside of a Segmentation are not read")
    method = segmentation.choice("multipleModelMethod", METHODS).removeprefix("x-")
    scope.report.count(f"Segmentation {method}")
    chain = method in ("modelChain", "multiModelChain")
    segments = [
        _read_segment(element, number, scope, chain) for number, element in enumerate(segmentation.all("Segment"), 1)
    ]
    if not segments:
        raise segmentation.invalid("has no Segment")
    function = model.need("functionName")
    if chain:
        result = _chain(segments, method, scope)
    elif method == "selectFirst":
        result = _select_first(segments, scope)
    elif method == "selectAll":
        result = _select_all(segments, function, scope)
    else:
        result = aggregate(model, segmentation, method, segments, scope)
    for segment in segments:
        result.segments[segment.id] = segment.result
    return result


def _read_segment(element: Element, number: int, scope: Scope, chain: bool) -> Segment:
    predicate = predicates.find(element)
    active = None if predicate.tag == "True" else predicates.lower(predicate, scope)
    result = models.lower_model(models.find_model(element), scope)
    if active is not None:
        result = gate(result, active, scope)
    if chain:
        # What a segment puts out is a field for the segments after it.
        for name, field in result.fields.items():
            scope.declare(name, field)
    return Segment(element, element.get("id") or str(number), active, result, element.number("weight", 1.0))


def gate(result: Result, active: Value, scope: Scope) -> Result:
    """The result where the segment's predicate is true, else missing: also its failures count only there."""

    def gated(value: Value) -> Value:
        known = scope.graph.apply("replace_missing", active, False)
        return scope.graph.apply("select", known, value, scope.graph.missing(value.dtype))

    def field(one: Field) -> Field:
        return Field(gated(one.value), one.data_type, name=one.name, optype=one.optype, categories=one.categories)

    return map_result(result, gated, {name: field(one) for name, one in result.fields.items()})


def map_result(result: Result, change: object, fields: dict[str, Field]) -> Result:
    """A result whose values are all passed through `change`."""
    from dataclasses import replace

    assert callable(change)

    def one(value: Value | None) -> Value | None:
        return None if value is None else change(value)

    def many(values: dict[str, Value]) -> dict[str, Value]:
        return {name: change(value) for name, value in values.items()}

    return replace(
        result,
        value=one(result.value),
        probabilities=many(result.probabilities),
        confidences=many(result.confidences),
        affinities=many(result.affinities),
        confidence=one(result.confidence),
        affinity=one(result.affinity),
        entity_id=one(result.entity_id),
        ranked_ids=[change(value) for value in result.ranked_ids],
        ranked_affinities=[change(value) for value in result.ranked_affinities],
        reason_codes=[change(value) for value in result.reason_codes],
        values=many(result.values),
        fields=fields,
    )


def _collect_fields(segments: list[Segment]) -> tuple[dict[str, Field], set[str]]:
    """The OutputFields of all segments: the last one of a name counts."""
    fields: dict[str, Field] = {}
    hidden: set[str] = set()
    for segment in segments:
        for name, one in segment.result.fields.items():
            fields[name] = one
            (hidden.add if name in segment.result.hidden else hidden.discard)(name)
    return fields, hidden


def _chain(segments: list[Segment], method: str, scope: Scope) -> Result:
    """The last segment whose predicate is true answers; all OutputFields are the chain's.

    In a multiModelChain each segment answers for its own target.
    """
    results = [_with_target(segment.result) for segment in segments]
    chained = results[0]
    for segment, result in zip(segments[1:], results[1:], strict=True):
        chained = result if segment.active is None else _either(segment.active, result, chained, scope)
    fields, hidden = _collect_fields(segments)
    chained = _copy(chained)
    chained.fields, chained.hidden = fields, hidden
    if method == "multiModelChain":
        for result in results:
            chained.values |= result.values
    return chained


def _with_target(result: Result) -> Result:
    """The result with its prediction under the name of its target, where it has one."""
    target = result.scope.target if result.scope else None
    if target and target.name and result.value is not None and target.name not in result.values:
        result = _copy(result)
        result.values[target.name] = _typed_value(result)
    return result


def _typed_value(result: Result) -> Value:
    from recserve.importers.pmml.output import predicted

    assert result.scope is not None
    return predicted(result, result.scope, result.scope.document.root).value


def _copy(result: Result) -> Result:
    """A result of its own, so that what is added to it stays out of the segment's."""
    from dataclasses import replace

    return replace(
        result, fields=dict(result.fields), hidden=set(result.hidden), values=dict(result.values), segments={}
    )


def _either(condition: Value, yes: Result, no: Result, scope: Scope) -> Result:
    """One result where a condition is true, else the other."""
    graph = scope.graph
    known = graph.apply("replace_missing", condition, False)

    def choose(first: Value | None, second: Value | None) -> Value | None:
        if first is None or second is None:
            one = first if first is not None else second
            if one is None:
                return None
            nothing = graph.missing(one.dtype)
            return graph.apply(
                "select", known, nothing if first is None else first, nothing if second is None else second
            )
        if first.dtype != second.dtype:
            second = graph.failure("the last model of the chain that runs has another function", first.dtype)
        return graph.apply("select", known, first, second)

    def many(first: dict[str, Value], second: dict[str, Value]) -> dict[str, Value]:
        names = list(dict.fromkeys([*first, *second]))
        found = {name: choose(first.get(name), second.get(name)) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def ranked(first: list[Value], second: list[Value]) -> list[Value]:
        size = max(len(first), len(second))
        pairs = [(first[i] if i < len(first) else None, second[i] if i < len(second) else None) for i in range(size)]
        return [value for value in (choose(a, b) for a, b in pairs) if value is not None]

    return Result(
        yes.function,
        choose(yes.value, no.value),
        many(yes.probabilities, no.probabilities),
        many(yes.confidences, no.confidences),
        many(yes.affinities, no.affinities),
        choose(yes.confidence, no.confidence),
        choose(yes.affinity, no.affinity),
        choose(yes.entity_id, no.entity_id),
        {**no.display, **yes.display},
        ranked(yes.ranked_ids, no.ranked_ids),
        ranked(yes.ranked_affinities, no.ranked_affinities),
        ranked(yes.reason_codes, no.reason_codes),
        values=many(yes.values, no.values),
        data_type=yes.data_type,
        scope=yes.scope,
    )


def _select_first(segments: list[Segment], scope: Scope) -> Result:
    """The first segment whose predicate is true answers, with its OutputFields."""
    graph = scope.graph
    result = _copy(segments[-1].result)
    ids = [segment.id for segment in segments]
    actives = [segment.active if segment.active is not None else graph.constant(True) for segment in segments]
    for segment in segments[-2::-1]:
        fields = {**segment.result.fields, **result.fields}
        condition = graph.constant(True) if segment.active is None else segment.active
        names = list(fields)
        merged = _either(condition, segment.result, result, scope)
        known = graph.apply("replace_missing", condition, False)
        for name in names:
            one, other = segment.result.fields.get(name), result.fields.get(name)
            fields[name] = _either_field(known, one, other, scope)
        merged.fields, merged.hidden = fields, result.hidden | segment.result.hidden
        result = merged
    chosen = graph.apply("first_true", *[graph.apply("replace_missing", one, False) for one in actives])
    result.entity_id = graph.apply("pick", chosen, values=ids, dtype="string")
    return result


def _either_field(known: Value, yes: Field | None, no: Field | None, scope: Scope) -> Field:
    kept = yes or no
    assert kept is not None
    data_type = kept.data_type
    nothing = scope.graph.missing(kept.value.dtype)
    first = scope.convert(yes, data_type).value if yes else nothing
    second = scope.convert(no, data_type).value if no else nothing
    return Field(scope.graph.apply("select", known, first, second), data_type, name=kept.name, optype=kept.optype)


def _select_all(segments: list[Segment], function: str, scope: Scope) -> Result:
    """The answers of all segments whose predicate is true, as a list."""
    graph = scope.graph
    actives = [graph.constant(True) if segment.active is None else segment.active for segment in segments]
    pairs: list[Value] = []
    for active, segment in zip(actives, segments, strict=True):
        if segment.result.value is not None:
            pairs += [active, _typed_value(segment.result)]
    fields, hidden = _collect_fields(segments)
    result = Result(function, None, listing=graph.apply("list_where", *pairs) if pairs else None, hidden=hidden)
    for name, one in fields.items():
        cells: list[Value] = []
        for active, segment in zip(actives, segments, strict=True):
            if name in segment.result.fields:
                cells += [active, segment.result.fields[name].value]
        value = graph.apply("list_where", *cells)
        result.fields[name] = Field(value, one.data_type, name=name, optype=one.optype)
    return result
