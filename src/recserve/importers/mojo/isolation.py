"""Extended isolation forests: trees that cut by planes."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import Info
from recserve.importers.mojo.prediction import Prediction
from recserve.importers.mojo.shared_trees import MAX_TREES
from recserve.scoring.graph import Graph, Value

EULER = 0.5772156649  # as many digits as H2O takes
_NODE, _LEAF = ord("N"), ord("L")


@dataclass(frozen=True)
class PlaneNode:
    """A node: a plane by its normal and a point, both float64 [columns], or a leaf with its number of training rows."""

    normal: np.ndarray | None
    point: np.ndarray | None
    rows: int = 0


def lower_extended_isolation(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """The anomaly score 2^(−mean path / expected path), and the mean path length."""
    count, sample = info.count("ntrees", MAX_TREES, 0), info.integer("sample_size", 0)
    if not count:
        raise damaged("the forest has no trees", info.where("ntrees"))
    nodes: list[tuple[PlaneNode, int, int, float]] = []
    roots = []
    for number in range(count):
        name = f"trees/t{number:02d}.bin"
        roots.append(len(nodes))
        nodes += _flat(read_plane_tree(info.archive.data(name), len(row), info.archive.where(name)), len(nodes))
    nothing = np.zeros(len(row))
    total = graph.apply(
        "plane_trees",
        *row,
        normals=np.array([nothing if node.normal is None else node.normal for node, *_ in nodes]),
        points=np.array([nothing if node.point is None else node.point for node, *_ in nodes]),
        yes=[yes for _, yes, _, _ in nodes],
        no=[no for _, _, no, _ in nodes],
        values=[value for *_, value in nodes],
        roots=roots,
    )
    mean = graph.apply("divide", total, float(count))
    expected = average_path(sample)
    power = graph.apply("negate", graph.apply("divide", mean, expected))
    return Prediction(graph.apply("power", 2.0, power), (mean,), ("anomaly_score", "mean_length"))


def _flat(nodes: dict[int, PlaneNode], start: int) -> list[tuple[PlaneNode, int, int, float]]:
    """(node, left, right, path length) of a tree whose root is number `start` of all; −1 for a leaf's children."""
    place = {number: start + position for position, number in enumerate(sorted(nodes))}
    found = []
    for number in sorted(nodes):
        node = nodes[number]
        if node.normal is None:
            height = (number + 1).bit_length() - 1
            found.append((node, -1, -1, height + average_path(node.rows)))
        else:
            found.append((node, place[2 * number + 1], place[2 * number + 2], 0.0))
    return found


def read_plane_tree(data: bytes, columns: int, where: str) -> dict[int, PlaneNode]:
    """The nodes of a tree by number: the children of n are 2n + 1 (at or below the plane) and 2n + 2.

    Raises:
        ConfigError: "damaged_model": the bytes end early, or hold a node that is no child of an earlier one.
    """
    nodes: dict[int, PlaneNode] = {}
    due = {0}
    try:
        (width,) = struct.unpack_from("<i", data, 0)
        if width != columns:
            raise damaged(f"has planes of {width} columns for {columns}", where)
        at = 4
        while due:  # H2O leaves zeros behind the last node
            number, kind = struct.unpack_from("<iB", data, at)
            at += 5
            if number not in due:
                raise damaged(f"has node {number} at byte {at - 5}, which no earlier node has as a child", where)
            due.remove(number)
            if kind == _NODE:
                values = np.frombuffer(data, "<f8", 2 * width, at).astype(np.float64)
                nodes[number] = PlaneNode(values[:width], values[width:])
                at += 16 * width
                due |= {2 * number + 1, 2 * number + 2}
            elif kind == _LEAF:
                nodes[number] = PlaneNode(None, None, struct.unpack_from("<i", data, at)[0])
                at += 4
            else:
                raise damaged(f"has a node of kind {kind} at byte {at - 1}", where)
    except (struct.error, ValueError):
        raise damaged(f"the tree's {len(data)} bytes end inside a node", where) from None
    return nodes


def average_path(rows: int) -> float:
    """Expected length of an unsuccessful search among `rows` entries."""
    if rows < 2:
        return 0.0
    return 1.0 if rows == 2 else 2 * (math.log(rows - 1) + EULER) - 2.0 * (rows - 1.0) / rows
