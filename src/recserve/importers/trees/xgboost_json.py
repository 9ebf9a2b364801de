"""XGBoost's JSON document (also as UBJSON), of releases 1.0 to 3.x, as a `Booster`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import unsupported
from recserve.importers.trees.booster import Booster, BoosterTree
from recserve.importers.trees.xgboost_binary import MAX_TREES, check_tree

MAX_GROUPS = 1 << 16


class _Part:
    """An object of the document and its place."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise damaged("is no object", where)
        self.value = value
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def get(self, key: str) -> Any:
        if key not in self.value:
            raise damaged(f"lacks {key!r}", self.where)
        return self.value[key]

    def part(self, key: str) -> _Part:
        return _Part(self.get(key), f"{self.where}.{key}")

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.value.get(key, default)
        try:
            return int(value)
        except (TypeError, ValueError):
            raise damaged(f"{value!r} is no whole number", f"{self.where}.{key}") from None

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise damaged(f"{value!r} is no text", f"{self.where}.{key}")
        return value

    def array(self, key: str, dtype: type) -> np.ndarray:
        try:
            return np.asarray(self.value.get(key, ()), dtype)
        except (TypeError, ValueError, OverflowError):
            raise damaged("is no list of numbers", f"{self.where}.{key}") from None


def parse_document(document: Any, where: str) -> Booster:
    """The model that a parsed document holds.

    Args:
        document: the whole document.
        where: the file, for messages.

    Raises:
        ConfigError: "damaged_model" or "unsupported_element".
    """
    top = _Part(document, where)
    learner = top.part("learner")
    version = top.array("version", np.int64).tolist() or [1, 0]
    parameters = learner.part("learner_model_param")
    features, classes = parameters.integer("num_feature"), parameters.integer("num_class", 0)
    targets = parameters.integer("num_target", 1)
    groups = max(classes, targets, 1)
    if not 0 < groups <= MAX_GROUPS or features < 0:
        raise damaged(f"has {groups} groups and {features} features", parameters.where)
    booster = learner.part("gradient_booster")
    kind = booster.text("name")
    trees: list[BoosterTree] = []
    owners: list[int] = []
    weights = np.ones(0, np.float32)
    linear = np.zeros((0, groups), np.float32)
    levels: dict[int, tuple[str | float, ...]] = {}
    if kind == "gblinear":
        linear = booster.part("model").array("weights", np.float32)
        if len(linear) != (features + 1) * groups:
            raise damaged(f"has {len(linear)} weights for {features} features", booster.where)
        linear = linear.reshape(features + 1, groups)
    elif kind in ("gbtree", "dart"):
        inner = booster.part("gbtree") if kind == "dart" else booster
        model = inner.part("model")
        trees, owners = _trees(model, features, groups, _rounds(learner))
        levels = _levels(model, features)
        weights = np.ones(len(trees), np.float32)
        if kind == "dart":
            weights = booster.array("weight_drop", np.float32)[: len(trees)]
            if len(weights) != len(trees):
                raise damaged(f"has {len(weights)} weights for {len(trees)} trees", f"{booster.where}.weight_drop")
    else:
        raise unsupported(f"the booster {kind!r} is unknown", f"{booster.where}.name")
    objective = learner.part("objective")
    return Booster(
        kind=kind,
        objective=objective.text("name"),
        version=(int(version[0]), int(version[1]) if len(version) > 1 else 0),
        features=features,
        classes=classes,
        base=_base(parameters, groups),
        trees=tuple(trees),
        groups=tuple(owners),
        weights=weights,
        linear=linear,
        names=tuple(map(str, learner.value.get("feature_names", ()))),
        types=tuple(map(str, learner.value.get("feature_types", ()))),
        levels=levels,
    )


def _base(parameters: _Part, groups: int) -> np.ndarray:
    """`5E-1`, or from 3.1 on `[5E-1]`, one a group or one for all."""
    text = str(parameters.get("base_score"))
    try:
        values = np.array([float(part) for part in text.strip("[] ").split(",")], np.float32)
    except ValueError:
        raise damaged(f"{text[:60]!r} is no number", f"{parameters.where}.base_score") from None
    if len(values) not in (1, groups):
        raise damaged(f"has {len(values)} numbers for {groups} groups", f"{parameters.where}.base_score")
    return np.broadcast_to(values, groups).copy()


def _rounds(learner: _Part) -> int | None:
    """How many rounds the scikit-learn wrapper uses: up to the best one where training stopped early; None for all."""
    attributes = learner.value.get("attributes", {})
    if not isinstance(attributes, Mapping) or "scikit_learn" not in attributes or "best_iteration" not in attributes:
        return None
    return _Part(attributes, f"{learner.where}.attributes").integer("best_iteration") + 1


def _trees(model: _Part, features: int, groups: int, rounds: int | None) -> tuple[list[BoosterTree], list[int]]:
    found = model.get("trees")
    owners = model.array("tree_info", np.int64).tolist()
    if not isinstance(found, list) or len(found) > MAX_TREES or len(owners) != len(found):
        raise damaged(f"has {len(owners)} groups for its trees", f"{model.where}.tree_info")
    if any(not 0 <= owner < groups for owner in owners):
        raise damaged(f"names a group outside of 0 … {groups - 1}", f"{model.where}.tree_info")
    if rounds is not None:
        starts = model.array("iteration_indptr", np.int64).tolist()
        parallel = model.part("gbtree_model_param").integer("num_parallel_tree", 1)
        end = starts[rounds] if rounds < len(starts) else rounds * groups * max(parallel, 1)
        found, owners = found[:end], owners[:end]
    trees = [_tree(_Part(tree, f"{model.where}.trees[{i}]"), features, groups) for i, tree in enumerate(found)]
    return trees, owners


def _tree(part: _Part, features: int, groups: int) -> BoosterTree:
    left, right = part.array("left_children", np.int32), part.array("right_children", np.int32)
    condition = part.array("split_conditions", np.float32)
    count = len(left)
    arrays = (right, condition, part.array("split_indices", np.int32), part.array("default_left", bool))
    if any(len(array) != count for array in arrays):
        raise damaged(f"its arrays are not all of {count} nodes", part.where)
    width = part.part("tree_param").integer("size_leaf_vector", 1) if "tree_param" in part else 1
    leaf = condition[:, None]
    if width > 1:
        leaf = _vector_leaves(part, left, right, width)
        if width != groups:
            raise damaged(f"has leaves of {width} numbers for {groups} groups", part.where)
    tree = BoosterTree(
        left=left,
        right=right,
        feature=arrays[2],
        threshold=condition,
        default_left=arrays[3],
        leaf=np.where((left == -1)[:, None], leaf, np.float32(0)),
        categories=_categories(part, count),
    )
    check_tree(tree, features, part.where)
    return tree


def _vector_leaves(part: _Part, left: np.ndarray, right: np.ndarray, width: int) -> np.ndarray:
    """Leaves of multi-target trees: `leaf_weights`, where a leaf's right child is its row; before 3.1 a row a node."""
    weights = part.array("leaf_weights", np.float32)
    if not len(weights):
        weights = part.array("base_weights", np.float32)
        rows = np.arange(len(left))
    else:
        rows = np.where(left == -1, right, 0)
    if len(weights) % width or np.any(rows < 0) or np.any(rows >= len(weights) // width):
        raise damaged(f"has {len(weights)} weights for {len(left)} nodes of {width}", part.where)
    return np.asarray(weights.reshape(-1, width)[rows], np.float32)


def _categories(part: _Part, count: int) -> dict[int, tuple[int, ...]]:
    nodes = part.array("categories_nodes", np.int64).tolist()
    starts, sizes = (part.array(f"categories_{name}", np.int64).tolist() for name in ("segments", "sizes"))
    values = part.array("categories", np.int64)
    if not len(nodes) == len(starts) == len(sizes):
        raise damaged("categories_nodes, _segments and _sizes differ in length", part.where)
    found = {}
    for node, start, size in zip(nodes, starts, sizes, strict=True):
        if not 0 <= node < count or start < 0 or size < 0 or start + size > len(values):
            raise damaged(f"node {node} has no categories {start} … {start + size}", part.where)
        found[node] = tuple(values[start : start + size].tolist())
    return found


def _levels(model: _Part, features: int) -> dict[int, tuple[str | float, ...]]:
    """Names of the categories, which 3.1 and later store."""
    cats = model.value.get("cats")
    if not isinstance(cats, Mapping) or not cats.get("enc"):
        return {}
    part = _Part(cats, f"{model.where}.cats")
    segments = part.array("feature_segments", np.int64).tolist()
    found: dict[int, tuple[str | float, ...]] = {}
    for number, encoding in enumerate(part.get("enc")):
        one = _Part(encoding, f"{part.where}.enc[{number}]")
        values = one.array("values", np.int64)
        if "offsets" in one and len(offsets := one.array("offsets", np.int64).tolist()):
            data = bytes(values.astype(np.uint8))
            found[number] = _texts(data, offsets, one.where)
        elif len(values) or "values" in one:
            found[number] = tuple(float(value) for value in one.array("values", np.float64))
    if len(segments) not in (0, features + 1):
        raise damaged(f"has {len(segments)} segments for {features} features", part.where)
    return {number: levels for number, levels in found.items() if levels}


def _texts(data: bytes, offsets: list[int], where: str) -> tuple[str, ...]:
    if any(not 0 <= a <= b <= len(data) for a, b in itertools.pairwise(offsets)):
        raise damaged("its offsets leave the names", where)
    try:
        return tuple(data[a:b].decode("utf-8") for a, b in itertools.pairwise(offsets))
    except UnicodeDecodeError:
        raise unsupported(
            "XGBoost cut the name of a category that is not ASCII when it saved the model",
            where,
            "Train on category codes, or rename the categories",
        ) from None
