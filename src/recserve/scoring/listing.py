"""A program for people: one line an op."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.scoring.graph import Graph, Node

_LONGEST: Final = 60


def listing(graph: Graph) -> str:
    """One line an op: its results with their dtypes, its arguments, its parameters; then outputs and guards."""
    lines = [_line(node) for node in graph.nodes]
    lines += [f"{name!r} = %{number}" for name, number in graph.outputs.items()]
    lines += [f"guard %{number}" for number in graph.guards]
    return "\n".join(lines)


def _line(node: Node) -> str:
    if len(node.dtypes) > 3:
        results = f"%{node.results[0]} … %{node.results[-1]} ({len(node.dtypes)} {node.dtypes[0]})"
    else:
        results = ", ".join(f"%{number} {dtype}" for number, dtype in zip(node.results, node.dtypes, strict=True))
    args = [f"%{number}" for number in node.args]
    params = [f"{name}={_short(value)}" for name, value in node.params.items()]
    return f"{results} = {node.op}({', '.join([*args, *params])})"


def _short(value: Any) -> str:
    """A parameter in few letters."""
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"{value.dtype}{list(value.shape)}"
    text = str(value.tolist()) if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
