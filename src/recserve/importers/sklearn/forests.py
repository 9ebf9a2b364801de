"""The trees inside scikit-learn's estimators, as trees of pipelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recserve.importers.pipelines.pieces import Array
from recserve.importers.pipelines.trees import Leaf, Split, Tree, sum_trees
from recserve.importers.pipelines.vectors import Vector
from recserve.importers.sklearn.table import unsupported
from recserve.scoring.graph import Value

Leaves = Callable[[int], Sequence[float]]  # of a node of the fitted tree: what it gives


def as_float32(vector: Vector) -> Vector:
    """The vector as trees see it: rounded to float32."""
    graph = vector.graph
    return vector.map(lambda x, _: graph.apply("to_float32", x), lambda x, _: x.astype(np.float32).astype(np.float64))


def tree_of(fitted: Any, leaves: Leaves) -> Tree:
    """A `tree_` with what its leaves give."""
    known = getattr(fitted, "missing_go_to_left", np.zeros(fitted.node_count, dtype=np.uint8))
    nodes: list[Split | Leaf] = []
    for i in range(fitted.node_count):
        yes, no = int(fitted.children_left[i]), int(fitted.children_right[i])
        if yes < 0:
            nodes.append(Leaf(tuple(leaves(i))))
        else:
            threshold, feature = float(fitted.threshold[i]), int(fitted.feature[i])
            nodes.append(Split(feature, threshold, None, yes, no, missing_yes=bool(known[i])))
    return nodes


def shares(fitted: Any) -> Leaves:
    """The class shares of a node."""

    def of(i: int) -> Sequence[float]:
        counts = np.asarray(fitted.value[i, 0], dtype=np.float64)
        total = counts.sum()
        found: list[float] = (counts / total if total else counts).tolist()
        return found

    return of


def means(fitted: Any) -> Leaves:
    """The value of each output at a node."""

    def of(i: int) -> Sequence[float]:
        found: list[float] = np.asarray(fitted.value[i, :, 0], dtype=np.float64).tolist()
        return found

    return of


def sum_forest(vector: Vector, trees: Sequence[Tree], factor: float, base: Array | None = None) -> list[Value]:
    """The sum over trees, each times a factor."""
    return sum_trees(as_float32(vector), trees, lambda _, values: [value * factor for value in values], base)


def average_forest(vector: Vector, trees: Sequence[Tree]) -> list[Value]:
    """The mean over trees: their sum, divided, as scikit-learn does it."""
    graph = vector.graph
    total = sum_forest(vector, trees, 1.0)
    return [graph.apply("divide", value, float(len(trees))) for value in total]


def histogram_trees(model: Any) -> list[list[Tree]]:
    """The trees of a HistGradientBoosting model: per round one an output."""
    known, places = model._bin_mapper.make_known_categories_bitsets()
    return [[_histogram_tree(model, predictor, known, places) for predictor in round_] for round_ in model._predictors]


def _members(bits: Any) -> set[int]:
    """The numbers in a bit set of eight 32-bit words."""
    return {32 * word + bit for word in range(len(bits)) for bit in range(32) if int(bits[word]) >> bit & 1}


def _histogram_tree(model: Any, predictor: Any, known: Any, places: Any) -> Tree:
    nodes: list[Split | Leaf] = []
    for node in predictor.nodes:
        if node["is_leaf"]:
            nodes.append(Leaf((float(node["value"]),)))
            continue
        feature, yes, no = int(node["feature_idx"]), int(node["left"]), int(node["right"])
        missing_yes = bool(node["missing_go_to_left"])
        if not node["is_categorical"]:
            threshold = float(node["num_threshold"])
            nodes.append(Split(feature, threshold, None, yes, no, missing_yes=missing_yes))
            continue
        left = _members(predictor.raw_left_cat_bitsets[int(node["bitset_idx"])])
        every = _members(known[int(places[feature])])
        if not left <= every:
            raise unsupported(model, f"feature {feature} has a split on categories that it does not know")
        # A category that is not known goes where a missing value goes.
        listed = every - left if missing_yes else left
        test = "not_in" if missing_yes else "less_equal"
        categories = tuple(float(category) for category in sorted(listed))
        nodes.append(Split(feature, 0.0, categories, yes, no, missing_yes=missing_yes, test=test))
    return nodes
