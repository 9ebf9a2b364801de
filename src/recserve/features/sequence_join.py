"""Sequences of item columns from item ids: `<sequence>__<column>` made of an item table, by the sequence's key column.

A user's history travels as item ids (`sequence_pk`, `user:<sequence>` where unset); what is known of these items comes
from where the items are kept. `FeatureSet.sequence_joins` tells which columns to make, `join_sequences` makes them.

Axes: N rows, S steps over all rows, M items.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.columns import offsets_of
from recserve.dtypes import I64
from recserve.errors import DataError, suggest
from recserve.features.declared import Declared

_MULTI_VALUE: Final = "\x1d"


@dataclass(frozen=True)
class SequenceJoin:
    """The columns of one sequence that come from items.

    Attributes:
        sequence: name of the group.
        key: column of the item ids of the steps.
        side: of that column, "user" or "context".
        columns: {column to make: item column}, such as {"click__cate": "cate"}.
        delimiter: ends a step where the ids are text; so does 0x1d.
        limit: most steps that are kept, None: all.
    """

    sequence: str
    key: str
    side: str
    columns: Mapping[str, str]
    delimiter: str
    limit: int | None


def sequence_joins(features: Iterable[Declared]) -> list[SequenceJoin]:
    """The joins of checked features, in config order: sequences with `item:` inputs."""
    found: dict[str, tuple[Declared, dict[str, str]]] = {}
    for feature in features:
        if feature.group and feature.mode == "raw":
            columns = found.setdefault(feature.group.sequence_name, (feature, {}))[1]
            columns |= {i.column: i.name for i in feature.inputs if i.side == "item" and i.is_sequence}
    return [_join(name, feature, columns) for name, (feature, columns) in found.items() if columns]


def _join(name: str, feature: Declared, columns: Mapping[str, str]) -> SequenceJoin:
    given = feature.group.sequence_pk if feature.group else None
    side, _, key = (given or f"user:{name}").partition(":")
    return SequenceJoin(name, key, side, columns, feature.delimiter, feature.limit)


def join_sequences(
    joins: Iterable[SequenceJoin], columns: Mapping[str, Any], items: Mapping[str, Any], item_id: str = "item_id"
) -> dict[str, Any]:
    """`columns` with the sequence columns that come from items.

    Args:
        joins: see `sequence_joins`.
        columns: by name N rows (or 1 row) of cells; key cells are text, lists of ids, or missing. A sequence column
            that is already there stays as it is.
        items: by name M cells, each in the form that `Plan.run` takes: lists, NumPy or Arrow arrays.
        item_id: column of `items` with the ids. Ids are compared as text; of equal ones the last counts.

    Returns:
        New mapping; each made column has N cells: a list with a cell for each step (None of an item that is not in
        `items`), or None where the key is missing.

    Raises:
        DataError: a column is missing.
    """
    ids = _texts(_cells(items, item_id, "the item table"))
    order = np.argsort(ids, kind="stable")
    result = dict(columns)
    for join in joins:
        wanted = {made: column for made, column in join.columns.items() if made not in columns}
        if not wanted:
            continue
        keys = [_key_cells(cell, join) for cell in _cells(columns, join.key, f"sequence {join.sequence!r}")]
        offsets = offsets_of(np.array([len(cell) for cell in keys], np.int64))
        rows = _find(ids, order, _texts([key for cell in keys for key in cell]))
        for made, column in wanted.items():
            result[made] = _gathered(_cells(items, column, "the item table"), rows, offsets)
    return result


def _cells(columns: Mapping[str, Any], name: str, place: str) -> list[Any]:
    """The cells of a column as plain Python values."""
    if name not in columns:
        raise DataError(f"column {name!r} is missing", where=place, hint=suggest(name, columns))
    column = columns[name]
    if hasattr(column, "to_pylist"):
        return list(column.to_pylist())
    return list(column.tolist() if isinstance(column, np.ndarray) else column)


def _key_cells(cell: Any, join: SequenceJoin) -> Sequence[Any]:
    if cell is None or isinstance(cell, float):
        return ()
    if isinstance(cell, (str, bytes)):
        text = cell.decode(errors="surrogateescape") if isinstance(cell, bytes) else cell
        found: Sequence[Any] = [x for x in text.replace(_MULTI_VALUE, join.delimiter).split(join.delimiter) if x]
    elif isinstance(cell, np.ndarray):
        found = cell.tolist()
    else:
        found = cell if isinstance(cell, (list, tuple)) else [cell]
    return found[: join.limit] if join.limit else found


def _texts(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Ids as NumPy texts."""
    return np.array([value if isinstance(value, str) else str(value) for value in values], np.str_)


def _find(ids: npt.NDArray[Any], order: I64, keys: npt.NDArray[Any]) -> I64:
    """int64[S]: the row of each key, the last of equal ids; -1 where there is none."""
    if not len(ids) or not len(keys):
        return np.full(len(keys), -1, np.int64)
    places = np.maximum(np.searchsorted(ids, keys, side="right", sorter=order) - 1, 0)
    rows = order[places]
    return np.where(ids[rows] == keys, rows, -1)


def _gathered(cells: list[Any], rows: I64, offsets: I64) -> list[Any]:
    """Cells of the steps, row by row; None where a row has no step."""
    values = np.empty(len(cells) + 1, object)
    values[:-1] = cells
    steps = values[rows].tolist()  # row -1 is the None at the end
    return [steps[a:b] or None for a, b in itertools.pairwise(offsets.tolist())]
