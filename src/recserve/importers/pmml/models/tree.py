"""`TreeModel`: one tree, with every strategy for missing values and for leaves that are not reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from recserve.importers.pmml import datatypes, predicates
from recserve.importers.pmml.arrays import read_words
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.models.tree_strategies import combine_leaves
from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Field, Scope
from recserve.scoring.graph import Value
from recserve.scoring.ops_trees import TESTS

STRATEGIES: Final = (
    "none",
    "nullPrediction",
    "lastPrediction",
    "defaultChild",
    "weightedConfidence",
    "aggregateNodes",
)
_MISSING: Final = {"none": "none", "nullPrediction": "null", "lastPrediction": "last", "defaultChild": "default"}
_COMPARISONS: Final = {
    "lessThan": "less",
    "lessOrEqual": "less_equal",
    "greaterThan": "greater",
    "greaterOrEqual": "greater_equal",
}


@dataclass
class Nodes:
    """The nodes of one tree in document order, as the op `tree` wants them.

    Attributes:
        elements: `Node` elements.
        arguments: values that tests look at.
        sets: of values, for `in` and `not_in`.
        tests, features, thresholds: of each node.
        child, sibling, default: numbers of later nodes, or -1.
    """

    elements: list[Element] = field(default_factory=list)
    arguments: list[Value] = field(default_factory=list)
    sets: list[tuple[Any, ...]] = field(default_factory=list)
    tests: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    child: list[int] = field(default_factory=list)
    sibling: list[int] = field(default_factory=list)
    default: list[int] = field(default_factory=list)
    _places: dict[int, int] = field(default_factory=dict)
    _set_places: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def argument(self, value: Value) -> int:
        """Number of a value among the arguments."""
        if value.number not in self._places:
            self._places[value.number] = len(self.arguments)
            self.arguments.append(value)
        return self._places[value.number]

    def set_of(self, values: tuple[Any, ...]) -> float:
        """Number of a set."""
        if values not in self._set_places:
            self._set_places[values] = len(self.sets)
            self.sets.append(values)
        return float(self._set_places[values])


def lower(model: Element, scope: Scope) -> Result:
    """The score of the node where a row ends."""
    model.choice("splitCharacteristic", ("multiSplit", "binarySplit"), "multiSplit")
    strategy = model.choice("missingValueStrategy", STRATEGIES, "none")
    no_true_child = model.choice(
        "noTrueChildStrategy", ("returnNullPrediction", "returnLastPrediction"), "returnNullPrediction"
    )
    nodes = read_nodes(model, scope)
    if strategy in ("weightedConfidence", "aggregateNodes"):
        return combine_leaves(model, strategy, nodes, scope)
    for i, element in enumerate(nodes.elements):
        if strategy == "defaultChild" and nodes.child[i] >= 0 and nodes.default[i] < 0 and element.get("defaultChild"):
            raise element.invalid(f"defaultChild {element.get('defaultChild')!r} is no child of the node")
    row, levels = walk(nodes, strategy, no_true_child, scope)
    penalty = model.number("missingValuePenalty", 1.0)
    factor = None if penalty == 1.0 else scope.graph.apply("power", scope.graph.constant(penalty), levels)
    return score(model, nodes, row, factor, scope)


def walk(nodes: Nodes, strategy: str, no_true_child: str, scope: Scope) -> list[Value]:
    """[number of the node where a row ends, how many default children it took]."""
    # The reference keeps the last prediction only where that node has one.
    has_score = [
        element.get("score") is not None or bool(element.all("ScoreDistribution")) for element in nodes.elements
    ]
    rows = [i if known else -1 for i, known in enumerate(has_score)]
    return scope.graph.apply_many(
        "tree",
        nodes.arguments,
        features=nodes.features,
        tests=nodes.tests,
        thresholds=nodes.thresholds,
        rows=rows,
        sets=nodes.sets,
        child=nodes.child,
        sibling=nodes.sibling,
        default=nodes.default,
        missing=_MISSING[strategy],
        no_true_child="last" if no_true_child == "returnLastPrediction" else "null",
    )


def read_nodes(model: Element, scope: Scope) -> Nodes:
    """The nodes of a model's tree, in document order, parents before children."""
    nodes = Nodes()
    top = model.need_child("Node")
    stack: list[tuple[Element, int]] = [(top, -1)]
    last_child: dict[int, int] = {}
    ids: dict[int, dict[str, int]] = {}
    while stack:
        element, parent = stack.pop()
        number = len(nodes.elements)
        nodes.elements.append(element)
        _add_test(nodes, predicates.find(element), scope)
        for links in (nodes.child, nodes.sibling, nodes.default):
            links.append(-1)
        if parent >= 0:
            if parent in last_child:
                nodes.sibling[last_child[parent]] = number
            else:
                nodes.child[parent] = number
            last_child[parent] = number
            ids.setdefault(parent, {})[element.get("id") or ""] = number
        stack.extend((child, number) for child in reversed(element.all("Node")))
        if element.first("DecisionTree", "Regression") is not None:
            raise element.unsupported("models inside of nodes are not read", "Write them as segments of a MiningModel")
    for parent, children in ids.items():
        default = nodes.elements[parent].get("defaultChild")
        if default is not None:
            nodes.default[parent] = children.get(default, -1)
    return nodes


def _add_test(nodes: Nodes, predicate: Element, scope: Scope) -> None:
    """A node's test: an own code for what is simple, else a boolean of the graph."""
    test, feature, threshold = "always", -1, 0.0
    if predicate.tag == "False":
        test = "never"
    elif predicate.tag != "True":
        simple = _simple_test(nodes, predicate, scope)
        if simple is None:
            test, feature = "true", nodes.argument(predicates.lower(predicate, scope))
        else:
            test, feature, threshold = simple
    nodes.tests.append(TESTS[test])
    nodes.features.append(feature)
    nodes.thresholds.append(threshold)


def _simple_test(nodes: Nodes, predicate: Element, scope: Scope) -> tuple[str, int, float] | None:
    """(test, argument, threshold) of a predicate on one field; None where it needs the graph."""
    if predicate.tag not in ("SimplePredicate", "SimpleSetPredicate"):
        return None
    one = scope.field(predicate.need("field"), predicate)
    dtype = datatypes.dtype_of(one.data_type)
    if dtype == "boolean":
        return None
    if predicate.tag == "SimpleSetPredicate":
        operator = predicate.choice("booleanOperator", ("isIn", "isNotIn"))
        texts = read_words(predicate.need_child("Array"))
        values = tuple(scope.bound(text, one, predicate) for text in texts)
        return "in" if operator == "isIn" else "not_in", nodes.argument(one.value), nodes.set_of(values)
    operator = predicate.choice("operator", predicates.OPERATORS)
    if operator in ("isMissing", "isNotMissing"):
        return "missing" if operator == "isMissing" else "known", nodes.argument(one.value), 0.0
    return _comparison(nodes, one, operator, predicate, scope)


def _comparison(
    nodes: Nodes, one: Field, operator: str, predicate: Element, scope: Scope
) -> tuple[str, int, float] | None:
    value = scope.bound(predicate.need("value"), one, predicate)
    if isinstance(value, str):
        if operator not in ("equal", "notEqual"):
            return None
        return "in" if operator == "equal" else "not_in", nodes.argument(one.value), nodes.set_of((value,))
    if operator in _COMPARISONS and one.optype == "ordinal" and predicate.get("value") in one.categories:
        return None
    test = _COMPARISONS.get(operator) or ("equal" if operator == "equal" else "not_equal")
    return test, nodes.argument(one.value), float(value)


# ---- scores


def score(model: Element, nodes: Nodes, row: Value, factor: Value | None, scope: Scope) -> Result:
    """What the node number `row` says; `factor` scales the confidences."""
    entity = scope.graph.apply("pick", row, values=node_ids(nodes), dtype="string")
    if model.need("functionName") == "regression":
        values = [_number(element) for element in nodes.elements]
        return Result("regression", scope.graph.apply("pick", row, values=values, dtype="number"), entity_id=entity)
    result = _classification(nodes, row, factor, scope)
    result.entity_id = entity
    return result


def node_ids(nodes: Nodes) -> list[str]:
    """The id of each node; its number in the document, from 1, where it has none."""
    return [element.get("id") or str(i + 1) for i, element in enumerate(nodes.elements)]


def _number(element: Element) -> float | None:
    text = element.get("score")
    return None if text is None else element.parse_number(text, "the score")


def distributions(nodes: Nodes) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Labels, and probabilities and confidences [nodes, labels] with NaN where a node has none."""
    labels: dict[str, None] = {}
    for element in nodes.elements:
        for child in element.all("ScoreDistribution"):
            labels.setdefault(child.need("value"))
    names = list(labels)
    places = {name: i for i, name in enumerate(names)}
    shape = (len(nodes.elements), len(names))
    probabilities, confidences = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, element in enumerate(nodes.elements):
        children = element.all("ScoreDistribution")
        if not children:
            continue
        counts = [child.need_number("recordCount") if child.get("recordCount") else 0.0 for child in children]
        total = sum(counts)
        probabilities[i], confidences[i] = 0.0, np.nan
        for child, count in zip(children, counts, strict=True):
            place = places[child.need("value")]
            given = child.number_or_none("probability")
            probabilities[i, place] = given if given is not None else (count / total if total else np.nan)
            known = child.number_or_none("confidence")
            confidences[i, place] = np.nan if known is None else known
    return names, probabilities, confidences


def winners(nodes: Nodes, names: list[str], probabilities: np.ndarray) -> list[str | None]:
    """The label of each node: its score, else its likeliest category."""
    found: list[str | None] = []
    for element, row in zip(nodes.elements, probabilities, strict=True):
        text = element.get("score")
        if text is None and len(row) and not np.isnan(row).all():
            text = names[int(np.nanargmax(row))]
        found.append(text)
    return found


def _classification(nodes: Nodes, row: Value, factor: Value | None, scope: Scope) -> Result:
    graph = scope.graph
    names, probabilities, confidences = distributions(nodes)
    label = graph.apply("pick", row, values=winners(nodes, names, probabilities), dtype="string")
    result = Result("classification", label)
    if not names:
        labels = [element.get("score") for element in nodes.elements]
        names = list(dict.fromkeys(text for text in labels if text is not None))
        probabilities = np.array([[float(text == name) if text else np.nan for name in names] for text in labels])
        confidences = np.full(probabilities.shape, np.nan)
    values = graph.apply_many("gather", [row], table=probabilities)
    result.probabilities = dict(zip(names, values, strict=True))
    if np.isfinite(confidences).any():
        known = graph.apply_many("gather", [row], table=confidences)
        if factor is not None:
            known = [graph.apply("multiply", one, factor) for one in known]
        result.confidences = dict(zip(names, known, strict=True))
    elif factor is not None:
        result.confidences = {name: graph.apply("multiply", one, factor) for name, one in result.probabilities.items()}
    return result
