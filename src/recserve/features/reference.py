"""The slow, obvious interpreter: the living definition of every op, over plain Python lists.

A value is held as `Rows`: for each row of its domain the list of its elements, and of their weights where it has any.
Rows of a value over steps are the steps of all rows of the batch, one after the other. The single STEPS value holds for
each row of the batch the list of its step cells; a MAP a dict from key hash to element numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recserve.columns import Ragged
from recserve.dtypes import F32, I64
from recserve.errors import CellError, DataError, InvariantError
from recserve.features import ops
from recserve.features import reference_cells as cells
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.ops import Kind, Op
from recserve.features.outputs import OutputKind
from recserve.features.reference_ops import prepared, works_by_element


@dataclass
class Rows:
    """A value while the plan runs; see the module docstring."""

    elements: list[Any]
    weights: list[list[float]] | None = None


Columns = Mapping[str, Sequence[Any]]
"""Cells of each column, all of one length."""


class Interpreter:
    """One run of a plan over one batch."""

    def __init__(self, graph: PlanGraph, columns: Columns, rows: int, training: bool) -> None:
        self.graph, self.columns, self.rows, self.training = graph, columns, rows, training
        self.values: list[Rows] = []

    def run(self) -> dict[str, Any]:
        """All outputs by feature name."""
        for number in range(len(self.graph.ops)):
            self.values.append(self._run_op(number))
        return {output.spec.name: self._output(output) for output in self.graph.outputs}

    # ---- ops

    def _run_op(self, number: int) -> Rows:
        op = self.graph.ops[number]
        for kinds, run in _SPECIAL.items():
            if isinstance(op, kinds):
                return run(self, op, number)
        inputs, run_row = [self.values[i] for i in op.inputs], prepared(op)
        source, rows = inputs[0], len(inputs[0].elements)
        if works_by_element(op):
            return Rows(
                self._each_row(number, lambda n: [run_row(x) for x in source.elements[n]], rows), source.weights
            )
        return Rows(self._each_row(number, lambda n: run_row(*(value.elements[n] for value in inputs)), rows))

    def _each_row(self, number: int, run: Callable[[int], Any], count: int) -> list[Any]:
        """`run` of each row; errors in data are told with the feature, the column and the row."""
        result = []
        for n in range(count):
            try:
                result.append(run(n))
            except DataError as error:
                raise self._placed(error, number, n) from None
        return result

    def _placed(self, error: DataError, number: int, row: int) -> DataError:
        value, op = self.graph.values[number], self.graph.ops[number]
        row = row if value.domain is None else self._row_of_step(value.domain, row)
        column = getattr(op, "column", "")
        return CellError(error.problem, feature=value.feature, column=column, row=row, code=error.code)

    def _row_of_step(self, steps: int, step: int) -> int:
        return int(np.repeat(np.arange(self.rows), self._step_counts(steps))[step])

    def _step_counts(self, steps: int) -> list[int]:
        return [len(found) for found in self.values[steps].elements]

    def read_column(self, op: Any) -> list[Any]:
        """The cells that an op reads: of a column, or of its steps."""
        if getattr(op, "steps", None) is not None:
            return [cell for row in self.values[op.steps].elements for cell in row]
        column = list(self.columns[op.column])
        if op.is_masked and self.training:
            mask = self.columns[ops.MASK_COLUMN]
            return [None if masked else cell for cell, masked in zip(column, mask, strict=True)]
        return column

    def read(self, op: Op, number: int) -> Rows:
        """Ops that read columns."""
        column = self.read_column(op)
        return Rows(self._each_row(number, lambda n: _read_cell(op, column[n]), len(column)))

    def literal(self, op: ops.Literal, _number: int) -> Rows:
        """See ops.Literal."""
        return Rows([[token.encode() for token in op.tokens] for _ in range(self.rows)])

    # ---- domains

    def broadcast(self, op: ops.Broadcast, _number: int) -> Rows:
        """See ops.Broadcast."""
        source = self.values[op.source]
        row_of = [n for n, count in enumerate(self._step_counts(op.steps)) for _ in range(count)]
        return _picked(source, row_of)

    def flatten(self, op: ops.FlattenSteps, _number: int) -> Rows:
        """See ops.FlattenSteps."""
        source, counts = self.values[op.source], self._step_counts(_domain(self.graph, op.source))
        bounds = np.cumsum([0, *counts])
        spans = list(itertools.pairwise(bounds))
        weights = source.weights
        return Rows(
            [[x for row in source.elements[a:b] for x in row] for a, b in spans],
            None if weights is None else [[x for row in weights[a:b] for x in row] for a, b in spans],
        )

    def longest(self, op: ops.LongestSteps, _number: int) -> Rows:
        """See ops.LongestSteps."""
        counts = zip(*(self._step_counts(source) for source in op.sources), strict=True)
        return Rows([[None] * max(row) for row in counts])

    def align(self, op: ops.AlignSteps, _number: int) -> Rows:
        """See ops.AlignSteps."""
        source, have = self.values[op.source], self._step_counts(_domain(self.graph, op.source))
        picks: list[int | None] = []
        start = 0
        for wanted, given in zip(self._step_counts(op.steps), have, strict=True):
            picks += [start if given == 1 else start + step if step < given else None for step in range(wanted)]
            start += given
        return _picked(source, picks)

    def element_steps(self, op: ops.ElementSteps, _number: int) -> Rows:
        """See ops.ElementSteps."""
        return Rows([[None] * len(row[: op.limit]) for row in self.values[op.source].elements])

    def spread(self, op: ops.SpreadElements, _number: int) -> Rows:
        """See ops.SpreadElements."""
        source, counts = self.values[op.source], self._step_counts(op.steps)
        found = [[x] for row, count in zip(source.elements, counts, strict=True) for x in row[:count]]
        if source.weights is None:
            return Rows(found)
        return Rows(found, [[x] for row, count in zip(source.weights, counts, strict=True) for x in row[:count]])

    # ---- elements and weights together

    def attach(self, op: ops.AttachWeights, number: int) -> Rows:
        """See ops.AttachWeights."""
        source, weights = self.values[op.source], self.values[op.weights].elements
        for n, (row, given) in enumerate(zip(source.elements, weights, strict=True)):
            if len(row) != len(given):
                raise self._placed(DataError(f"{len(row)} values, but {len(given)} weights"), number, n)
        return Rows(source.elements, weights)

    def first(self, op: ops.FirstElements, _number: int) -> Rows:
        """See ops.FirstElements."""
        source = self.values[op.source]
        weights = source.weights
        kept = [row[: op.count] for row in source.elements]
        return Rows(kept, None if weights is None else [row[: op.count] for row in weights])

    def fill(self, op: ops.FillIds | ops.FillTokens | ops.FillNumbers, _number: int) -> Rows:
        """See ops.FillIds, ops.FillTokens, ops.FillNumbers."""
        source = self.values[op.source]
        weights = source.weights or [[1.0] * len(row) for row in source.elements]
        defaults = [x.encode() if isinstance(x, str) else x for x in op.defaults]
        result = Rows([], None if source.weights is None else [])
        for row, row_weights in zip(source.elements, weights, strict=True):
            kept = [
                (x, w)
                for x, w in zip(row, row_weights, strict=True)
                if not (isinstance(op, ops.FillIds) and x == ops.MISSING_ID)
            ]
            kept = kept or [(x, 1.0) for x in defaults]
            result.elements.append([x for x, _ in kept])
            if result.weights is not None:
                result.weights.append([w for _, w in kept])
        return result

    # ---- outputs

    def _output(self, output: GraphOutput) -> Any:
        value, spec = self.values[output.value], output.spec
        kind = self.graph.values[output.value].kind
        if spec.kind is OutputKind.DENSE:
            return _dense(value.elements, spec.dim)
        steps = None if output.steps is None else np.array(self._step_counts(output.steps), np.int64)
        if spec.kind is OutputKind.DENSE_SEQUENCE:
            if steps is None:
                raise InvariantError(f"output {spec.name!r} is a sequence without steps")
            return Ragged(_dense(value.elements, spec.dim), steps, seq_lengths=steps)
        counts = _counts(value.elements)
        flat = [x for row in value.elements for x in row]
        is_text = kind is Kind.TOKENS
        values: Any = np.array([cells.as_text(x) for x in flat], object) if is_text else np.array(flat, np.int64)
        weights = None if value.weights is None else np.array([x for row in value.weights for x in row], np.float32)
        if steps is None:
            return Ragged(values, counts, weights)
        bounds = np.concatenate(([0], np.cumsum(counts)))[np.concatenate(([0], np.cumsum(steps)))]
        return Ragged(values, np.diff(bounds), weights, counts, steps)


def _read_cell(op: Op, cell: Any) -> Any:
    match op:
        case ops.SplitSteps():
            return cells.steps(cell, op.delimiter, op.limit, op.fills_empty)
        case ops.ParseTokens():
            return cells.tokens(cell, op.separators, op.keeps_empty, op.rounds)
        case ops.ParseNumbers():
            return cells.numbers(cell, op.separators)
        case ops.PairKeys():
            return [key for key, _ in cells.pairs(cell, op.separators, op.delimiter)]
        case ops.PairTokens():
            return [cells.token_of(value) for _, value in cells.pairs(cell, op.separators, op.delimiter)]
        case ops.PairNumbers():
            values = (value for _, value in cells.pairs(cell, op.separators, op.delimiter))
            return [op.absent if value in (None, b"", "") else cells.number_of(value) for value in values]
        case ops.NestedPairs():
            part = ("outer", "inner", "value").index(op.part)
            return [pair[part] for pair in cells.nested_pairs(cell)]
    raise InvariantError(f"{type(op).__name__} reads no column")


def _domain(graph: PlanGraph, number: int) -> int:
    domain = graph.values[number].domain
    if domain is None:
        raise InvariantError(f"value {number} is not over steps")
    return domain


def _picked(source: Rows, picks: Sequence[int | None]) -> Rows:
    """Rows of `source` by number; None is an empty row."""
    weights = source.weights
    rows = [[] if i is None else source.elements[i] for i in picks]
    return Rows(rows, None if weights is None else [[] if i is None else weights[i] for i in picks])


def _counts(rows: list[Any]) -> I64:
    return np.array([len(row) for row in rows], np.int64)


def _dense(rows: list[Any], dim: int) -> F32:
    with np.errstate(over="ignore"):
        return np.array(rows, np.float64).reshape(len(rows), dim).astype(np.float32)


_READERS = (
    *(ops.SplitSteps, ops.ParseTokens, ops.ParseNumbers, ops.PairKeys, ops.PairTokens, ops.PairNumbers),
    ops.NestedPairs,
)
_SPECIAL: dict[Any, Callable[[Interpreter, Any, int], Rows]] = {
    _READERS: Interpreter.read,
    ops.Literal: Interpreter.literal,
    ops.Broadcast: Interpreter.broadcast,
    ops.FlattenSteps: Interpreter.flatten,
    ops.LongestSteps: Interpreter.longest,
    ops.AlignSteps: Interpreter.align,
    ops.ElementSteps: Interpreter.element_steps,
    ops.SpreadElements: Interpreter.spread,
    ops.AttachWeights: Interpreter.attach,
    ops.FirstElements: Interpreter.first,
    (ops.FillIds, ops.FillTokens, ops.FillNumbers): Interpreter.fill,
}
