"""Sequence columns made of a user's item ids: what the item store keeps for them, and the join at a request.

The online form of `features.sequence_join`. Each item column that a sequence reads is kept as a text an item, one more
ragged part of its payload. A request carries the ids; their texts become the steps of `<sequence>__<column>`, as if
the request had carried that column. Python does a constant amount of work for each joined column.

Axes: M items of a batch, S steps of a sequence, P kept columns, C columns of one join.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recserve import memory
from recserve.dtypes import I64
from recserve.errors import DataError
from recserve.features.canonical import ColumnData, Leaves
from recserve.features.ingest import named_column
from recserve.features.kernels import layout as at
from recserve.features.kernels.cell_text import measure_texts, write_texts
from recserve.features.sequence_join import SequenceJoin
from recserve.store.backlog import Backlog
from recserve.store.kernels.steps import copy_steps, measure_steps
from recserve.store.view import StoreView

_MULTI_VALUE: Final = "\x1d"


@dataclass(frozen=True)
class KeptColumns:
    """Item columns of M items as ragged parts of their payloads.

    Attributes:
        values: int64[P, FIELDS], value-table rows of tokens; row n of each is that of item n, with at most one token.
        keep: arrays that `values` points into.
    """

    values: I64
    keep: list[npt.NDArray[Any]]


class SequenceHistory:
    """The joins of one model.

    Attributes:
        joins: those with columns that the model reads, and no other columns.
        columns: the item columns that the store keeps, each once.
    """

    def __init__(self, joins: Iterable[SequenceJoin], read: Collection[str], first_part: int) -> None:
        """What to keep and to join.

        Args:
            joins: of the feature set.
            read: columns that the stages read; others are not made.
            first_part: number of ragged parts of a payload before those of the history.
        """
        needed = [(join, {made: name for made, name in join.columns.items() if made in read}) for join in joins]
        self.joins: Final = tuple((join, columns) for join, columns in needed if columns)
        self.columns: Final = tuple(dict.fromkeys(name for _, columns in self.joins for name in columns.values()))
        self._first: Final = first_part

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """(name, kind) of the ragged parts that an item's payload has for the history."""
        return tuple((f"column:{name}", "tokens") for name in self.columns)

    def keys(self, side: str) -> list[str]:
        """The columns of a side, "user" or "context", that hold the item ids."""
        return [join.key for join, _ in self.joins if join.side == side]

    def missing_keys(self, row: Mapping[str, Any]) -> list[str]:
        """The columns of item ids that `row` lacks and needs: it does not carry all that is joined by them."""
        return [join.key for join, columns in self.joins if join.key not in row and not columns.keys() <= row.keys()]

    def keep_columns(self, batch: pa.RecordBatch) -> KeptColumns:
        """The parts of the payloads of M items; a column that `batch` lacks is missing in all.

        Raises:
            DataError: a column holds what cells cannot hold; names it.
        """
        rows = len(batch)
        values = np.zeros((len(self.columns), memory.FIELDS), np.int64)
        values[:, memory.STRIDE], values[:, memory.ROWS] = 1, rows
        keep: list[npt.NDArray[Any]] = []
        for value, name in zip(values, self.columns, strict=True):
            known = name in batch.schema.names
            column = named_column(name, batch.column(name) if known else pa.nulls(rows))
            record = np.zeros(at.COLUMN, np.int64)
            column.fill(record)
            data = np.empty(measure_texts(record, rows), np.uint8)
            token_offsets, starts = np.empty((2, rows + 1), np.int64)
            value[memory.COUNT] = write_texts(record, data, token_offsets, starts)
            value[memory.VALUES] = data.ctypes.data
            value[memory.TOKEN_OFFSETS] = token_offsets.ctypes.data
            value[memory.STARTS] = starts.ctypes.data
            value[memory.ENDS] = starts.ctypes.data + 8
            keep += (data, token_offsets, starts)
        return KeptColumns(values, keep)

    def settle(self, backlog: Backlog, row: Mapping[str, Any]) -> None:
        """Have the items made that `fill` will join to the cells of a request.

        Raises:
            DataError: as `fill`.
        """
        for join, columns in self.joins:
            ids = _read_ids(row.get(join.key), join) if not columns.keys() <= row.keys() else []
            if ids:
                try:
                    backlog.settle(ids)
                except DataError as error:
                    raise error.at(f"column {join.key!r}") from None

    def fill(self, view: StoreView, row: dict[str, Any]) -> None:
        """Put the joined columns into the cells of a request. What the request carries itself stays.

        Args:
            view: of the items.
            row: {column: cell} of what the request carries. A joined column becomes a list of texts, one a step, that
                is empty where there is no such item; or None where there are no ids.

        Raises:
            DataError: ids are neither strings nor integers; names their column.
        """
        for join, columns in self.joins:
            wanted = {made: name for made, name in columns.items() if made not in row}
            if not wanted or join.key not in row:
                continue
            ids = _read_ids(row[join.key], join)
            if ids:
                try:
                    slots = view.find(ids)
                except DataError as error:
                    raise error.at(f"column {join.key!r}") from None
                row.update(zip(wanted, self._join(view, slots, list(wanted.values())), strict=True))
            else:
                row.update(dict.fromkeys(wanted))

    def _join(self, view: StoreView, slots: I64, names: list[str]) -> list[ColumnData]:
        """The column of one cell, a list of S texts, for each of C item columns."""
        starts, ends = np.empty((2, len(self.columns), len(slots)), np.int64)
        values = view.gather_ragged(slots, starts, ends, first=self._first)[[self.columns.index(n) for n in names]]
        offsets = np.empty((len(names), len(slots) + 1), np.int64)
        measure_steps(values, offsets)
        data = np.empty(max(1, int(offsets[-1, -1])), np.uint8)
        copy_steps(values, offsets, data)
        outer = np.array([0, len(slots)], np.int64)
        return [ColumnData(1, Leaves(at.TEXT, data, steps), outer) for steps in offsets]


def _read_ids(cell: Any, join: SequenceJoin) -> list[str] | list[int]:
    """The first ids of a cell of item ids, all of one type. None for a missing cell is no id."""
    if cell is None or isinstance(cell, float):
        return []
    if isinstance(cell, (str, bytes)):
        text = cell.decode(errors="replace") if isinstance(cell, bytes) else cell
        return list(filter(None, text.replace(_MULTI_VALUE, join.delimiter).split(join.delimiter)))[: join.limit]
    plain = cell.tolist() if isinstance(cell, np.ndarray) else cell
    ids = list(plain[: join.limit]) if isinstance(plain, (list, tuple)) else [plain]
    kinds = set(map(type, ids))
    is_plain = kinds == {str} or (kinds == {int} and min(ids) >= -(2**63) and max(ids) < 2**63)
    return ids if is_plain else list(map(str, ids))


def show_cell(cell: Any) -> Any:
    """A cell of a request for people: a joined one as the list of its steps, others as they are."""
    if not isinstance(cell, ColumnData) or cell.leaves.offsets is None:
        return cell
    data = cell.leaves.values.tobytes()
    return [data[a:b].decode(errors="replace") for a, b in itertools.pairwise(cell.leaves.offsets.tolist())]
