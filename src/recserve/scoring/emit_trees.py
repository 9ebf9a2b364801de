"""Instructions of tree ensembles: which form a model can have, and its nodes laid out for the cache."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from recserve.scoring.codegen import Context, Fields, bits, emits
from recserve.scoring.graph import Node
from recserve.scoring.kernels import layout as at
from recserve.scoring.kernels.trees import (
    INNER,
    MISSING_NO,
    NODE_BYTES,
    PER_TREE,
    SHIFT,
    SLOT_MASK,
    SLOT_SHIFT,
    SUM,
    SUM_SINGLE,
)
from recserve.scoring.ops_trees import TESTS, UNKNOWN

DEEP: Final = 12
"""Trees of this depth and more end their walks at leaves; others run their depth for several rows at once."""

Params = Mapping[str, Any]


@emits("trees")
def _trees(node: Node, context: Context) -> tuple[str, Fields] | None:
    if not node.results:
        return None
    params = node.params
    if is_fast(params) and max(context.slots, default=0) <= SLOT_MASK:
        return "fast_trees", _fast(params, context)
    return "general_trees", _general(params, context)


def is_fast(params: Params) -> bool:
    """Whether all tests can be x < threshold, all trees give values, and no node has two parents."""
    inner = params["features"] >= 0
    tests, thresholds = params["tests"][inner], params["thresholds"][inner]
    is_simple = (tests <= TESTS["greater_equal"]) & np.isfinite(thresholds) & (np.abs(thresholds) < 1e308)
    branches = np.concatenate([params["yes"][inner], params["no"][inner], params["roots"]])
    return bool(
        np.all(is_simple | (tests == TESTS["true"]))
        and np.all(params["unknown"][inner] <= UNKNOWN["yes"])
        and np.all(params["rows"][~inner] >= 0)
        and len(np.unique(branches)) == len(branches)
        and len(branches) < 1 << 30
    )


@dataclass
class _Layout:
    """Nodes in the order in which walks meet them."""

    params: Params
    context: Context
    is_row: bool
    """Leaves hold the number of their row as an integer."""
    words: list[int] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)

    def add_tree(self, root: int) -> None:
        """Append a tree, level by level; both branches of a node are neighbours."""
        start, level, depth = len(self.words) // 2, [root], 0
        self.words += [0, 0]
        place = start
        while level:
            below: list[int] = []
            for node in level:
                after = len(self.words) // 2
                branches = self._write(node, place, after)
                self.words += [0, 0] * len(branches)
                below += branches
                place += 1
            level = below
            depth += bool(below)
        self.roots += [start * NODE_BYTES, depth]

    def _write(self, node: int, place: int, after: int) -> list[int]:
        params = self.params
        feature = int(params["features"][node])
        if feature < 0:
            row = int(params["rows"][node])
            self.words[2 * place : 2 * place + 2] = [self._leaf(row), (place * NODE_BYTES) << SHIFT]
            return []
        test, threshold = int(params["tests"][node]), float(params["thresholds"][node])
        swaps = test in {TESTS["greater"], TESTS["greater_equal"], TESTS["true"]}
        if test == TESTS["true"]:
            threshold = 0.5
        elif test in {TESTS["less_equal"], TESTS["greater"]}:
            threshold = math.nextafter(threshold, math.inf)  # x <= t is x < the next number
        branches = [int(params["no" if swaps else "yes"][node]), int(params["yes" if swaps else "no"][node])]
        takes_first = (int(params["unknown"][node]) == UNKNOWN["yes"]) != swaps
        slot = self.context.slots[feature]
        packed = (0 if takes_first else MISSING_NO) | INNER | (slot << SLOT_SHIFT) | ((after * NODE_BYTES) << SHIFT)
        self.words[2 * place : 2 * place + 2] = [bits(threshold), packed]
        return branches

    def _leaf(self, row: int) -> int:
        if self.params["output"] == "rows":
            return bits(float(row))
        return row if self.is_row else bits(float(self.params["values"][row, 0]))


def _form(params: Params) -> int:
    if params["output"] != "sum":
        return PER_TREE
    return SUM_SINGLE if params["precision"] == "float" else SUM


def _base(params: Params, context: Context) -> int:
    base = params["base"]
    return context.constants.array(np.zeros(params["values"].shape[1]) if base is None else base)


def _fast(params: Params, context: Context) -> Fields:
    is_row = params["output"] == "sum" and params["values"].shape[1] != 1
    layout = _Layout(params, context, is_row)
    for root in params["roots"].tolist():
        layout.add_tree(root)
    return {
        at.P0: context.constants.array(np.array(layout.words, np.int64)),
        at.P1: _form(params),
        at.P2: _base(params, context),
        at.P3: context.constants.array(np.array(layout.roots, np.int64)),
        at.P4: len(params["roots"]),
        at.P5: context.constants.array(params["values"]) if is_row else 0,
        at.P6: DEEP,
    }


def _sets(params: Params, context: Context) -> int:
    """Address of (address, count) of each set, its values ascending."""
    described: list[int] = []
    for values in params["sets"]:
        encoded = sorted({context.encode(value) for value in values})
        described += [context.constants.array(np.array(encoded, np.float64)), len(encoded)]
    return context.constants.array(np.array(described, np.int64))


def _table(params: Params, context: Context, names: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """int64[nodes, 8]: test, slot, and the columns of these names."""
    table = np.zeros((len(params["features"]), 8), np.int64)
    slots = np.array([*context.slots, 0], np.int64)
    table[:, 0] = params["tests"]
    table[:, 1] = slots[np.clip(params["features"], -1, len(slots) - 2)]
    for i, name in enumerate(names):
        table[:, 2 + i] = params[name]
    return table


def _general(params: Params, context: Context) -> Fields:
    table = _table(params, context, ("yes", "no", "unknown", "rows"))
    table[:, 6] = params["features"] >= 0
    values = 0 if params["output"] == "rows" else context.constants.array(params["values"])
    about = [len(params["roots"]), _form(params), int(params["skip_missing"]), _base(params, context), values]
    about += [params["values"].shape[1], *params["roots"].tolist()]
    return {
        at.P0: context.constants.array(table),
        at.P1: context.constants.array(params["thresholds"]),
        at.P2: _sets(params, context),
        at.P3: context.constants.array(np.array(about, np.int64)),
    }


@emits("tree")
def _tree(node: Node, context: Context) -> tuple[str, Fields]:
    params = node.params
    return "tree", {
        at.P0: context.constants.array(_table(params, context, ("child", "sibling", "default", "rows"))),
        at.P1: context.constants.array(params["thresholds"]),
        at.P2: _sets(params, context),
        at.P3: ("none", "null", "last", "default").index(params["missing"]),
        at.P4: int(params["no_true_child"] == "last"),
    }
