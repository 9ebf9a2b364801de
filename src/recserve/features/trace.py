"""What the engine made of one row, as text: raw cells → tokens → numbers and ids → the feature.

For people who ask why a feature has the value that it has. It reads the values that the compiled plan left behind, so
it shows what ran, not what should have run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from recserve import memory
from recserve.errors import DataError, suggest
from recserve.features.compiled import CompiledPlan
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.ingest import ColumnBatch, count_rows
from recserve.features.op import MISSING_ID, Kind, Op
from recserve.features.plan import Columns, Plan
from recserve.features.stage import Workspace

MAX_TEXT = 200
"""Characters of a printed value."""


@dataclass(frozen=True)
class ValueTrace:
    """One value of the plan for one row.

    Attributes:
        number: of the value, and of the op that makes it.
        op: the op as text.
        rate: how often it changes.
        elements: texts, numbers or ids; of a value over steps a list for each step; of STEPS their number, of MAP the
            hashes of its keys.
        weights: of the elements, or None.
    """

    number: int
    op: str
    rate: str
    elements: Any
    weights: Any = None

    def text(self) -> str:
        """The elements in a line."""
        return show(self.elements, self.weights)


@dataclass(frozen=True)
class FeatureTrace:
    """One feature of one row.

    Attributes:
        name: of the feature.
        rate: how often it changes.
        inputs: the raw cells that it reads, by `side:column`.
        values: the values on the way, in order; the last one is the feature.
    """

    name: str
    rate: str
    inputs: dict[str, Any]
    values: tuple[ValueTrace, ...]

    def lines(self) -> list[str]:
        """For people: the feature, its cells, and each step on the way."""
        found = [f"{self.name} = {self.values[-1].text()}  ({self.rate})"]
        found += [f"  {name} = {show(cell)}" for name, cell in self.inputs.items()]
        width = max(len(value.op) for value in self.values)
        return found + [f"    {value.op:<{width}}  {value.text()}" for value in self.values]


def explain_row(plan: Plan, columns: Columns, row: int = 0, only: Sequence[str] = ()) -> list[FeatureTrace]:
    """Trace the features of one row, in config order.

    Args:
        plan: what to run; always by the compiled engine.
        columns: see `Plan.run`.
        row: number of the row.
        only: names of features; none: all.

    Raises:
        DataError: see `Plan.run`; or there is no such row or feature.
    """
    outputs = pick_outputs(plan.graph, only)
    cells = {name: _cell(column, row) for name, column in _one_row(plan, columns, row).items()}
    compiled = CompiledPlan(plan.graph)
    workspace = Workspace(compiled.flat.slots)
    workspace.keeps_all = True
    compiled.flat.run(workspace, ColumnBatch.from_columns(_one_row(plan, columns, row), compiled.flat.columns), 1)
    return [trace_output(plan.graph, output, workspace, cells) for output in outputs]


def pick_outputs(graph: PlanGraph, only: Sequence[str]) -> list[GraphOutput]:
    """The features of these names; all, where none are given.

    Raises:
        DataError: there is no such feature.
    """
    outputs = {output.spec.name: output for output in graph.outputs}
    for name in only:
        if name not in outputs:
            raise DataError(f"there is no feature {name!r}", code="unknown_feature", hint=suggest(name, outputs))
    return [outputs[name] for name in dict.fromkeys(only)] if only else list(outputs.values())


def _one_row(plan: Plan, columns: Columns, row: int) -> dict[str, Any]:
    by_name = columns if isinstance(columns, Mapping) else {n: columns.column(n) for n in columns.schema.names}
    taken = {name: by_name[name] for name in plan.input_columns if name in by_name}
    rows = count_rows({name: len(column) for name, column in taken.items()})
    if not 0 <= row < rows:
        raise DataError(f"there is no row {row}", code="no_such_row", hint=f"There are {rows}, counted from 0")
    return {name: column if len(column) == 1 else column[row : row + 1] for name, column in taken.items()}


def _cell(column: Any, row: int) -> Any:  # noqa: ARG001  (one row is left)
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        return column.to_pylist(maps_as_pydicts="lossy")[0]
    return column[0].tolist() if isinstance(column[0], (np.ndarray, np.generic)) else column[0]


def trace_output(
    graph: PlanGraph,
    output: GraphOutput,
    workspace: Workspace,
    cells: Mapping[str, Any],
    *,
    slot_of: Callable[[int], int] = int,
    has: Callable[[int], bool] = lambda _: True,
) -> FeatureTrace:
    """Trace a feature of row 0 of what ran last in `workspace`.

    Args:
        graph: the plan.
        output: the feature.
        workspace: after the run.
        cells: raw cells by column.
        slot_of: value → slot that holds it.
        has: whether the workspace holds a value; what is behind one that it does not hold is left out.
    """
    numbers = _behind(graph, output.value, has)
    values = [read_value(graph, number, workspace, slot_of) for number in numbers]
    ops: list[Any] = [graph.ops[number] for number in numbers]
    inputs = {f"{op.side}:{op.column}": cells.get(op.column) for op in ops if hasattr(op, "column")}
    return FeatureTrace(output.spec.name, output.spec.rate.value, inputs, tuple(values))


def _behind(graph: PlanGraph, value: int, has: Callable[[int], bool]) -> list[int]:
    """The values that one is made of and itself, in order."""
    found, waiting = set(), [value]
    while waiting:
        number = waiting.pop()
        if number not in found and has(number):
            found.add(number)
            waiting += graph.ops[number].inputs
    return sorted(found)


def read_value(graph: PlanGraph, number: int, workspace: Workspace, slot_of: Callable[[int], int] = int) -> ValueTrace:
    """A value of row 0 after a run."""
    known = graph.values[number]
    slot = slot_of(number)
    weights: Any
    if known.domain is None:
        elements, weights = _elements(workspace, slot, known.kind, 0)
    else:
        first, end = _bounds(workspace, slot_of(known.domain), 0)
        pairs = [_elements(workspace, slot, known.kind, step) for step in range(first, end)]
        elements = [pair[0] for pair in pairs]
        weights = [pair[1] for pair in pairs] if known.is_weighted else None
    return ValueTrace(number, op_text(graph.ops[number], number), known.rate.value, elements, weights)


def _bounds(workspace: Workspace, slot: int, row: int) -> tuple[int, int]:
    """Where the elements of a row start and end."""
    value = workspace.values[slot].tolist()
    shift = 8 * row * value[memory.STRIDE]
    return tuple(int(workspace.read(value[at] + shift, 1, np.int64)[0]) for at in (memory.STARTS, memory.ENDS))  # type: ignore[return-value]


def _elements(workspace: Workspace, slot: int, kind: Kind, row: int) -> tuple[Any, list[float] | None]:
    """(elements, weights) of a row."""
    value = workspace.values[slot].tolist()
    first, end = _bounds(workspace, slot, row)
    count = end - first
    if kind is Kind.STEPS:
        return count, None
    weights = None
    if value[memory.WEIGHTS]:
        weights = workspace.read(value[memory.WEIGHTS] + 4 * first, count, np.float32).tolist()
    if kind is Kind.TOKENS:
        offsets = value[memory.TOKEN_OFFSETS]
        bounds = workspace.read(offsets + 8 * first, count + 1, np.int64).tolist() if count else [0]
        text = workspace.read(value[memory.VALUES] + bounds[0], bounds[-1] - bounds[0], np.uint8).tobytes()
        spans = itertools.pairwise(bounds)
        return [text[a - bounds[0] : b - bounds[0]].decode(errors="replace") for a, b in spans], weights
    dtype, size = _DTYPES[kind]
    numbers = workspace.read(value[memory.VALUES] + size * first, count, dtype).tolist()
    return [None if kind is Kind.IDS and x == MISSING_ID else x for x in numbers], weights


_DTYPES: dict[Kind, tuple[type[np.generic], int]] = {
    Kind.IDS: (np.int64, 8),
    Kind.NUMBERS: (np.float64, 8),
    Kind.DENSE: (np.float32, 4),
    Kind.MAP: (np.int64, 8),
}


def op_text(op: Op, number: int | None = None) -> str:
    """An op as `%4 = Name(%3, option=value)`; long options are cut."""
    parts: list[str] = []
    for part in fields(op):
        value = getattr(op, part.name)
        if part.metadata.get("value"):
            values: Iterable[int] = value if isinstance(value, tuple) else () if value is None else (value,)
            parts.append(f"{part.name}={', '.join(f'%{i}' for i in values) or None}")
        else:
            text = repr(value)
            parts.append(f"{part.name}={text if len(text) <= 60 else text[:57] + '...'}")
    return ("" if number is None else f"%{number} = ") + f"{type(op).__name__}({', '.join(parts)})"


def show(value: Any, weights: Any = None) -> str:
    """A value in a line of at most MAX_TEXT characters; weights stand behind their elements, `7:0.5`."""
    text = _text(value, weights)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _text(value: Any, weights: Any = None) -> str:
    if isinstance(value, list):
        pairs = zip(value, [None] * len(value) if weights is None else weights, strict=True)
        return f"[{', '.join(_text(x, w) for x, w in pairs)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in value.items()) + "}"
    text = "-" if value is None else f"{value:.7g}" if isinstance(value, float) else repr(value)
    return text if weights is None else f"{text}:{weights:.7g}"
