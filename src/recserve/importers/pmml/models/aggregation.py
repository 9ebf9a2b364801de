"""One answer of many: averages, medians, sums and votes over the segments of a MiningModel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from recserve.importers.pmml import links
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.results import Result, classify
from recserve.importers.pmml.scope import Scope
from recserve.scoring.graph import Value

if TYPE_CHECKING:
    from recserve.importers.pmml.models.mining import Segment

REGRESSION: Final = ("average", "weightedAverage", "median", "weightedMedian", "sum", "weightedSum", "max")
CLASSIFICATION: Final = (
    "majorityVote",
    "weightedMajorityVote",
    "average",
    "weightedAverage",
    "median",
    "weightedMedian",
    "max",
)
TREATMENTS: Final = ("continue", "skipSegment", "returnMissing")


def aggregate(model: Element, segmentation: Element, method: str, segments: Sequence[Segment], scope: Scope) -> Result:
    """The method's answer.

    Raises:
        ConfigError: the method does not fit the function.
    """
    function = model.need("functionName")
    known = {"regression": REGRESSION, "classification": CLASSIFICATION, "clustering": CLASSIFICATION[:2]}.get(function)
    if known is None or method not in known:
        raise segmentation.invalid(f"multipleModelMethod {method!r} does not fit a {function}")
    weights = [segment.weight if method.startswith("weighted") else 1.0 for segment in segments]
    prefix = "" if segmentation.get("x-missingPredictionTreatment") is None else "x-"
    treatment = segmentation.choice(f"{prefix}missingPredictionTreatment", TREATMENTS, "continue")
    blocked = _blocked(segmentation, treatment, segments, scope)
    if function == "regression":
        values = [_predicted(segment, segmentation) for segment in segments]
        result = Result(function, _number(method, values, weights, segments, treatment, scope))
    elif method in ("majorityVote", "weightedMajorityVote"):
        result = _vote(function, segments, weights, treatment, scope)
    else:
        result = _probabilities(method, segments, weights, treatment, scope)
    if blocked is not None:
        _block(result, blocked, scope)
    return result


def _predicted(segment: Segment, at: Element) -> Value:
    if segment.result.value is None:
        raise at.invalid(f"the segment {segment.id!r} predicts nothing")
    return segment.result.value


def _blocked(segmentation: Element, treatment: str, segments: Sequence[Segment], scope: Scope) -> Value | None:
    """Boolean: whether missing predictions make the whole answer missing; None where they cannot."""
    graph = scope.graph
    missing = [_lost(segment, scope) for segment in segments]
    if treatment == "skipSegment":
        threshold = segmentation.number("x-missingThreshold", segmentation.number("missingThreshold", 1.0))
        weights = [segment.weight for segment in segments]
        lost_weight = graph.apply("linear", *missing, weights=weights)
        share = graph.apply("divide", lost_weight, _active_weight(segments, scope))
        return graph.apply("greater", share, threshold) if threshold < 1.0 else None
    if treatment == "returnMissing":
        return graph.apply("greater", graph.apply("sum", *missing), 0.0)
    return None


def _active_weight(segments: Sequence[Segment], scope: Scope) -> Value:
    graph = scope.graph
    total = []
    for segment in segments:
        active = graph.constant(True) if segment.active is None else segment.active
        total.append(graph.apply("boolean_to_number", graph.apply("replace_missing", active, False)))
    return graph.apply("linear", *total, weights=[segment.weight for segment in segments])


def _block(result: Result, blocked: Value, scope: Scope) -> None:
    graph = scope.graph
    if result.value is not None:
        result.value = graph.apply("mark_missing", result.value, blocked)
    for name, value in result.probabilities.items():
        result.probabilities[name] = graph.apply("mark_missing", value, blocked)


def _number(  # noqa: PLR0917 (the parts of one aggregate)
    method: str,
    values: list[Value],
    weights: list[float],
    segments: Sequence[Segment],
    treatment: str,
    scope: Scope,
) -> Value:
    """A number of numbers; segments that are not active are left out, and so are missing ones where `skipSegment`."""
    graph = scope.graph
    open_segments = [segment for segment in segments if segment.active is not None]
    skip = treatment != "continue" or bool(open_segments)
    value = _combine(method, values, weights, skip, scope)
    if treatment == "continue" and open_segments:
        # A missing prediction of an active segment makes the whole missing; an inactive one does not count.
        lost = []
        for one, segment in zip(values, segments, strict=True):
            active = graph.constant(True) if segment.active is None else segment.active
            lost.append(
                graph.apply("and", graph.apply("replace_missing", active, False), graph.apply("is_missing", one))
            )
        value = graph.apply("mark_missing", value, graph.apply("or", *lost))
    return value


def _combine(method: str, values: list[Value], weights: list[float], skip: bool, scope: Scope) -> Value:
    graph = scope.graph
    if method in ("weightedAverage", "weightedMedian"):
        op = "weighted_mean" if method == "weightedAverage" else "weighted_median"
        return links.rounded(scope, graph.apply(op, *values, weights=weights, skip_missing=skip))
    if method in ("sum", "weightedSum"):
        if skip:
            known = graph.apply("or", *[graph.apply("is_known", value) for value in values])
            filled = [graph.apply("replace_missing", value, 0.0) for value in values]
            total = graph.apply("linear", *filled, weights=weights, precision=scope.math)
            return graph.apply("mark_missing", total, graph.apply("not", known))
        return graph.apply("linear", *values, weights=weights, precision=scope.math)
    if method == "average" and scope.math == "float" and not skip:
        total = graph.apply("linear", *values, weights=weights, precision="float")
        return links.rounded(scope, graph.apply("divide", total, float(len(values))))
    op = {"average": "mean", "median": "median", "max": "max"}[method]
    return links.rounded(scope, graph.apply(op, *values, skip_missing=skip))


def _labels(segments: Sequence[Segment], scope: Scope) -> list[str]:
    """All labels, in the order in which the segments name them; else the target's categories."""
    found: dict[str, None] = {}
    for segment in segments:
        for label in segment.result.probabilities or segment.result.affinities:
            found.setdefault(label)
    return list(found) or list(scope.categories)


def _vote(function: str, segments: Sequence[Segment], weights: list[float], treatment: str, scope: Scope) -> Result:
    """Shares of the votes. The first label of the largest share wins, in the order of the votes.

    Where `continue` treats missing predictions, they vote for a missing answer.
    """
    graph = scope.graph
    labels = _labels(segments, scope)
    for segment in segments:
        if segment.result.value is None:
            raise segment.element.invalid("its model predicts nothing to vote for")
    values = [segment.result.value for segment in segments if segment.result.value is not None]
    votes = graph.apply_many("vote", values, classes=labels, weights=weights, skip_missing=True)
    total = graph.apply("sum", *votes)
    nothing = graph.apply("equal", total, 0.0)
    shares = [graph.apply("mark_missing", graph.apply("divide", vote, total), nothing) for vote in votes]
    winner = graph.apply("mark_missing", _first_voted(values, votes, labels, scope), nothing)
    if treatment == "continue":
        winner = graph.apply("mark_missing", winner, _missing_wins(segments, weights, votes, scope))
    result = Result(function, winner)
    if function == "classification":
        result.probabilities = dict(zip(labels, shares, strict=True))
    else:
        result.affinities = dict(zip(labels, votes, strict=True))
        result.entity_id = result.value
    return result


def _missing_wins(segments: Sequence[Segment], weights: list[float], votes: list[Value], scope: Scope) -> Value:
    """Boolean: whether the missing predictions of active segments have more votes than any label."""
    graph = scope.graph
    lost = graph.apply("linear", *[_lost(segment, scope) for segment in segments], weights=weights)
    return graph.apply("greater", lost, graph.apply("max", *votes))


def _lost(segment: Segment, scope: Scope) -> Value:
    """Number: 1 where an active segment has no answer."""
    graph = scope.graph
    if segment.result.value is None:
        return graph.constant(0.0)
    lost = graph.apply("is_missing", segment.result.value)
    if segment.active is not None:
        lost = graph.apply("and", graph.apply("replace_missing", segment.active, False), lost)
    return graph.apply("boolean_to_number", lost)


def _first_voted(values: list[Value], votes: list[Value], labels: list[str], scope: Scope) -> Value:
    """The first vote for a label that has the most."""
    graph = scope.graph
    most = graph.apply("max", *votes)
    keys, places = [(label,) for label in labels], [float(i) for i in range(len(labels))]
    tests = []
    for value in values:
        place = graph.apply("lookup", value, keys=keys, values=places)
        tests.append(graph.apply("equal", graph.apply("choose", place, *votes), most))
    chosen = graph.apply("first_true", *[graph.apply("replace_missing", test, False) for test in tests])
    return graph.apply("choose", chosen, *values)


def _probabilities(
    method: str, segments: Sequence[Segment], weights: list[float], treatment: str, scope: Scope
) -> Result:
    """A number of each label's probabilities; a segment that does not name a label gives it 0."""
    graph = scope.graph
    labels = _labels(segments, scope)
    found: dict[str, Value] = {}
    for label in labels:
        columns = []
        for segment in segments:
            value = segment.result.probabilities.get(label)
            if value is None:
                value = graph.constant(0.0)
                if segment.result.value is not None:  # missing where the segment has no answer
                    lost = graph.apply("is_missing", segment.result.value)
                    value = graph.apply("mark_missing", value, lost)
            columns.append(value)
        found[label] = _number(method, columns, weights, segments, treatment, scope)
    if method in ("max", "median", "weightedMedian"):
        found = dict(zip(found, graph.apply_many("simplemax", list(found.values())), strict=True))
    return Result("classification", classify(graph, found), found)
