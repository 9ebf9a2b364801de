"""The reference interpreter: what a program means, one row and one op after the other. Slow and obvious."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from recserve.scoring.cells import VALID, Cell, RowFailure, failed, merged, valid
from recserve.scoring.graph import Graph
from recserve.scoring.op import OPS, OpSpec
from recserve.scoring.parse import parse_cell


def apply_op(spec: OpSpec, params: Mapping[str, Any], cells: Sequence[Cell], results: int) -> tuple[Cell, ...]:
    """The results of one op on one row.

    Args:
        spec: the op.
        params: canonical.
        cells: its arguments.
        results: how many the op has here.
    """
    function = partial(spec.function, params) if spec.params else spec.function
    if not spec.is_strict:
        found = function(*cells)
        return tuple(found) if spec.has_many else (found,)
    problem = merged(tuple(cells))
    if problem is None:
        try:
            values = function(*(cell.value for cell in cells))
        except RowFailure as error:
            problem = failed(str(error))
        else:
            return tuple(valid(value) for value in values) if spec.has_many else (valid(values),)
    return (problem,) * results


def run_row(graph: Graph, row: Mapping[str, Any]) -> list[Cell]:
    """All values of a graph on one row of raw cells; an absent column is missing."""
    cells: list[Cell] = []
    for node in graph.nodes:
        if node.op in {"input", "unparsed"}:
            cell, is_unparsed = parse_cell(row.get(node.params["column"]), node.params["dtype"])
            cells.append(Cell(VALID, is_unparsed) if node.op == "unparsed" else cell)
            continue
        with np.errstate(all="ignore"):
            cells += apply_op(OPS[node.op], node.params, [cells[number] for number in node.args], len(node.dtypes))
    return cells


def run(graph: Graph, columns: Mapping[str, Any], rows: int) -> tuple[dict[str, list[Cell]], dict[int, str]]:
    """Output cells by name, and the message of each row that fails.

    A row fails with the first failure among its outputs and then its guards, in their order.

    Args:
        graph: to run.
        columns: sequences of `rows` raw cells.
        rows: N.
    """
    outputs: dict[str, list[Cell]] = {name: [] for name in graph.outputs}
    errors: dict[int, str] = {}
    for i in range(rows):
        cells = run_row(graph, {name: values[i] for name, values in columns.items()})
        for number in (*graph.outputs.values(), *graph.guards):
            if cells[number].is_failed:
                errors.setdefault(i, cells[number].value)
        for name, number in graph.outputs.items():
            outputs[name].append(cells[number])
    return outputs, errors
