"""XGBoost's old binary file, which H2O still stores in its MOJOs: little-endian structs."""

from __future__ import annotations

import struct

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.trees.booster import Booster, BoosterTree

MAX_TREES = 1 << 20
_NODE = np.dtype([("parent", "<i4"), ("left", "<i4"), ("right", "<i4"), ("split", "<u4"), ("value", "<f4")])
_STATISTICS = np.dtype("V16")  # of a node; scoring does not need them
_KINDS = ("gbtree", "dart", "gblinear")


class _Cursor:
    """Reads structs one after another."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def read(self, form: str) -> tuple[int, ...]:
        values: tuple[int, ...] = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def array(self, dtype: np.dtype, count: int) -> np.ndarray:
        if count < 0:
            raise ValueError
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += dtype.itemsize * count
        return values

    def text(self) -> str:
        (length,) = self.read("q")
        if not 0 <= length <= len(self.data) - self.at:
            raise ValueError
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")


def parse_binary(data: bytes, where: str) -> Booster:
    """The model in XGBoost's binary form.

    Raises:
        ConfigError: "damaged_model": the bytes end early or contradict themselves.
    """
    cursor = _Cursor(data)
    try:
        return _parse(cursor, where)
    except (struct.error, ValueError, UnicodeDecodeError):
        raise damaged(f"the booster's {len(data)} bytes end early or are wrong near byte {cursor.at}", where) from None


def _parse(cursor: _Cursor, where: str) -> Booster:
    if cursor.data[:4] == b"binf":
        cursor.at = 4
    (base,) = cursor.read("f")
    features, classes, _, _, major, minor = cursor.read("IiiiII")
    cursor.at += 4 * 27
    objective, kind = cursor.text(), cursor.text()
    if kind not in _KINDS:
        raise damaged(f"the booster {kind[:40]!r} is none of {', '.join(_KINDS)}", where)
    groups = max(classes, 1)
    trees: tuple[BoosterTree, ...] = ()
    tree_groups: tuple[int, ...] = ()
    weights = np.ones(0, np.float32)
    linear = np.zeros((0, groups), np.float32)
    if kind == "gblinear":
        cursor.at += 4 * 34
        (count,) = cursor.read("Q")
        values = cursor.array(np.dtype("<f4"), count) if count else np.zeros((features + 1) * groups, np.float32)
        linear = values.astype(np.float32).reshape(features + 1, groups)
    else:
        trees, tree_groups = _read_trees(cursor, features, groups, where)
        weights = np.ones(len(trees), np.float32)
        if kind == "dart" and trees:
            (count,) = cursor.read("Q")
            weights = cursor.array(np.dtype("<f4"), count).astype(np.float32)
            if count != len(trees):
                raise damaged(f"has {count} weights for {len(trees)} trees", where)
    return Booster(
        kind=kind,
        objective=objective,
        version=(major, minor),
        features=features,
        classes=classes,
        base=np.full(groups, base, np.float32),
        trees=trees,
        groups=tree_groups,
        weights=weights,
        linear=linear,
    )


def _read_trees(
    cursor: _Cursor, features: int, groups: int, where: str
) -> tuple[tuple[BoosterTree, ...], tuple[int, ...]]:
    count = cursor.read("i")[0]
    if not 0 <= count <= MAX_TREES:
        raise damaged(f"has {count} trees; {MAX_TREES} are allowed", where)
    cursor.at += 39 * 4
    trees = tuple(_read_tree(cursor, features, f"{where}: tree {number}") for number in range(count))
    order = tuple(cursor.array(np.dtype("<i4"), count).tolist()) if count else ()
    if any(not 0 <= group < groups for group in order):
        raise damaged(f"has a tree of a group outside of 0 … {groups - 1}", where)
    return trees, order


def _read_tree(cursor: _Cursor, features: int, where: str) -> BoosterTree:
    _, count = cursor.read("ii")
    cursor.at += 35 * 4
    nodes = cursor.array(_NODE, count)
    cursor.array(_STATISTICS, count)
    leaf = nodes["left"] == -1
    value = nodes["value"].astype(np.float32)
    tree = BoosterTree(
        left=nodes["left"].astype(np.int32),
        right=nodes["right"].astype(np.int32),
        feature=(nodes["split"] & 0x7FFFFFFF).astype(np.int32),
        threshold=np.where(leaf, np.float32(0), value),
        default_left=(nodes["split"] >> 31).astype(bool),
        leaf=np.where(leaf, value, np.float32(0))[:, None],
    )
    check_tree(tree, features, where)
    return tree


def check_tree(tree: BoosterTree, features: int, where: str) -> None:
    """Refuse a tree that is none: children outside, shared or in a circle, a feature that the model lacks.

    Raises:
        ConfigError: "damaged_model".
    """
    count = len(tree.left)
    inner = np.flatnonzero(tree.left != -1)
    if count == 0:
        raise damaged("has no nodes", where)
    if np.any((tree.feature[inner] < 0) | (tree.feature[inner] >= features)):
        raise damaged(f"tests a feature outside of 0 … {features - 1}", where)
    seen = np.zeros(count, bool)
    pending = [0]
    while pending:
        node = pending.pop()
        if not 0 <= node < count or seen[node]:
            raise damaged(f"node {node} is outside of the tree or reached twice", where)
        seen[node] = True
        if tree.left[node] != -1:
            pending += [int(tree.left[node]), int(tree.right[node])]
