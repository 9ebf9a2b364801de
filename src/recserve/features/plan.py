"""A compiled plan: columns in, features out.

N is the number of rows of a batch. A column of one row stands for all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recserve.columns import Ragged
from recserve.dtypes import F32
from recserve.errors import DataError, suggest
from recserve.features import ops
from recserve.features.graph import PlanGraph
from recserve.features.outputs import OutputSpec
from recserve.features.reference import Interpreter

if TYPE_CHECKING:
    from recserve.features.grouped import GroupedPlan

Output = F32 | Ragged
Columns: TypeAlias = Any
"""A mapping from name to column, a pyarrow Table or a RecordBatch."""


class Engine(Protocol):
    """What runs a plan."""

    def run(self, columns: Mapping[str, Any], types: Mapping[str, str] | None, training: bool) -> dict[str, Output]:
        """Outputs by feature name; `columns` hold all columns that the plan reads, each N rows or 1 row long."""


@dataclass(frozen=True)
class Plan:
    """Features ready to run; the same plan serves training and serving.

    Attributes:
        graph: the ops.
        profile: semantics profile, "pyfg" or "farmhash".
        reference: run by the slow interpreter instead of the compiled engine.
    """

    graph: PlanGraph
    profile: str = "pyfg"
    reference: bool = False

    @property
    def outputs(self) -> list[OutputSpec]:
        """The features in config order, without stubs."""
        return [output.spec for output in self.graph.outputs]

    @property
    def input_columns(self) -> list[str]:
        """Names of the columns that `run` reads, without the training mask, in order of first use."""
        return list(self._readers)

    @cached_property
    def _readers(self) -> dict[str, str]:
        """The columns, and of each a feature that reads it."""
        found: dict[str, str] = {}
        for op, value in zip(self.graph.ops, self.graph.values, strict=True):
            if hasattr(op, "column"):
                found.setdefault(op.column, value.feature)
        return found

    @cached_property
    def _engine(self) -> Engine:
        if self.reference:
            return _Reference(self.graph)
        from recserve.features.compiled import CompiledPlan

        engine: Engine = CompiledPlan(self.graph, self.profile)
        return engine

    def run(
        self, columns: Columns, types: Mapping[str, str] | None = None, training: bool = False
    ) -> dict[str, Output]:
        """Extract all features of a batch.

        Args:
            columns: by name lists, NumPy or Arrow arrays, each of N rows or of 1 row; or an Arrow table or record
                batch. Columns that the plan does not read are ignored.
            types: Arrow types of columns whose cells do not show them, such as "map<string,float32>".
            training: apply `use_mask` by the boolean column `__SAMPLE_MASK__`.

        Returns:
            By feature name: dense features as float32[N, value_dim], others as Ragged of N rows.

        Raises:
            DataError: a column is missing or of another length, or a cell is not what the feature needs; names the
                feature, the column and the row.
        """
        given = _by_name(columns)
        needed = dict(self._readers)
        if training and (masked := [v.feature for o, v in self._masked()]):
            needed[ops.MASK_COLUMN] = masked[0]
        for name, feature in needed.items():
            if name not in given:
                hint = suggest(name, given)
                raise DataError(f"column {name!r} is missing", where=f"feature {feature!r}", hint=hint)
        read = {name: given[name] for name in needed}
        if check_lengths(read) == 0:
            read = {name: column[:0] for name, column in read.items()}
        return self._engine.run(read, types, training)

    def run_grouped(
        self,
        requests: Columns,
        candidates: Columns,
        request_index: Any = None,
        *,
        offsets: Any = None,
        types: Mapping[str, str] | None = None,
    ) -> dict[str, Output]:
        """Extract the features of requests with lists of candidates; the user side runs once a request.

        Equals `run` on columns where each candidate has the cells of its request, bit for bit.

        Args:
            requests: columns of the user and context sides, R rows or 1.
            candidates: columns of the item and candidate sides, N rows or 1.
            request_index: int64[N], the request of each candidate, in any order; fastest where it rises.
            offsets: int64[R + 1] instead: candidates `[offsets[r], offsets[r + 1])` are those of request r.
            types: see `run`.

        Returns:
            As `run`, N rows.

        Raises:
            DataError: as `run`, naming a request or a candidate by its number; or request_index and offsets are wrong.
        """
        if self.reference:
            from recserve.features.grouped import read_index

            index, _ = read_index(requests, request_index, offsets)
            given = {name: _as_list(column) for name, column in _by_name(requests).items()}
            tiled = {name: column if len(column) == 1 else [column[r] for r in index] for name, column in given.items()}
            return self.run({**_by_name(candidates), **tiled}, types)
        return self._grouped.run(requests, candidates, request_index, offsets=offsets, types=types)

    @cached_property
    def _grouped(self) -> GroupedPlan:
        from recserve.features.grouped import GroupedPlan

        return GroupedPlan(self.graph)

    def _masked(self) -> list[tuple[Any, ops.Value]]:
        pairs = zip(self.graph.ops, self.graph.values, strict=True)
        return [(op, value) for op, value in pairs if getattr(op, "is_masked", False)]


def _by_name(columns: Columns) -> Mapping[str, Any]:
    return columns if isinstance(columns, Mapping) else {n: columns.column(n) for n in columns.schema.names}


def check_lengths(columns: Mapping[str, Sequence[Any]]) -> int:
    """N, the number of rows: of the columns that have not 1 row, or 1 if all have.

    Raises:
        DataError: a column has neither N rows nor 1 row.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    longer = {name: length for name, length in lengths.items() if length != 1}
    if not longer:
        return min(len(lengths), 1)
    rows = max(longer.values())
    for name, length in longer.items():
        if length != rows:
            raise DataError(f"column {name!r} has {length} rows, where another has {rows}")
    return rows


class _Reference:
    """The slow interpreter as an engine."""

    def __init__(self, graph: PlanGraph) -> None:
        self.graph = graph

    def run(self, columns: Mapping[str, Any], types: Mapping[str, str] | None, training: bool) -> dict[str, Output]:  # noqa: ARG002
        rows = check_lengths(columns)
        cells = {name: _as_list(column) for name, column in columns.items()}
        spread = {name: column * rows if len(column) == 1 else column for name, column in cells.items()}
        return Interpreter(self.graph, spread, rows, training).run()


def _as_list(column: Any) -> list[Any]:
    """Cells as plain Python values; maps as dicts."""
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        cells = column.to_pylist(maps_as_pydicts="lossy")
        return list(cells)
    if isinstance(column, np.ndarray):
        array: npt.NDArray[Any] = column
        return [_plain(cell) for cell in array.tolist()]
    return [_plain(cell) for cell in column]


def _plain(cell: Any) -> Any:
    if isinstance(cell, np.ndarray):
        return [_plain(x) for x in cell.tolist()]
    if isinstance(cell, np.generic):
        return cell.item()
    if isinstance(cell, Mapping):
        return {_plain(key): _plain(value) for key, value in cell.items()}
    return [_plain(x) for x in cell] if isinstance(cell, (list, tuple)) else cell
