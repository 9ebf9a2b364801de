"""Item columns of impressions: from the record where the request brought them, else from an items table.

Axes: C candidates over all requests, N impressions, I inline items over all requests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recserve.dtypes import I64, Bool
from recserve.errors import DataError
from recserve.samples.cells import to_arrow
from recserve.samples.sides import decode_side, flat_cells, flat_inline, names_of


def item_columns_of(
    requests: pa.Table, item_ids: pa.ChunkedArray, candidate: I64, items: pa.Table | None
) -> tuple[dict[str, Any], Bool]:
    """The item columns of N impressions, and where they are known.

    Args:
        requests: R rows of RECORD_SCHEMA.
        item_ids: N texts.
        candidate: int64[N], index over all C candidates of `requests`.
        items: see `join.join`.

    Returns:
        ({column: N rows}, bool[N]). An impression is known if its record brings its columns or `items` has its item;
        without an items table all are known.
    """
    inline, counts = flat_inline(requests)
    sides = decode_side(requests, "item_columns")
    total = int(pc.sum(pc.list_value_length(requests["candidates"])).as_py() or 0)
    inline_row = np.full(total, -1, np.int64)
    inline_row[inline] = np.arange(len(inline))
    from_inline = inline_row[candidate]
    cells = {name: flat_cells(requests, sides, counts, name) for name in names_of(sides)}
    if items is None:
        rows = pa.array(from_inline, mask=from_inline < 0)
        return {name: to_arrow(name, part).take(rows) for name, part in cells.items()}, np.ones(
            len(candidate), np.bool_
        )
    from_table = _table_rows(items, item_ids)
    is_inline = from_inline >= 0
    rows_of_both = np.where(is_inline, from_inline + len(items), from_table)
    rows = pa.array(rows_of_both, mask=rows_of_both < 0)
    columns = {}
    for name in sorted({*items.column_names, *cells}):
        part = cells.get(name, [None] * len(inline))
        if name == "item_id" and name not in cells:
            part = _inline_ids(requests, inline, items[name].type)
        columns[name] = _both(name, items, part).take(rows)
    return columns, rows_of_both >= 0


def _table_rows(items: pa.Table, item_ids: pa.ChunkedArray) -> I64:
    """int64[N]: row of each item in `items`, −1 where it has none."""
    if "item_id" not in items.column_names:
        raise DataError("the items table misses the column 'item_id'", hint=f"It has {items.column_names}.")
    kind = items["item_id"].type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise DataError(f"item_id of the items table is {kind}", hint="Use text or integers.")
    known = items["item_id"].cast(pa.string()).combine_chunks()
    if known.null_count or len(known.unique()) < len(known):
        counted = known.value_counts()
        twice = [str(c["values"]) for c in counted if c["counts"].as_py() > 1 or not c["values"].is_valid]
        raise DataError(f"the items table has the item {twice[0]!r} more than once or without an id")
    rows: I64 = pc.index_in(item_ids, value_set=known).fill_null(-1).to_numpy().astype(np.int64)
    return rows


def _inline_ids(requests: pa.Table, inline: I64, kind: pa.DataType) -> list[Any]:
    """The ids of the inline candidates, of the type of the items table's."""
    ids = requests["candidates"].combine_chunks().flatten().field("item_id").take(pa.array(inline))
    try:
        return list(ids.cast(kind).to_pylist())
    except pa.ArrowException as error:
        raise DataError(f"an inline item id is not of the items table's {kind}: {error}") from None


def _both(name: str, items: pa.Table, part: list[Any]) -> pa.ChunkedArray:
    """The table's column followed by the inline cells."""
    if name not in items.column_names:
        array = to_arrow(name, part)
        return pa.chunked_array([pa.nulls(len(items), array.type), array])
    column = items[name]
    if not part:
        return column
    return pa.chunked_array([*column.chunks, to_arrow(name, part, column.type)], type=column.type)
