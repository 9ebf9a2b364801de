"""CatBoost's JSON export: symmetric and other trees over numbers and one-hot categories.

Statistics of categories (CTR), texts and embeddings are not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recserve.importers.model import ImportedModel, Output, Report
from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import unsupported
from recserve.importers.trees.inputs import Inputs
from recserve.importers.trees.table import TreeTable
from recserve.importers.trees.xgboost import MAX_BYTES, declare_prediction
from recserve.scoring.graph import Graph, Value

MAX_DEPTH = 16
_TWO_CLASSES = ("Logloss", "CrossEntropy")
_EXPONENTIAL = ("Poisson", "Tweedie")


def read(path: Path) -> ImportedModel:
    """Read a model that `save_model(path, format="json", pool=...)` wrote.

    Outputs: `raw`, the formula's values; for a classifier `probability` and `prediction`, the label; else `prediction`,
    as `CatBoost.predict` gives them. Vectors where there are several.

    Raises:
        ConfigError: "damaged_model" or "unsupported_element"; the message names the file and the element.
    """
    where = str(path)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise damaged(f"has {size} bytes; {MAX_BYTES} are allowed", where)
    try:
        document = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(f"is no JSON: {error}", where) from None
    try:
        return _Model(document, where).lower()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise damaged(f"lacks what a CatBoost model has: {error!r}", where) from None


class _Model:
    """A document while it is lowered."""

    def __init__(self, document: Any, where: str) -> None:
        self.where = where
        self.document = document
        self.graph = Graph()
        self.inputs = Inputs(self.graph, "CatBoost")
        features = document["features_info"]
        for kind in ("text_features", "embedding_features"):
            if features.get(kind):
                raise unsupported(f"the model has {len(features[kind])} {kind}", f"{where}: features_info.{kind}")
        self.floats: list[Mapping[str, Any]] = list(features.get("float_features", ()))
        self.categories: list[Mapping[str, Any]] = list(features.get("categorical_features", ()))
        self.names = {int(entry["hash"]) & 0xFFFFFFFF: str(entry["value"]) for entry in self._hashes(features)}
        self.values: list[Value] = []
        self.places: dict[tuple[str, int], int] = {}
        self.codes: dict[int, dict[int, float]] = {}
        self._declare()

    @staticmethod
    def _hashes(features: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return list(features.get("cat_features_hash", ()))

    def _declare(self) -> None:
        """All inputs, in the order of the model's columns."""
        found = [("float", i, feature) for i, feature in enumerate(self.floats)]
        found += [("category", i, feature) for i, feature in enumerate(self.categories)]
        for kind, number, feature in sorted(found, key=lambda item: int(item[2]["flat_feature_index"])):
            name = str(feature.get("feature_id") or feature["flat_feature_index"])
            if kind == "float":
                value = self.graph.apply("to_float32", self.inputs.number(name))
            else:
                value = self._category(name, number, feature)
            self.places[kind, number] = len(self.values)
            self.values.append(value)

    def _category(self, name: str, number: int, feature: Mapping[str, Any]) -> Value:
        """The number of the level among those that the trees test; −1 for all others; a missing one fails the row."""
        hashes = [int(value) & 0xFFFFFFFF for value in feature.get("values", ())]
        if lost := [value for value in hashes if value not in self.names]:
            raise unsupported(
                f"the level with the hash {lost[0]} has no name",
                f"{self.where}: features_info.cat_features_hash",
                "Give save_model the training pool",
            )
        self.codes[number] = {value: float(code) for code, value in enumerate(hashes)}
        self.inputs.dtypes.setdefault(name, "string")
        raw = self.graph.input(name, "string")
        keys = [[self.names[value]] for value in hashes]
        code = self.graph.apply("lookup", raw, keys=keys, values=list(range(len(keys))), default=-1.0)
        absent = self.graph.apply("is_missing", raw)
        checked = self.graph.apply("fail", code, absent, message=f"column {name!r}: CatBoost takes no missing category")
        self.graph.guard(checked)
        return checked

    def lower(self) -> ImportedModel:
        """The whole model."""
        scale, bias = self.document["scale_and_bias"]
        bias = [float(value) for value in bias]
        table = TreeTable(width=len(bias))
        if "oblivious_trees" in self.document:
            trees = self.document["oblivious_trees"]
            for number, tree in enumerate(trees):
                self._symmetric(table, tree, f"{self.where}: oblivious_trees[{number}]", len(bias))
        else:
            trees = self.document["trees"]
            for number, tree in enumerate(trees):
                self._other(table, tree, f"{self.where}: trees[{number}]", len(bias))
        sums = table.lower(self.graph, self.values)
        raw = [
            self.graph.apply("add", self.graph.apply("multiply", total, float(scale)), shift)
            for total, shift in zip(sums, bias, strict=True)
        ]
        outputs = [declare_prediction(self.graph, raw, "raw"), *self._answers(raw)]
        report = Report("catboost", elements={"tree": len(trees)}, fields=dict(self.inputs.dtypes))
        report.targets.append("prediction")
        return ImportedModel(self.graph.build(), self.inputs.dtypes, outputs, report)

    def _split(self, table: TreeTable, split: Mapping[str, Any], where: str, *, yes: int, no: int) -> None:
        kind = split["split_type"]
        if kind == "FloatFeature":
            number = int(split["float_feature_index"])
            treatment = self.floats[number].get("nan_value_treatment", "AsIs")
            place = self.places["float", number]
            unknown = "yes" if treatment == "AsTrue" else "no"
            table.split(place, "greater", float(np.float32(split["border"])), yes=yes, no=no, unknown=unknown)
        elif kind == "OneHotFeature":
            number = int(split["cat_feature_index"])
            code = self.codes[number][int(split["value"]) & 0xFFFFFFFF]
            table.split(self.places["category", number], "equal", code, yes=yes, no=no, unknown="no")
        else:
            hint = "Train with a one_hot_max_size that covers the categories" if kind == "OnlineCtr" else None
            raise unsupported(f"the split {kind!r} is unknown", where, hint)

    def _symmetric(self, table: TreeTable, tree: Mapping[str, Any], where: str, width: int) -> None:
        """A tree with one test a level; the first test is the lowest bit of the leaf's number."""
        splits = list(tree["splits"] or ())
        leaves = [float(value) for value in tree["leaf_values"]]
        depth = len(splits)
        if depth > MAX_DEPTH or len(leaves) != width << depth:
            raise damaged(f"has {len(leaves)} leaf values for {depth} splits", where)
        table.start_tree()
        # (level, bits so far) in pre-order; a subtree below level l has 2^(depth − l + 1) − 1 nodes.
        pending, at = [(0, 0)], 0
        while pending:
            level, bits = pending.pop()
            if level == depth:
                table.leaf(leaves[bits * width : (bits + 1) * width])
            else:
                no = at + 1
                yes = no + (1 << (depth - level)) - 1
                self._split(table, splits[level], where, yes=yes, no=no)
                pending += [(level + 1, bits | 1 << level), (level + 1, bits)]
            at += 1

    def _other(self, table: TreeTable, tree: Mapping[str, Any], where: str, width: int) -> None:
        """A tree of nested nodes; the right child is taken where the test holds."""
        order: list[Mapping[str, Any]] = []
        pending = [tree]
        while pending:
            node = pending.pop()
            order.append(node)
            if "split" in node:
                pending += [node["right"], node["left"]]
        place = {id(node): number for number, node in enumerate(order)}
        table.start_tree()
        for node in order:
            if "split" in node:
                self._split(table, node["split"], where, yes=place[id(node["right"])], no=place[id(node["left"])])
                continue
            values = node["value"] if isinstance(node["value"], list) else [node["value"]]
            if len(values) != width:
                raise damaged(f"has a leaf of {len(values)} values for {width}", where)
            table.leaf([float(value) for value in values])

    def _answers(self, raw: list[Value]) -> list[Output]:
        """What predict gives for the loss that the model was trained with."""
        info = self.document.get("model_info", {})
        loss = self._loss(info)
        graph = self.graph
        labels = self._labels(info)
        if loss in _TWO_CLASSES and len(raw) == 1:
            second = graph.apply("sigmoid", raw[0])
            probabilities = [graph.apply("subtract", 1.0, second), second]
            number = graph.apply("boolean_to_number", graph.apply("greater", raw[0], 0.0))
        elif loss == "MultiClass":
            probabilities, number = graph.apply_many("softmax", raw), graph.apply("argmax", *raw)
        elif loss == "MultiClassOneVsAll":
            probabilities = [graph.apply("sigmoid", value) for value in raw]
            number = graph.apply("argmax", *raw)
        elif loss in _EXPONENTIAL:
            return [declare_prediction(graph, [graph.apply("exp", value) for value in raw])]
        else:
            return [declare_prediction(graph, raw)]
        if len(labels) != len(probabilities):
            labels = list(range(len(probabilities)))
        is_text = any(isinstance(label, str) for label in labels)
        texts = [str(label) for label in labels] if is_text else [float(label) for label in labels]
        dtype = "string" if is_text else "number"
        label = graph.apply("pick", number, values=texts, dtype=dtype)
        shown = declare_prediction(graph, [label], dtype="string" if is_text else "float64")
        return [declare_prediction(graph, probabilities, "probability"), shown]

    @staticmethod
    def _loss(info: Mapping[str, Any]) -> str:
        parameters = info.get("params", {})
        parameters = json.loads(parameters) if isinstance(parameters, str) else parameters
        loss = parameters.get("loss_function", {})
        return str(loss.get("type", "") if isinstance(loss, Mapping) else loss).split(":")[0]

    @staticmethod
    def _labels(info: Mapping[str, Any]) -> list[Any]:
        parameters = info.get("class_params", {})
        parameters = json.loads(parameters) if isinstance(parameters, str) else parameters
        return list(parameters.get("class_names") or ())
