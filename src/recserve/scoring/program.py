"""A program: a finished graph, run over columns by the compiled form or by the reference interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F64
from recserve.errors import DataError
from recserve.rates import Rate
from recserve.scoring import reference as interpreter
from recserve.scoring.cells import FAILED, MISSING_STATE, Cell, DType
from recserve.scoring.graph import Graph
from recserve.scoring.listing import listing
from recserve.scoring.pool import Codes
from recserve.scoring.split import split_graph
from recserve.scoring.stored import from_bytes, to_bytes

if TYPE_CHECKING:
    from recserve.scoring.compiled import Compiled
    from recserve.scoring.rows import RowScorer


@dataclass(frozen=True)
class Scores:
    """What a run gives.

    Attributes:
        outputs: {name: [rows]}: float64 with NaN for missing (`number`), else object arrays of bool, str or list with
            None for missing.
        errors: {row: message} of the rows that fail. All their outputs are missing.
    """

    outputs: dict[str, npt.NDArray[Any]]
    errors: dict[int, str]


class Program:
    """A finished graph. Immutable; threads may run it at once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs: dict[str, tuple[DType, ...]] = {}
        for node in graph.nodes:
            if node.op in {"input", "unparsed"}:
                known = self.inputs.setdefault(node.params["column"], ())
                if node.params["dtype"] not in known:
                    self.inputs[node.params["column"]] = (*known, node.params["dtype"])
        self.outputs: dict[str, DType] = {name: graph.dtype_of(number) for name, number in graph.outputs.items()}

    def run(self, columns: Mapping[str, Any], *, rows: int | None = None, reference: bool = False) -> Scores:
        """Score rows.

        Args:
            columns: {name: sequence or array of N raw cells}: str, float, int, bool or None. Columns that the program
                does not read are passed over; an absent one is missing in each row.
            rows: N, where no column is given.
            reference: run the slow interpreter.

        Raises:
            DataError: columns differ in length, or a cell is of no known type.
        """
        count = row_count(columns, rows)
        chosen = {name: columns[name] for name in self.inputs if name in columns}
        return self._run_reference(chosen, count) if reference else self._run_compiled(chosen, count)

    def score_row(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Score one row, without the detour over columns.

        Args:
            row: {name: raw cell}. What the program does not read is passed over; what is absent is missing.

        Returns:
            {output: float, bool, str, list, or None for missing}, and the message where the row fails.

        Raises:
            DataError: a cell is of no known type.
        """
        return self.rows.score(row)

    @cached_property
    def rows(self) -> RowScorer:
        """The way for single rows."""
        from recserve.scoring.rows import RowScorer

        return RowScorer(self.compiled, self.outputs)

    def split(self, sides: Mapping[str, Rate], *, exact: bool = True) -> Stages:
        """The program as stages of a ranker: what reads one side only moves to that side's rate.

        Args:
            sides: the rate at which a raw column changes (item, request, candidate); candidate where it is left out.
            exact: the stages give the same bits as the whole. Else sums are grouped by side; see `split.split_graph`
                for the tolerance.

        Raises:
            ConfigError: `sides` names a column that the program does not read.
        """
        found = split_graph(self.graph, sides, exact=exact)
        item, request = (found.stages.get(rate) for rate in (Rate.ITEM, Rate.REQUEST))
        return Stages(
            None if item is None else Program(item),
            None if request is None else Program(request),
            Program(found.candidate),
        )

    def warm(self) -> None:
        """Compile or load all kernels, and score a row of missing cells, so that the first call is fast."""
        self.score_row({})

    def to_bytes(self) -> bytes:
        """The program, to be stored."""
        return to_bytes(self.graph)

    @classmethod
    def from_bytes(cls, data: bytes) -> Program:
        """The program that `to_bytes` gave.

        Raises:
            BundleError: the bytes are cut off, changed, of another version, or describe no program.
        """
        return cls(from_bytes(data))

    def listing(self) -> str:
        """One line an op, for people."""
        return listing(self.graph)

    @cached_property
    def compiled(self) -> Compiled:
        """The compiled form."""
        from recserve.scoring.compiled import Compiled

        return Compiled(self.graph)

    def _run_compiled(self, columns: Mapping[str, Any], rows: int) -> Scores:
        data, state, texts, messages = self.compiled.run(columns, rows)
        errors: dict[int, str] = {}
        is_failed = state == FAILED
        if is_failed.any():
            for row in np.flatnonzero(is_failed.any(axis=0)).tolist():
                first = int(np.argmax(is_failed[:, row]))
                errors[row] = messages.text(int(data[first, row]))
            state[:, list(errors)], data[:, list(errors)] = MISSING_STATE, np.nan
        places = {number: i for i, number in enumerate(self.compiled.leaving)}
        outputs: dict[str, npt.NDArray[Any]] = {}
        for name, number in self.graph.outputs.items():
            i = places[number]
            outputs[name] = data[i] if self.outputs[name] == "number" else _objects(data[i], self.outputs[name], texts)
        return Scores(outputs, errors)

    def _run_reference(self, columns: Mapping[str, Any], rows: int) -> Scores:
        cells, errors = interpreter.run(self.graph, columns, rows)
        outputs = {}
        for name, column in cells.items():
            kept = [None if i in errors else plain_value(cell) for i, cell in enumerate(column)]
            if self.outputs[name] == "number":
                outputs[name] = np.array([np.nan if x is None else x for x in kept], np.float64)
            else:
                outputs[name] = np.empty(rows, object)
                outputs[name][:] = kept
        return Scores(outputs, errors)


@dataclass(frozen=True)
class Stages:
    """A program cut by rate.

    Attributes:
        item, request: what depends on that side alone, None where nothing does; their outputs are columns for
            `candidate`, one row an item or one for the request. Their rows never fail: failures travel in the columns.
        candidate: the rest; reads raw candidate columns and those of the other stages; has the outputs of the whole.
    """

    item: Program | None
    request: Program | None
    candidate: Program


def _objects(data: F64, dtype: DType, texts: Codes) -> npt.NDArray[Any]:
    """Booleans, texts or lists of an output; None for missing."""
    distinct, where = np.unique(data, return_inverse=True)
    found = np.empty(len(distinct), object)
    for i, x in enumerate(distinct.tolist()):
        found[i] = None if x != x else (x != 0.0 if dtype == "boolean" else texts.text(int(x)))  # noqa: PLR0124  (NaN)
    result: npt.NDArray[Any] = found[where.ravel()]
    if dtype == "object":
        result[:] = [None if value is None else list(value) for value in result]
    return result


def plain_value(cell: Cell) -> Any:
    """A cell as callers see it: None for missing, a list for a tuple."""
    if not cell.is_valid:
        return None
    return list(cell.value) if isinstance(cell.value, tuple) else cell.value


def row_count(columns: Mapping[str, Any], rows: int | None) -> int:
    """The number of rows of all columns.

    Raises:
        DataError: they differ.
    """
    for name, values in columns.items():
        if rows is not None and len(values) != rows:
            raise DataError(f"column {name!r} has {len(values)} rows, not {rows}", code="lengths_differ")
        rows = len(values)
    return rows or 0
