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
from recserve.importers.trees.table import TreeTable
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
    table = TreeTable(width=1)
    normals: list[np.ndarray] = []
    levels: list[float] = []
    for number in range(count):
        name = f"trees/t{number:02d}.bin"
        nodes = read_plane_tree(info.archive.data(name), len(row), info.archive.where(name))
        _add_tree(table, nodes, normals, levels)
    planes: list[Value] = []
    if normals:
        weights = np.stack(normals, axis=1)
        planes = graph.apply_many("dense", row, weights=weights, bias=-np.array(levels))
    total = table.lower(graph, planes)[0]
    mean = graph.apply("divide", total, float(count))
    expected = average_path(sample)
    power = graph.apply("negate", graph.apply("divide", mean, expected))
    return Prediction(graph.apply("power", 2.0, power), (mean,), ("anomaly_score", "mean_length"))


def _add_tree(
    table: TreeTable, nodes: dict[int, PlaneNode], normals: list[np.ndarray], levels: list[float]
) -> None:
    table.start_tree()
    order = sorted(nodes)
    place = {number: position for position, number in enumerate(order)}
    for number in order:
        node = nodes[number]
        if node.normal is None or node.point is None:
            height = (number + 1).bit_length() - 1
            table.leaf([height + average_path(node.rows)])
            continue
        left, right = place[2 * number + 1], place[2 * number + 2]
        table.split(len(normals), "less_equal", 0.0, yes=left, no=right, unknown="no")
        normals.append(node.normal)
        levels.append(float(node.normal @ node.point))


def read_plane_tree(data: bytes, columns: int, where: str) -> dict[int, PlaneNode]:
    """The nodes of a tree by number: the children of n are 2n + 1 (at or below the plane) and 2n + 2.

    Raises:
        ConfigError: "damaged_model": the bytes end early, or a node or child is missing or comes twice.
    """
    nodes: dict[int, PlaneNode] = {}
    try:
        (width,) = struct.unpack_from("<i", data, 0)
        if width != columns:
            raise damaged(f"has planes of {width} columns for {columns}", where)
        at = 4
        while at < len(data):
            number, kind = struct.unpack_from("<iB", data, at)
            at += 5
            if number in nodes or number < 0:
                raise damaged(f"has node {number} twice", where)
            if kind == _NODE:
                values = np.frombuffer(data, "<f8", 2 * width, at).astype(np.float64)
                nodes[number] = PlaneNode(values[:width], values[width:])
                at += 16 * width
            elif kind == _LEAF:
                nodes[number] = PlaneNode(None, None, struct.unpack_from("<i", data, at)[0])
                at += 4
            else:
                raise damaged(f"has a node of kind {kind} at byte {at - 1}", where)
    except (struct.error, ValueError):
        raise damaged(f"the tree's {len(data)} bytes end inside a node", where) from None
    for number, node in nodes.items():
        if node.normal is not None and not {2 * number + 1, 2 * number + 2} <= nodes.keys():
            raise damaged(f"node {number} lacks a child", where)
    if 0 not in nodes:
        raise damaged("has no root", where)
    return nodes


def average_path(rows: int) -> float:
    """Expected length of an unsuccessful search among `rows` entries."""
    if rows < 2:
        return 0.0
    return 1.0 if rows == 2 else 2 * (math.log(rows - 1) + EULER) - 2.0 * (rows - 1.0) / rows
