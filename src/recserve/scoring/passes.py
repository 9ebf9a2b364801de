"""Passes over a graph: what nothing reads goes, and what depends on constants only becomes one.

Equal ops are one value from the start (`Graph.add`).
"""

from __future__ import annotations

import numpy as np

from recserve.scoring.cells import Cell, DType
from recserve.scoring.graph import Graph, Node, Value
from recserve.scoring.op import OPS
from recserve.scoring.reference import apply_op

_OF_ONE = ("and", "or", "coalesce")
"""Ops that give their argument back where they have one."""
_SOURCES = ("input", "unparsed", "constant", "failure")


def optimised(graph: Graph) -> Graph:
    """A new graph with the same outputs and guards, without ops that give constants or an argument, or are unused."""
    found = Graph()
    moved: dict[int, Value] = {}
    cells: dict[int, Cell] = {}
    live = live_nodes(graph)
    for i, node in enumerate(graph.nodes):
        if not live[i]:
            continue
        if node.op in _OF_ONE and len(node.args) == 1:
            moved[node.first] = moved[node.args[0]]
            if node.args[0] in cells:
                cells[node.first] = cells[node.args[0]]
            continue
        results = _folded(found, node, cells)
        if results is None:
            args = tuple(moved[number].number for number in node.args)
            results = found.add(Node(node.op, args, node.params, len(found._dtypes), node.dtypes))
        moved.update(zip(node.results, results, strict=True))
    for name, number in graph.outputs.items():
        found.outputs[name] = moved[number].number
    found.guards = list(dict.fromkeys(moved[number].number for number in graph.guards))
    return found if len(found.nodes) == sum(live_nodes(found)) else optimised(found)


def live_nodes(graph: Graph) -> list[bool]:
    """Of each node, whether an output or a guard needs it."""
    needed = {*graph.outputs.values(), *graph.guards}
    live = []
    for node in reversed(graph.nodes):
        live.append(not needed.isdisjoint(node.results))
        if live[-1]:
            needed.update(node.args)
    return live[::-1]


def _folded(found: Graph, node: Node, cells: dict[int, Cell]) -> list[Value] | None:
    """Constants in place of a node whose arguments are constants; None where they are not. Notes constant cells."""
    if node.op in {"input", "unparsed"} or any(number not in cells for number in node.args):
        return None
    with np.errstate(all="ignore"):
        results = apply_op(OPS[node.op], node.params, [cells[number] for number in node.args], len(node.dtypes))
    if "object" in node.dtypes or any(cell.is_valid and cell.value != cell.value for cell in results):  # NaN
        return None
    cells.update(zip(node.results, results, strict=True))
    if node.op in _SOURCES:
        return None
    return [_constant(found, cell, dtype) for cell, dtype in zip(results, node.dtypes, strict=True)]


def _constant(found: Graph, cell: Cell, dtype: DType) -> Value:
    if cell.is_failed:
        return found.failure(cell.value, dtype)
    if cell.is_missing:
        return found.missing(dtype)
    return found.constant(cell.value)
