"""Decision trees of pipelines, gathered into one tree op of the scoring core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.pieces import Array
from recserve.importers.pipelines.vectors import Vector
from recserve.scoring.graph import Value
from recserve.scoring.ops_trees import TESTS, UNKNOWN


@dataclass(frozen=True)
class Leaf:
    """The end of a tree: what it gives."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Split:
    """A test of one element of the vector.

    Attributes:
        feature: position of the element.
        threshold: yes where x <= threshold (`test` less_equal) or x < threshold (less).
        categories: yes where x is one of these, or where `test` is not_in, none of these; `threshold` is not used then.
        yes: number of the next node in the tree's list.
        no: number of the other.
        missing_yes: whether a missing value, or NaN, goes to `yes`.
        test: less_equal, less, or not_in.
    """

    feature: int
    threshold: float
    categories: tuple[float, ...] | None
    yes: int
    no: int
    missing_yes: bool = False
    test: str = "less_equal"


Tree = Sequence[Split | Leaf]
"""Nodes; the root is the first, and each node comes before its branches."""


@dataclass
class _Nodes:
    """The arrays of the tree op, as they grow."""

    features: list[int] = field(default_factory=list)
    tests: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    sets: list[tuple[float | str, ...]] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    values: list[Sequence[float]] = field(default_factory=list)
    arguments: list[Value] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)  # of arguments, by the number of their value

    def argument(self, value: Value) -> int:
        """The position of a value among the arguments."""
        if value.number not in self.places:
            self.places[value.number] = len(self.arguments)
            self.arguments.append(value)
        return self.places[value.number]


def _add_split(nodes: _Nodes, vector: Vector, split: Split, base: int) -> None:
    """Append a test; one of a one-hot element tests the key of the code instead, which saves computing the element."""
    test, threshold, yes, no = TESTS[split.test], split.threshold, split.yes, split.no
    code = vector.code_at(split.feature)
    if code is not None and split.categories is None:
        piece, i = code
        on, off = (_passes(split, float(values[i])) for values in (piece.on, piece.off))
        argument = piece.key
        if on == off:
            yes = no = yes if on else no
        elif off:
            yes, no = no, yes
        test, threshold = TESTS["in"], float(len(nodes.sets))
        nodes.sets.append((piece.keys[i],))
        missing_yes = piece.missing == i
    else:
        argument, missing_yes = vector.element(split.feature), split.missing_yes
        if split.categories is not None:
            test, threshold = TESTS["not_in" if split.test == "not_in" else "in"], float(len(nodes.sets))
            nodes.sets.append(tuple(sorted(split.categories)))
    nodes.features.append(nodes.argument(argument))
    nodes.tests.append(test)
    nodes.thresholds.append(threshold)
    nodes.rows.append(-1)
    nodes.yes.append(base + yes)
    nodes.no.append(base + no)
    nodes.unknown.append(UNKNOWN["yes" if missing_yes else "no"])


def _passes(split: Split, x: float) -> bool:
    return x <= split.threshold if split.test == "less_equal" else x < split.threshold


def _add_leaf(nodes: _Nodes, values: Sequence[float]) -> None:
    nodes.features.append(-1)
    nodes.tests.append(0)
    nodes.thresholds.append(0.0)
    nodes.rows.append(len(nodes.values))
    nodes.values.append(values)
    nodes.yes.append(-1)
    nodes.no.append(-1)
    nodes.unknown.append(0)


def sum_trees(
    vector: Vector,
    trees: Iterable[Tree],
    leaf: Callable[[int, Sequence[float]], Sequence[float]],
    base: Array | None = None,
) -> list[Value]:
    """The sum over all trees of what their leaves give, one result a column.

    Args:
        vector: that is tested.
        trees: in the order of the sum.
        leaf: what leaf values of tree number i add to the sum.
        base: that the sum starts from; zeros for None.

    Raises:
        ConfigError: "invalid_model" where a tree is empty, or leaves differ in width.
    """
    nodes = _Nodes()
    for number, tree in enumerate(trees):
        if not tree:
            raise ConfigError(f"tree {number} has no node", code="invalid_model")
        start = len(nodes.features)
        nodes.roots.append(start)
        for node in tree:
            if isinstance(node, Split):
                _add_split(nodes, vector, node, start)
            else:
                _add_leaf(nodes, leaf(number, node.values))
    widths = {len(values) for values in nodes.values}
    if len(widths) != 1:
        raise ConfigError(f"the leaves have {sorted(widths)} values; all need as many", code="invalid_model")
    return vector.graph.apply_many(
        "trees",
        nodes.arguments,
        features=nodes.features,
        tests=nodes.tests,
        thresholds=nodes.thresholds,
        rows=nodes.rows,
        yes=nodes.yes,
        no=nodes.no,
        unknown=nodes.unknown,
        sets=nodes.sets,
        roots=nodes.roots,
        values=np.array(nodes.values, dtype=np.float64),
        base=base,
    )


def in_preorder(lines: Sequence[Split | Leaf]) -> list[Split | Leaf]:
    """Nodes written root, left, right, with the numbers of their branches filled in.

    Raises:
        ConfigError: "invalid_model" where nodes are lacking or left over.
    """
    result: list[Split | Leaf] = list(lines)
    waiting: list[tuple[int, bool]] = []  # (split, whether its first branch is known)
    for i, node in enumerate(lines):
        if i and not waiting:
            raise ConfigError(f"the tree ends at node {i} of {len(lines)}", code="invalid_model")
        if waiting:
            parent, is_second = waiting.pop()
            known = result[parent]
            assert isinstance(known, Split)
            yes, no = (known.yes, i) if is_second else (i, known.no)
            result[parent] = Split(
                known.feature, known.threshold, known.categories, yes, no, known.missing_yes, known.test
            )
            if not is_second:
                waiting.append((parent, True))
        if isinstance(node, Split):
            waiting.append((i, False))
    if waiting or not lines:
        raise ConfigError(f"the tree is cut off after {len(lines)} nodes", code="invalid_model")
    return result
