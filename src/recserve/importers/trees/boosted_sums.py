"""XGBoost's sums: float32 features through trees or a linear model, then the objective's link, all in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recserve.importers.mojo.ini import unsupported
from recserve.importers.trees.booster import Booster, BoosterTree
from recserve.importers.trees.table import TreeTable
from recserve.scoring.graph import Graph, Value

_LOGISTIC = ("binary:logistic", "reg:logistic")
_EXPONENTIAL = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
_IDENTITY = (
    "binary:logitraw",
    "rank:map",
    "rank:ndcg",
    "rank:pairwise",
    "reg:absoluteerror",
    "reg:expectileerror",
    "reg:linear",
    "reg:pseudohubererror",
    "reg:quantileerror",
    "reg:squarederror",
    "reg:squaredlogerror",
)
_EXP_LIMIT = 88.7  # XGBoost clamps −x there, so that float32 exp stays finite


@dataclass(frozen=True)
class Feature:
    """What a booster calls a feature.

    Attributes:
        value: a number rounded to float32, or the number of the hot one of several features.
        hot: None for a number; else this feature is 1 where `value` equals this, and cold elsewhere.
        cold_is_missing: whether a cold one is missing, as in sparse data, or 0.
    """

    value: Value
    hot: int | None = None
    cold_is_missing: bool = False


def margins(graph: Graph, booster: Booster, features: Sequence[Feature], offset: Value | None = None) -> list[Value]:
    """The sums before the objective's link, one a group.

    Args:
        graph: to add to.
        booster: the model.
        features: as many as the booster has.
        offset: takes the place of the base score where it is given.
    """
    base = [base_margin(booster, group) for group in range(booster.outputs)]
    if booster.kind == "gblinear":
        # XGBoost's linear booster adds the first group's base score to every group.
        return [_linear(graph, booster, features, group, base[0], offset) for group in range(booster.outputs)]
    is_old = booster.version <= (1, 2)
    if booster.trees and booster.trees[0].leaf.shape[1] > 1:
        return _vector_margins(graph, booster, features, base)
    found = []
    arguments = list(dict.fromkeys(feature.value for feature in features))
    place = {value: number for number, value in enumerate(arguments)}
    for group in range(booster.outputs):
        table = TreeTable(width=1)
        for tree, owner, weight in zip(booster.trees, booster.groups, booster.weights, strict=True):
            if owner == group:
                _add_tree(table, tree, features, place, weight)
        if offset is not None and not is_old:
            trees = table.lower(graph, arguments, output="each") if table.roots else []
            first = graph.apply("to_float32", offset)
            ones = [1.0] * (1 + len(trees))
            found.append(graph.apply("linear", first, *trees, weights=ones, precision="float"))
            continue
        # Releases up to 1.2 added the base score last.
        start = None if is_old else [base[group]]
        total = table.lower(graph, arguments, base=start, precision="float")[0]
        if offset is not None:
            total = _rounded(graph, "add", total, graph.apply("to_float32", offset))
        elif is_old:
            total = _rounded(graph, "add", total, base[group])
        found.append(total)
    return found


def _vector_margins(graph: Graph, booster: Booster, features: Sequence[Feature], base: list[float]) -> list[Value]:
    """Sums of trees whose leaves have a number a group."""
    arguments = list(dict.fromkeys(feature.value for feature in features))
    place = {value: number for number, value in enumerate(arguments)}
    table = TreeTable(width=booster.outputs)
    for tree, weight in zip(booster.trees, booster.weights, strict=True):
        _add_tree(table, tree, features, place, weight)
    return table.lower(graph, arguments, base=base, precision="float")


def _add_tree(
    table: TreeTable, tree: BoosterTree, features: Sequence[Feature], place: dict[Value, int], weight: np.float32
) -> None:
    """The tree's nodes in pre-order, so that children come after their parent."""
    table.start_tree()
    order = preorder(tree.left, tree.right)
    number = {node: position for position, node in enumerate(order)}
    for node in order:
        if tree.left[node] == -1:
            table.leaf([float(np.float32(weight) * np.float32(value)) for value in tree.leaf[node]])
            continue
        left, right = number[int(tree.left[node])], number[int(tree.right[node])]
        feature, default_left = features[int(tree.feature[node])], bool(tree.default_left[node])
        argument, threshold = place[feature.value], float(tree.threshold[node])
        if feature.hot is not None:
            hot_way = left if threshold > 1 else right
            cold_left = default_left if feature.cold_is_missing else threshold > 0
            cold_way = left if cold_left else right
            table.split(argument, "equal", float(feature.hot), yes=hot_way, no=cold_way, unknown="no")
        elif node in tree.categories:
            unknown = "no" if default_left else "yes"
            table.split_in(argument, tree.categories[node], yes=right, no=left, unknown=unknown)
        else:
            unknown = "yes" if default_left else "no"
            table.split(argument, "less", threshold, yes=left, no=right, unknown=unknown)


def preorder(left: np.ndarray, right: np.ndarray) -> list[int]:
    """Nodes from the root, each before its children, the left subtree first."""
    order, pending = [], [0]
    while pending:
        node = pending.pop()
        order.append(node)
        if left[node] != -1:
            pending += [int(right[node]), int(left[node])]
    return order


def _linear(  # noqa: PLR0917  (what a row needs)
    graph: Graph, booster: Booster, features: Sequence[Feature], group: int, base: float, offset: Value | None
) -> Value:
    weights = booster.linear[:, group]
    terms, factors = [], []
    for feature, weight in zip(features, weights[:-1].tolist(), strict=True):
        value = feature.value
        if feature.hot is not None:
            value = graph.apply("boolean_to_number", graph.apply("equal", value, float(feature.hot)))
        terms.append(graph.apply("replace_missing", value, 0.0))
        factors.append(weight)
    bias = float(weights[-1])
    if offset is None:
        start = float(np.float32(bias) + np.float32(base))
        return graph.apply("linear", *terms, weights=factors, bias=start, precision="float")
    first = _rounded(graph, "add", graph.apply("to_float32", offset), bias)
    return graph.apply("linear", first, *terms, weights=[1.0, *factors], precision="float")


def base_margin(booster: Booster, group: int) -> float:
    """The base score before the link; files older than 1.0 store it so."""
    base = booster.base[group]
    if booster.version < (1, 0):
        return float(base)
    if booster.objective in _LOGISTIC:
        return float(-np.log(np.float32(1) / base - np.float32(1)))
    if booster.objective in _EXPONENTIAL:
        return float(np.log(base))
    return float(base)


def _rounded(graph: Graph, op: str, *values: Value | float) -> Value:
    return graph.apply("to_float32", graph.apply(op, *values))


def answer(graph: Graph, booster: Booster, sums: list[Value], where: str) -> list[Value]:
    """What XGBoost's predict gives for the sums: one number, or one a class or target.

    Raises:
        ConfigError: "unsupported_element" for an objective that recserve does not know.
    """
    objective = booster.objective
    if objective in _LOGISTIC:
        return [_sigmoid(graph, value) for value in sums]
    if objective in _EXPONENTIAL:
        return [_rounded(graph, "exp", value) for value in sums]
    if objective == "binary:hinge":
        return [graph.apply("boolean_to_number", graph.apply("greater", value, 0.0)) for value in sums]
    if objective == "multi:softmax":
        return [graph.apply("argmax", *sums)]
    if objective == "multi:softprob":
        return _softmax(graph, sums)
    if objective in _IDENTITY:
        return sums
    raise unsupported(f"the objective {objective!r} is unknown", where)


def _sigmoid(graph: Graph, value: Value) -> Value:
    negated = graph.apply("min", graph.apply("negate", value), float(np.float32(_EXP_LIMIT)))
    total = _rounded(graph, "add", _rounded(graph, "exp", negated), 1.0)
    return _rounded(graph, "reciprocal", total)


def _softmax(graph: Graph, sums: list[Value]) -> list[Value]:
    top = graph.apply("max", *sums)
    powers = [_rounded(graph, "exp", _rounded(graph, "subtract", value, top)) for value in sums]
    total = _rounded(graph, "sum", *powers)
    return [_rounded(graph, "divide", power, total) for power in powers]
