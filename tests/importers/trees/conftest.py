"""Random XGBoost models in the binary form and as documents, and their slow evaluation."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Tree = dict[str, list[Any]]


def random_tree(rng: np.random.Generator, features: int, depth: int = 3) -> Tree:
    """Node arrays, children after their parent."""
    tree: Tree = {name: [] for name in ("left", "right", "feature", "condition", "default_left")}

    def grow(level: int) -> int:
        node = len(tree["left"])
        is_leaf = level == depth or rng.random() < 0.2
        condition = np.float32(rng.normal())
        for name, value in (("left", -1), ("right", -1), ("feature", int(rng.integers(features)))):
            tree[name].append(value)
        tree["condition"].append(float(condition))
        tree["default_left"].append(bool(rng.integers(2)))
        if not is_leaf:
            tree["left"][node] = grow(level + 1)
            tree["right"][node] = grow(level + 1)
        return node

    grow(0)
    return tree


def evaluate(tree: Tree, row: np.ndarray) -> np.float32:
    """One row of float32, NaN for missing, through a tree."""
    node = 0
    while tree["left"][node] != -1:
        x = np.float32(row[tree["feature"][node]])
        left = tree["default_left"][node] if np.isnan(x) else x < np.float32(tree["condition"][node])
        node = tree["left" if left else "right"][node]
    return np.float32(tree["condition"][node])


def write_binary(  # noqa: PLR0917  (what the file has)
    trees: list[Tree],
    objective: str,
    features: int,
    groups: int = 1,
    base: float = 0.5,
    version: tuple[int, int] = (1, 6),
) -> bytes:
    """XGBoost's binary file of a gbtree."""
    classes = groups if groups > 1 else 0
    parts = [b"binf", struct.pack("<fIiiiII", base, features, classes, 0, 0, *version), bytes(4 * 27)]
    parts += [struct.pack("<q", len(text)) + text.encode() for text in (objective, "gbtree")]
    parts.append(struct.pack("<i", len(trees)) + bytes(39 * 4))
    for tree in trees:
        count = len(tree["left"])
        parts.append(struct.pack("<ii", 1, count) + bytes(35 * 4))
        for i in range(count):
            split = tree["feature"][i] | (tree["default_left"][i] << 31)
            parts.append(struct.pack("<iiiIf", -1, tree["left"][i], tree["right"][i], split, tree["condition"][i]))
        parts.append(bytes(16 * count))
    parts.append(struct.pack(f"<{len(trees)}i", *(i % groups for i in range(len(trees)))))
    return b"".join(parts)


def write_document(
    trees: list[Tree], objective: str, features: int, groups: int = 1, base: str = "5E-1"
) -> dict[str, Any]:
    """The same model as XGBoost's JSON document."""
    found = [
        {
            "left_children": tree["left"],
            "right_children": tree["right"],
            "split_indices": tree["feature"],
            "split_conditions": tree["condition"],
            "default_left": [int(x) for x in tree["default_left"]],
            "tree_param": {"size_leaf_vector": "1"},
        }
        for tree in trees
    ]
    classes = groups if groups > 1 else 0
    model = {"trees": found, "tree_info": [i % groups for i in range(len(trees))]}
    return {
        "learner": {
            "learner_model_param": {"base_score": base, "num_feature": str(features), "num_class": str(classes)},
            "gradient_booster": {"name": "gbtree", "model": model},
            "objective": {"name": objective},
        },
        "version": [2, 1, 0],
    }


@pytest.fixture
def tree_model() -> dict[str, Callable[..., Any]]:
    """The functions of this file by name."""
    return {f.__name__: f for f in (random_tree, evaluate, write_binary, write_document)}
