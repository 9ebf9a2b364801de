"""The candidates of a request as the caller gives them: ids, or columns with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from recserve.dtypes import I64
from recserve.errors import DataError, RequestError, suggest

ITEM_ID: Final = "item_id"
ItemId: TypeAlias = str | int
Candidates: TypeAlias = Sequence[ItemId] | Mapping[str, Sequence[Any] | npt.NDArray[Any]]


@dataclass(frozen=True)
class CandidateList:
    """N candidates.

    Attributes:
        ids: N ids as given: a list, an array, or an Arrow array.
        columns: candidate-side columns of N cells each; None where the request lacks one.
    """

    ids: Any
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    def pick(self, positions: I64) -> list[ItemId]:
        """The ids at some positions, in that order."""
        if isinstance(self.ids, np.ndarray):
            return list(self.ids[positions].tolist())
        if hasattr(self.ids, "take"):
            return list(self.ids.take(positions).to_pylist())
        ids = self.ids
        return [ids[i] for i in positions.tolist()]

    def leave_out(self, positions: I64) -> list[ItemId]:
        """The ids at all other positions. `positions` rise."""
        if len(positions) == len(self):
            return []
        others = np.ones(len(self), np.bool_)
        others[positions] = False
        return self.pick(np.flatnonzero(others))

    def columns_at(self, positions: I64) -> Mapping[str, Any]:
        """The columns at some positions."""
        if len(positions) == len(self) or not self.columns:
            return self.columns
        return {name: _take(cells, positions) for name, cells in self.columns.items()}


@dataclass(frozen=True)
class InlineItems:
    """Items that a request brings along.

    Attributes:
        positions: int64[n], the candidates that they are; rising.
        columns: {item column: n cells}.
    """

    positions: I64
    columns: dict[str, list[Any]]


def read_candidates(candidates: Any, wanted: Sequence[str]) -> CandidateList:
    """Check the candidates of a request.

    Args:
        candidates: ids, or columns of equal length with `item_id`.
        wanted: candidate-side columns that the features read; one that lacks is missing for all.

    Raises:
        RequestError: none, or of another form.
    """
    columns: Mapping[str, Any] = {}
    ids = candidates
    if isinstance(candidates, Mapping):
        if ITEM_ID not in candidates:
            raise RequestError(
                f"there is no column {ITEM_ID!r}",
                code="no_item_id",
                where="candidates",
                hint=suggest(ITEM_ID, map(str, candidates)),
            )
        ids, columns = candidates[ITEM_ID], candidates
    if isinstance(ids, str | bytes) or not hasattr(ids, "__len__") or not hasattr(ids, "__getitem__"):
        raise RequestError(f"expected a list of item ids, got {ids!r:.80}", where="candidates")
    if getattr(ids, "ndim", 1) != 1:
        raise RequestError(f"expected a list of item ids, got an array of {ids.ndim} axes", where="candidates")
    if isinstance(ids, Mapping):
        raise RequestError("expected a list of item ids, got an object", where="candidates.item_id")
    if not len(ids):
        raise RequestError(
            "there are no candidates", code="empty_candidates", where="candidates", hint="Send at least one item id"
        )
    cells: dict[str, Any] = {}
    for name in wanted:
        column = columns.get(name)
        if column is None:
            cells[name] = [None]
        elif isinstance(column, str | bytes | Mapping) or not hasattr(column, "__len__") or len(column) != len(ids):
            size = len(column) if hasattr(column, "__len__") and not isinstance(column, str) else repr(column)[:40]
            raise DataError(
                f"expected {len(ids)} cells, one for each candidate, got {size}", where=f"candidates.{name}"
            )
        else:
            cells[name] = column
    return CandidateList(ids, cells)


def read_inline_items(items: Any, listed: CandidateList, wanted: Sequence[str]) -> InlineItems:
    """The candidates whose columns are in `items`, and those columns, one cell a candidate.

    Cost: Python work for each inline item. Items that come often belong in the store.

    Raises:
        RequestError: not an object of objects.
    """
    if not isinstance(items, Mapping):
        raise RequestError(f"expected an object of items by id, got {items!r:.80}", where="items")
    by_text: dict[str, Mapping[str, Any]] = {}
    for key, columns in items.items():
        if not isinstance(columns, Mapping):
            raise RequestError(f"expected an object of columns, got {columns!r:.80}", where=f"items[{key!r}]")
        by_text[str(key)] = columns
    ids = listed.pick(np.arange(len(listed)))
    positions = [n for n, one in enumerate(ids) if str(one) in by_text]
    # The id is the key; a feature may read it all the same.
    rows = [{ITEM_ID: ids[n], **by_text[str(ids[n])]} for n in positions]
    return InlineItems(np.array(positions, np.int64), {name: [row.get(name) for row in rows] for name in wanted})


def _take(cells: Any, positions: I64) -> Any:
    if len(cells) == 1:
        return cells
    if isinstance(cells, np.ndarray):
        return cells[positions]
    if hasattr(cells, "take"):
        return cells.take(positions)
    return [cells[i] for i in positions.tolist()]
