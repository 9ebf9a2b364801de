"""LightGBM's text file, versions v2 to v4, as trees."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import unsupported

MAX_TREES = 1 << 20
VERSIONS = ("v2", "v3", "v4")


@dataclass(frozen=True)
class LeafModel:
    """The linear model in a leaf: Σ coefficient · feature + constant; the leaf's value where a feature is missing."""

    constant: float
    features: tuple[int, ...]
    coefficients: tuple[float, ...]


@dataclass(frozen=True)
class LightTree:
    """One tree. Children: a node's number, or −1 − the leaf's.

    Attributes:
        feature, threshold, decision, left, right: one entry an inner node; bits of `decision`: 0 categories, 1 missing
            goes left, 2–3 what is missing (0 nothing, 1 zero and NaN, 2 NaN).
        values: of the leaves.
        sets: category codes that go left, by the number that is the threshold of a split of categories.
        linear: a model a leaf; empty for constant leaves.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    decision: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    values: tuple[float, ...]
    sets: tuple[tuple[int, ...], ...]
    linear: tuple[LeafModel, ...]


@dataclass(frozen=True)
class LightModel:
    """A model.

    Attributes:
        names: of the features.
        infos: of the features: `[low:high]`, `none`, or the category codes.
        groups: sums a row has; tree i adds to sum i modulo groups.
        objective: name and options, such as ("binary", {"sigmoid": "1"}); the name is "" for none.
        average: whether the sums are divided by the number of iterations.
        trees: in the order of the sum.
        levels: feature → its categories in code order, of pandas columns.
    """

    names: tuple[str, ...]
    infos: tuple[str, ...]
    groups: int
    objective: tuple[str, dict[str, str]]
    average: bool
    trees: tuple[LightTree, ...]
    levels: dict[int, tuple[str | float, ...]]


class _Section:
    """Lines `key=value` and their place."""

    def __init__(self, lines: list[str], where: str) -> None:
        self.where = where
        self.values = {line.partition("=")[0]: line.partition("=")[2] for line in lines if line}

    def text(self, key: str) -> str:
        if key not in self.values:
            raise damaged(f"lacks {key!r}", self.where)
        return self.values[key]

    def integer(self, key: str) -> int:
        try:
            return int(self.text(key))
        except ValueError:
            raise damaged(f"{key} is {self.values[key][:40]!r}, no whole number", self.where) from None

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        return tuple(self._parse(key, count, float))

    def integers(self, key: str, count: int) -> tuple[int, ...]:
        return tuple(self._parse(key, count, int))

    def _parse(self, key: str, count: int, kind: Any) -> list[Any]:
        try:
            found = [kind(part) for part in self.text(key).split()]
        except ValueError:
            raise damaged(f"{key} has what is no number", self.where) from None
        if len(found) != count:
            raise damaged(f"{key} has {len(found)} numbers where {count} are due", self.where)
        return found


def parse_text(text: str, where: str) -> LightModel:
    """The model that a text file holds.

    Raises:
        ConfigError: "damaged_model", or "unsupported_element" for another version of the format.
    """
    head, *blocks = text.replace("\r\n", "\n").split("\nTree=")
    lines = head.split("\n")
    if lines[0].strip() != "tree":
        raise damaged(f"begins with {lines[0][:40]!r}, not 'tree'", f"{where}: line 1")
    section = _Section(lines[1:], f"{where}: header")
    if (version := section.values.get("version", "v2")) not in VERSIONS:
        raise unsupported(f"version {version!r} is none of {', '.join(VERSIONS)}", section.where)
    names, infos = section.text("feature_names").split(" "), section.text("feature_infos").split(" ")
    width = section.integer("max_feature_idx") + 1
    groups = section.integer("num_tree_per_iteration")
    if len(names) != width or len(infos) != width or groups < 1 or len(blocks) > MAX_TREES:
        raise damaged(f"has {len(names)} names and {len(infos)} infos of {width} features", section.where)
    if "tree_sizes" in section.values and len(section.text("tree_sizes").split()) != len(blocks):
        raise damaged(f"holds {len(blocks)} trees of {len(section.text('tree_sizes').split())}", section.where)
    if "end of trees" not in text:
        raise damaged("ends before `end of trees`", where)
    trees = tuple(_parse_tree(block, number, width, where) for number, block in enumerate(blocks))
    name, *options = section.values.get("objective", "").split(" ")
    pairs = {part.partition(":")[0]: part.partition(":")[2] for part in options}
    return LightModel(
        names=tuple(names),
        infos=tuple(infos),
        groups=groups,
        objective=(name, pairs),
        average="average_output" in section.values,
        trees=trees,
        levels=_parse_levels(text, infos, where),
    )


def _parse_tree(block: str, number: int, width: int, where: str) -> LightTree:
    body = block.partition("\n\n")[0].partition("end of trees")[0]
    section = _Section(body.split("\n")[1:], f"{where}: Tree={number}")
    leaves = section.integer("num_leaves")
    inner = leaves - 1
    if leaves < 1:
        raise damaged(f"has {leaves} leaves", section.where)
    values = section.numbers("leaf_value", leaves)
    is_linear = section.values.get("is_linear", "0").strip() == "1"
    linear = _parse_linear(section, leaves, width) if is_linear else ()
    if not inner:
        return LightTree((), (), (), (), (), values, (), linear)
    tree = LightTree(
        feature=section.integers("split_feature", inner),
        threshold=section.numbers("threshold", inner),
        decision=section.integers("decision_type", inner),
        left=section.integers("left_child", inner),
        right=section.integers("right_child", inner),
        values=values,
        sets=_parse_sets(section),
        linear=linear,
    )
    _check(tree, width, section.where)
    return tree


def _parse_sets(section: _Section) -> tuple[tuple[int, ...], ...]:
    count = section.integer("num_cat") if "num_cat" in section.values else 0
    if count < 1:
        return ()
    bounds = section.integers("cat_boundaries", count + 1)
    words = section.integers("cat_threshold", bounds[-1])
    if any(b < a for a, b in itertools.pairwise(bounds)) or any(not 0 <= word < 2**32 for word in words):
        raise damaged("its cat_boundaries or cat_threshold are wrong", section.where)
    found = []
    for start, end in itertools.pairwise(bounds):
        bits = np.unpackbits(np.array(words[start:end], "<u4").view(np.uint8), bitorder="little")
        found.append(tuple(np.flatnonzero(bits).tolist()))
    return tuple(found)


def _parse_linear(section: _Section, leaves: int, width: int) -> tuple[LeafModel, ...]:
    constants = section.numbers("leaf_const", leaves)
    counts = section.integers("num_features", leaves)
    features = section.integers("leaf_features", sum(counts))
    coefficients = section.numbers("leaf_coeff", sum(counts))
    if any(not 0 <= feature < width for feature in features) or any(count < 0 for count in counts):
        raise damaged("a leaf's model names a feature that the model lacks", section.where)
    found, at = [], 0
    for constant, count in zip(constants, counts, strict=True):
        found.append(LeafModel(constant, features[at : at + count], coefficients[at : at + count]))
        at += count
    return tuple(found)


def _check(tree: LightTree, width: int, where: str) -> None:
    """Refuse children outside of the tree or reached twice, and features or sets that do not exist."""
    seen: set[int] = set()
    pending = [0]
    while pending:
        node = pending.pop()
        outside = node >= len(tree.feature) or node < -len(tree.values)
        if outside or node in seen:
            raise damaged(f"node {node} is outside of the tree or reached twice", where)
        seen.add(node)
        if node < 0:
            continue
        if not 0 <= tree.feature[node] < width:
            raise damaged(f"node {node} tests feature {tree.feature[node]} of {width}", where)
        if tree.decision[node] & 1 and not 0 <= tree.threshold[node] < len(tree.sets):
            raise damaged(f"node {node} tests category set {tree.threshold[node]} of {len(tree.sets)}", where)
        pending += [tree.right[node], tree.left[node]]


def _parse_levels(text: str, infos: list[str], where: str) -> dict[int, tuple[str | float, ...]]:
    """Categories of pandas columns, from the last line; they belong to the categorical features in order."""
    mark = "\npandas_categorical:"
    if mark not in text:
        return {}
    line = text.rpartition(mark)[2].partition("\n")[0]
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise damaged(f"is no JSON: {error}", f"{where}: pandas_categorical") from None
    if not found:
        return {}
    categorical = [number for number, info in enumerate(infos) if not info.startswith("[") and info != "none"]
    if not isinstance(found, list) or len(found) != len(categorical):
        raise unsupported(
            f"{len(found)} pandas columns for {len(categorical)} categorical features: which is which is not stored",
            f"{where}: pandas_categorical",
        )
    levels: dict[int, tuple[str | float, ...]] = {}
    for number, values in zip(categorical, found, strict=True):
        is_text = all(isinstance(value, str) for value in values)
        levels[number] = tuple(values) if is_text else tuple(float(value) for value in values)
    return levels
