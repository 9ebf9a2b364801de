"""Collects the nodes of an ensemble into the tables of the scoring core's `trees` op."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recserve.scoring.graph import Graph, Value
from recserve.scoring.ops_trees import TESTS, UNKNOWN


class TreeTable:
    """Trees under construction, one after the other, each from its root on.

    Args:
        width: numbers in a leaf.
    """

    def __init__(self, width: int = 1) -> None:
        self.width = width
        self.roots: list[int] = []
        self._nodes: list[tuple[int, int, float, int, int, int, int]] = []
        self._values: list[Sequence[float]] = []
        self._sets: dict[tuple[float, ...], int] = {}
        self._start = 0

    def start_tree(self) -> None:
        """The next node is the root of a new tree; positions of children count from it."""
        self._start = len(self._nodes)
        self.roots.append(self._start)

    def leaf(self, values: Sequence[float]) -> None:
        """A leaf with its numbers."""
        self._nodes.append((-1, 0, 0.0, 0, 0, 0, len(self._values)))
        self._values.append(values)

    def split(self, feature: int, test: str, threshold: float, *, yes: int, no: int, unknown: str) -> None:
        """A node that tests argument `feature`: go to node `yes` or `no` of this tree, both later than this one.

        `unknown` ("yes", "no", "missing", "stop") says what a missing argument does.
        """
        ways = (self._start + yes, self._start + no, UNKNOWN[unknown])
        self._nodes.append((feature, TESTS[test], threshold, *ways, -1))

    def split_in(self, feature: int, values: Sequence[float], *, yes: int, no: int, unknown: str) -> None:
        """A node that tests whether an argument is one of some numbers."""
        key = tuple(float(value) for value in values)
        number = self._sets.setdefault(key, len(self._sets))
        self.split(feature, "in", float(number), yes=yes, no=no, unknown=unknown)

    def lower(
        self,
        graph: Graph,
        arguments: Sequence[Value],
        *,
        base: Sequence[float] | None = None,
        precision: str = "double",
        output: str = "sum",
    ) -> list[Value]:
        """The op's results: see `trees` in the scoring core. Arguments that no node tests are left out."""
        columns = np.array(self._nodes, np.float64).reshape(len(self._nodes), 7)
        features = columns[:, 0].astype(np.int64)
        used = sorted(set(features.tolist()) - {-1})
        place = np.full(len(arguments) + 1, -1, np.int64)
        place[used] = np.arange(len(used))
        names = ("tests", "thresholds", "yes", "no", "unknown", "rows")
        tables = {
            name: columns[:, i] if name == "thresholds" else columns[:, i].astype(np.int64)
            for i, name in enumerate(names, 1)
        }
        return graph.apply_many(
            "trees",
            [arguments[feature] for feature in used],
            features=place[features],
            **tables,
            sets=list(self._sets),
            roots=self.roots,
            values=np.array(self._values, np.float64).reshape(len(self._values), self.width),
            base=base,
            output=output,
            precision=precision,
        )
