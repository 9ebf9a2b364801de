"""Inputs that a graph takes once, as [1, ...], beside others of N rows: read as row 0 of an input of N rows.

Models written for serving take the user's tensors once and repeat what they make of them. In the flat form each input
has the candidate axis; what all candidates share is the same in every row of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

_SLICE_OF_INPUTS: Final = 10
"""The opset from which on Slice takes its bounds as inputs; older graphs are refused as before."""


def spread_single_rows(proto: Any) -> frozenset[str]:
    """Give each input [1, ...] the axis 0 of the others, and let the graph read its first row; in place.

    Args:
        proto: an `onnx.ModelProto`.

    Returns:
        The names of these inputs; none where no other input has a symbolic axis 0.
    """
    graph = proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    shapes = {i.name: i.type.tensor_type.shape for i in graph.input if i.name not in weights}
    first = {name: shape.dim[0] for name, shape in shapes.items() if shape.dim}
    symbols = [dim.dim_param for dim in first.values() if dim.dim_param]
    single = frozenset(name for name, dim in first.items() if _is_one(dim))
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if not symbols or not single or opset < _SLICE_OF_INPUTS:
        return frozenset()
    taken = _names(graph)
    bounds = []
    for hint, number in (("first", 0), ("second", 1)):
        name = _fresh(f"{hint}_row", taken)
        graph.initializer.append(numpy_helper.from_array(np.asarray([number], np.int64), name))
        bounds.append(name)
    slices = []
    for name in sorted(single):
        first[name].dim_param = symbols[0]
        row = _fresh(f"{name}.row", taken)
        _rename(graph, name, row)
        slices.append(helper.make_node("Slice", [name, *bounds, bounds[0]], [row]))
    nodes = [*slices, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return single


def _is_one(dim: Any) -> bool:
    return bool(dim.WhichOneof("value") == "dim_value" and dim.dim_value == 1)


def _rename(graph: Any, old: str, new: str) -> None:
    """Let the nodes of a graph, and of the graphs inside, read another value."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for inner in _subgraphs(node):
            _rename(inner, old, new)


def _subgraphs(node: Any) -> Iterable[Any]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _names(graph: Any) -> set[str]:
    found = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        found |= set(node.output)
        for inner in _subgraphs(node):
            found |= _names(inner)
    return found


def _fresh(hint: str, taken: set[str]) -> str:
    name = hint
    while name in taken:
        name += "~"
    taken.add(name)
    return name
