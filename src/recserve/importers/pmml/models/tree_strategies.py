"""Trees that follow several branches at a missing value: `weightedConfidence` and `aggregateNodes`.

Each leaf gets a weight: the product, over the nodes on its way, of 1 where the test is true, 0 where it is false or an
earlier sibling was taken, and the node's share of its parent's records where the test is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recserve.importers.pmml import predicates
from recserve.importers.pmml.document import Element
from recserve.importers.pmml.results import Result, classify
from recserve.importers.pmml.scope import Scope
from recserve.scoring.graph import Value

if TYPE_CHECKING:
    from recserve.importers.pmml.models.tree import Nodes


def combine_leaves(model: Element, strategy: str, nodes: Nodes, scope: Scope) -> Result:
    """The prediction of all leaves that a row may reach, weighted by their records.

    `weightedConfidence` weights the confidences of classes, `aggregateNodes` adds up the records of the leaves; for a
    regression both give the weighted mean of scores.
    """
    from recserve.importers.pmml.models import tree

    weights = leaf_weights(nodes, scope)
    graph = scope.graph
    leaves = list(weights)
    columns = [weights[leaf] for leaf in leaves]
    total = graph.apply("sum", *columns)
    nothing = graph.apply("equal", total, 0.0)
    if model.need("functionName") == "regression":
        scores = [nodes.elements[leaf].need_number("score") for leaf in leaves]
        value = graph.apply("divide", graph.apply("linear", *columns, weights=scores), total)
        return Result("regression", graph.apply("mark_missing", value, nothing))
    names, probabilities, confidences = tree.distributions(nodes)
    table = np.where(np.isnan(confidences), probabilities, confidences)
    if strategy == "aggregateNodes":
        table = probabilities
    found: dict[str, Value] = {}
    for place, name in enumerate(names):
        parts = np.nan_to_num(table[leaves, place])
        value = graph.apply("divide", graph.apply("linear", *columns, weights=parts), total)
        found[name] = graph.apply("mark_missing", value, nothing)
    return Result("classification", classify(graph, found), found, dict(found))


def leaf_weights(nodes: Nodes, scope: Scope) -> dict[int, Value]:
    """Leaf → number: the part of the records of a row that ends there; all sum to 1 where the tree has an answer."""
    graph = scope.graph
    one, zero = graph.constant(1.0), graph.constant(0.0)
    weights: dict[int, Value] = {0: graph.apply("select_or", _test(nodes, 0, scope), one, zero, one)}
    leaves: dict[int, Value] = {}
    for number in range(len(nodes.elements)):
        children = _children(nodes, number)
        if not children:
            leaves[number] = weights[number]
            continue
        tests = [_test(nodes, child, scope) for child in children]
        records = [nodes.elements[child].need_number("recordCount") for child in children]
        total = sum(records) or 1.0
        # The first child that is true takes all; without one, the unknown children share by their records.
        first = graph.apply("first_true", *[graph.apply("replace_missing", test, False) for test in tests])
        for place, (child, test) in enumerate(zip(children, tests, strict=True)):
            taken = graph.apply("boolean_to_number", graph.apply("equal", first, float(place)))
            share = graph.apply("select_or", test, zero, zero, records[place] / total)
            part = graph.apply("replace_missing", taken, share)
            weights[child] = graph.apply("multiply", weights[number], part)
    return leaves


def _children(nodes: Nodes, number: int) -> list[int]:
    found = []
    child = nodes.child[number]
    while child >= 0:
        found.append(child)
        child = nodes.sibling[child]
    return found


def _test(nodes: Nodes, number: int, scope: Scope) -> Value:
    return predicates.lower(predicates.find(nodes.elements[number]), scope)
