"""LightGBM's text files, scored as its own predict does: double thresholds and sums, its rules for missing values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recserve.importers.model import ImportedModel, Report
from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import unsupported
from recserve.importers.trees.inputs import Inputs
from recserve.importers.trees.lightgbm_text import LightModel, LightTree, parse_text
from recserve.importers.trees.table import TreeTable
from recserve.importers.trees.xgboost import MAX_BYTES, declare_prediction
from recserve.scoring.graph import Graph, Value

_ZERO = float(np.float32(1e-35))
_NOTHING, _ZEROS, _NANS = range(3)
_EXPONENTIAL = ("poisson", "gamma", "tweedie")
_IDENTITY = (
    "",
    "custom",
    "fair",
    "huber",
    "lambdarank",
    "mape",
    "none",
    "quantile",
    "rank_xendcg",
    "regression",
    "regression_l1",
)


def read(path: Path) -> ImportedModel:
    """Read a model that `Booster.save_model` wrote.

    Scores equal those of `Booster.predict`. Outputs: `prediction`, a number, or a vector with one number a class.

    Raises:
        ConfigError: "damaged_model" or "unsupported_element"; the message names the file and the tree.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise damaged(f"has {size} bytes; {MAX_BYTES} are allowed", str(path))
    try:
        model = parse_text(path.read_bytes().decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise damaged(f"is not UTF-8 at byte {error.start}", str(path)) from None
    graph = Graph()
    inputs = Inputs(graph, "LightGBM")
    features = [_feature(inputs, model, number) for number in range(len(model.names))]
    sums = [_sum(graph, model, features, group) for group in range(model.groups)]
    output = declare_prediction(graph, _answer(graph, model, sums, str(path)))
    report = Report("lightgbm", fields=dict(inputs.dtypes), targets=["prediction"])
    report.elements["tree"] = len(model.trees)
    return ImportedModel(graph.build(), inputs.dtypes, [output], report)


def _feature(inputs: Inputs, model: LightModel, number: int) -> Value:
    levels = model.levels.get(number)
    name = model.names[number]
    return inputs.number(name) if levels is None else inputs.level(name, levels, unseen_fails=False)


class _Arguments:
    """The values that trees test: features, and forms of them that a test needs."""

    def __init__(self, graph: Graph, features: list[Value]) -> None:
        self.graph = graph
        self.features = features
        self.values: list[Value] = []
        self._places: dict[tuple[int, str], int] = {}

    def place(self, feature: int, form: str) -> int:
        """Number of the argument: the feature as `number`, `code` (no fraction) or `nonzero` (0 is missing)."""
        key = (feature, form)
        if key not in self._places:
            value = self.features[feature]
            if form == "code":
                value = self.graph.apply("truncate", value)
            elif form == "nonzero":
                zero = self.graph.apply("less_equal", self.graph.apply("abs", value), _ZERO)
                value = self.graph.apply("mark_missing", value, zero)
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def _sum(graph: Graph, model: LightModel, features: list[Value], group: int) -> Value:
    """The sum of a group's trees, or their mean."""
    trees = model.trees[group :: model.groups]
    arguments = _Arguments(graph, features)
    if any(tree.linear for tree in trees):
        values = [_linear_tree(graph, tree, arguments) for tree in trees]
        total = graph.apply("sum", *values)
    else:
        table = TreeTable(width=1)
        for tree in trees:
            _add_tree(table, tree, arguments, [[value] for value in tree.values])
        total = table.lower(graph, arguments.values)[0]
    return graph.apply("divide", total, float(len(trees))) if model.average and trees else total


def _add_tree(table: TreeTable, tree: LightTree, arguments: _Arguments, leaves: list[list[float]]) -> None:
    """The tree's nodes in pre-order; `leaves` are the numbers of each leaf."""
    table.start_tree()
    order: list[int] = []
    pending = [0 if tree.feature else -1]
    while pending:
        node = pending.pop()
        order.append(node)
        if node >= 0:
            pending += [tree.right[node], tree.left[node]]
    number = {node: position for position, node in enumerate(order)}
    for node in order:
        if node < 0:
            table.leaf(leaves[-1 - node])
            continue
        left, right = number[tree.left[node]], number[tree.right[node]]
        feature, threshold, decision = tree.feature[node], tree.threshold[node], tree.decision[node]
        if decision & 1:
            place = arguments.place(feature, "code")
            table.split_in(place, tree.sets[int(threshold)], yes=left, no=right, unknown="no")
            continue
        kind = decision >> 2 & 3
        goes_left = bool(decision & 2) if kind != _NOTHING else threshold >= 0  # where nothing is missing, NaN is 0
        place = arguments.place(feature, "nonzero" if kind == _ZEROS else "number")
        unknown = "yes" if goes_left else "no"
        table.split(place, "less_equal", threshold, yes=left, no=right, unknown=unknown)


def _linear_tree(graph: Graph, tree: LightTree, arguments: _Arguments) -> Value:
    """A tree with a linear model a leaf; a leaf whose features are not all known gives its constant value."""
    table = TreeTable(width=1)
    _add_tree(table, tree, arguments, [[float(leaf)] for leaf in range(len(tree.values))])
    leaf = table.lower(graph, arguments.values)[0]
    models = tree.linear
    if not models:
        return graph.apply("pick", leaf, values=tree.values)
    used = sorted({feature for model in models for feature in model.features})
    rows = np.zeros((len(models), 2 + 2 * len(used)))
    for row, (model, plain) in enumerate(zip(models, tree.values, strict=True)):
        rows[row, :2] = plain, model.constant
        for feature, factor in zip(model.features, model.coefficients, strict=True):
            rows[row, 2 + used.index(feature)] = factor
            rows[row, 2 + len(used) + used.index(feature)] = 1.0
    value, constant, *rest = graph.apply_many("gather", [leaf], table=rows)
    if not used:
        return constant
    terms, lacks = [constant], []
    for feature, coefficient, needs in zip(used, rest[: len(used)], rest[len(used) :], strict=True):
        x = arguments.features[feature]
        terms.append(graph.apply("multiply", coefficient, graph.apply("replace_missing", x, 0.0)))
        absent = graph.apply("boolean_to_number", graph.apply("is_missing", x))
        lacks.append(graph.apply("multiply", needs, absent))
    lacking = graph.apply("greater", graph.apply("sum", *lacks), 0.0)
    return graph.apply("select", lacking, value, graph.apply("sum", *terms))


def _answer(graph: Graph, model: LightModel, sums: list[Value], where: str) -> list[Value]:
    """What predict makes of the sums."""
    name, options = model.objective
    if name in ("binary", "multiclassova"):
        try:
            slope = float(options.get("sigmoid", "1"))
        except ValueError:
            raise damaged(f"sigmoid is {options['sigmoid'][:40]!r}, no number", where) from None
        return [graph.apply("sigmoid", graph.apply("multiply", value, slope)) for value in sums]
    if name == "cross_entropy":
        return [graph.apply("sigmoid", value) for value in sums]
    if name == "cross_entropy_lambda":
        return [graph.apply("softplus", value) for value in sums]
    if name == "multiclass":
        return graph.apply_many("softmax", sums)
    if name in _EXPONENTIAL:
        return [graph.apply("exp", value) for value in sums]
    if name not in _IDENTITY:
        raise unsupported(f"the objective {name!r} is unknown", f"{where}: objective")
    if "sqrt" in options:
        return [graph.apply("multiply", value, graph.apply("abs", value)) for value in sums]
    return sums
