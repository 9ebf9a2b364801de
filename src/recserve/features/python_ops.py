"""Ops that Python runs between the kernels of a stage: those that live on a library (regular expressions, tokenizers).

They are the interpreter's own functions. Their cost is that of Python for each token, so that their place is the item
and request rates, where a plan puts them unless they depend on both sides.

Axes: R rows of a value, E its elements.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve import memory
from recserve.dtypes import I64
from recserve.errors import DataError, InvariantError
from recserve.features import ops
from recserve.features.graph import PlanGraph
from recserve.features.op import Kind, Op
from recserve.features.reference_ops import prepared, works_by_element

PYTHON_OPS: Final[tuple[type[Op], ...]] = (
    *(ops.RegexReplace, ops.NormalizeText, ops.Tokenize),
    *(ops.CallForNumbers, ops.CallForTokens),
)


def run_python_op(graph: PlanGraph, number: int, slot: Callable[[int], int], workspace: Any) -> None:
    """Run one op on the values in a workspace, and write the row of its output.

    Raises:
        DataError: see the op.
    """
    op = graph.ops[number]
    if isinstance(op, (ops.CallForNumbers, ops.CallForTokens)):
        _run_call(graph, number, slot, workspace)
        return
    source = slot(op.inputs[0])
    tokens, offsets = read_tokens(workspace, source)
    run = prepared(op)
    row = workspace.values[source]
    if works_by_element(op):
        result = [run(token) for token in tokens]
        lengths = np.diff(offsets)
        weights = _weights(workspace, row, offsets)
    else:
        try:
            rows = [run(tokens[a:b]) for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
        except DataError as error:
            raise error.at(f"feature {graph.values[number].feature!r}") from None
        result = [element for part in rows for element in part]
        lengths, weights = np.array([len(part) for part in rows], np.int64), None
    write_value(workspace, number, result, graph.values[number].kind, lengths, weights)


def _run_call(graph: PlanGraph, number: int, slot: Callable[[int], int], workspace: Any) -> None:
    """Run a registered function row by row."""
    op, run, sources = graph.ops[number], prepared(graph.ops[number]), []
    for value in graph.ops[number].inputs:
        read = read_tokens if graph.values[value].kind is Kind.TOKENS else read_numbers
        elements, offsets = read(workspace, slot(value))
        sources.append([elements[a:b] for a, b in itertools.pairwise(offsets.tolist())])
    try:
        rows = [run(*inputs) for inputs in zip(*sources, strict=True)]
    except DataError as error:
        raise error.at(f"feature {graph.values[number].feature!r}") from None
    lengths = np.array([len(row) for row in rows], np.int64)
    write_value(workspace, number, [element for row in rows for element in row], op.kind, lengths, None)


def bounds_of(workspace: Any, slot: int) -> tuple[I64, I64]:
    """(starts, ends), int64[R] each, of a value."""
    row = workspace.values[slot]
    rows, stride = int(row[memory.ROWS]), int(row[memory.STRIDE])
    if rows == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    count = (rows - 1) * stride + 1
    starts = workspace.read(int(row[memory.STARTS]), count, np.int64)
    ends = workspace.read(int(row[memory.ENDS]), count, np.int64)
    if stride == 0:
        return np.repeat(starts, rows), np.repeat(ends, rows)
    return starts[::stride], ends[::stride]


def read_tokens(workspace: Any, slot: int) -> tuple[list[bytes], I64]:
    """The tokens of all rows, side by side, and int64[R + 1] offsets."""
    row = workspace.values[slot]
    starts, ends = bounds_of(workspace, slot)
    offsets = np.concatenate(([0], np.cumsum(ends - starts))).astype(np.int64)
    if not offsets[-1]:
        return [], offsets
    most = int(ends.max())
    bounds = workspace.read(int(row[memory.TOKEN_OFFSETS]), most + 1, np.int64)
    text = workspace.read(int(row[memory.VALUES]), int(bounds[-1]), np.uint8).tobytes()
    cuts = bounds.tolist()
    picks = _picks(starts, ends)
    return [text[cuts[i] : cuts[i + 1]] for i in picks.tolist()], offsets


def read_numbers(workspace: Any, slot: int) -> tuple[list[float], I64]:
    """The numbers of all rows, side by side, and int64[R + 1] offsets."""
    starts, ends = bounds_of(workspace, slot)
    offsets = np.concatenate(([0], np.cumsum(ends - starts))).astype(np.int64)
    if not offsets[-1]:
        return [], offsets
    numbers = workspace.read(int(workspace.values[slot][memory.VALUES]), int(ends.max()), np.float64)
    return numbers[_picks(starts, ends)].tolist(), offsets


def _picks(starts: I64, ends: I64) -> I64:
    """Numbers of the elements of all rows, row by row."""
    lengths = ends - starts
    before = np.concatenate(([0], np.cumsum(lengths)[:-1])) if len(lengths) else np.zeros(0, np.int64)
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)


def _weights(workspace: Any, row: I64, offsets: I64) -> npt.NDArray[np.float32] | None:
    """Weights of a whole value whose rows lie side by side, or None."""
    if not row[memory.WEIGHTS]:
        return None
    if row[memory.COUNT] != offsets[-1]:
        raise InvariantError("weights of a selection reach an op that Python runs")
    weights: npt.NDArray[np.float32] = workspace.read(int(row[memory.WEIGHTS]), int(offsets[-1]), np.float32)
    return weights


def write_value(  # noqa: PLR0917  (the parts of a descriptor)
    workspace: Any,
    slot: int,
    elements: list[Any],
    kind: Kind,
    lengths: I64,
    weights: npt.NDArray[np.float32] | None,
) -> None:
    """Write a value of Python elements: bytes of TOKENS, float of NUMBERS, int of IDS."""
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    row = workspace.values[slot]
    row[:] = 0
    if kind is Kind.TOKENS:
        values: npt.NDArray[Any] = np.frombuffer(b"".join(elements) or b"\0", np.uint8)
        bounds = np.concatenate(([0], np.cumsum([len(x) for x in elements]))).astype(np.int64)
        row[memory.TOKEN_OFFSETS] = bounds.ctypes.data
        workspace.kept.append(bounds)
    else:
        values = np.array(elements or [0], np.float64 if kind is Kind.NUMBERS else np.int64)
    row[memory.VALUES] = values.ctypes.data
    row[memory.STARTS], row[memory.ENDS] = offsets.ctypes.data, offsets.ctypes.data + 8
    row[memory.STRIDE], row[memory.ROWS], row[memory.COUNT] = 1, len(lengths), len(elements)
    workspace.kept += [values, offsets]
    if weights is not None:
        row[memory.WEIGHTS] = weights.ctypes.data
        workspace.kept.append(weights)
