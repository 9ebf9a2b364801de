"""An XGBoost model as read from any of its files, before it is lowered."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class BoosterTree:
    """One regression tree; all arrays have one entry a node, the root first.

    Attributes:
        left, right: int32 [nodes] children; −1 in a leaf.
        feature: int32 [nodes] that the node tests.
        threshold: float32 [nodes]: a row goes left if its float32 value is below.
        default_left: bool [nodes]: where a missing value goes.
        leaf: float32 [nodes, width]: scores of leaves.
        categories: node → category codes that go right, for splits of categories.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    default_left: np.ndarray
    leaf: np.ndarray
    categories: dict[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Booster:
    """A model.

    Attributes:
        kind: "gbtree", "dart" or "gblinear".
        objective: such as "binary:logistic".
        version: (major, minor) of the XGBoost that wrote it.
        features: how many.
        classes: num_class; 0 where the objective has none.
        base: float32 [groups], on the scale of the answer (before the link) from version 1.0 on.
        trees: of gbtree and dart, in the order of the sum.
        groups: of each tree the output group that it adds to.
        weights: of dart, float32 [trees]; ones otherwise.
        linear: of gblinear, float32 [features + 1, groups], the bias last; empty otherwise.
        names: of the features; empty where the file has none.
        types: of the features, "c" for categories; empty where the file has none.
        levels: feature → its categories in code order, where the file has them.
    """

    kind: str
    objective: str
    version: tuple[int, int]
    features: int
    classes: int
    base: np.ndarray
    trees: tuple[BoosterTree, ...]
    groups: tuple[int, ...]
    weights: np.ndarray
    linear: np.ndarray
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    levels: dict[int, tuple[str | float, ...]] = field(default_factory=dict)

    @property
    def outputs(self) -> int:
        """How many sums a row has."""
        return len(self.base)
