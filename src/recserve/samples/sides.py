"""The user, context and candidate columns of records as Arrow arrays.

Axes: R requests, C candidates over all requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recserve.errors import DataError
from recserve.samples.cells import Columns, decode_columns, to_arrow


def request_arrays(requests: pa.Table, side: str, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """{column: R rows} of the side "user" or "context", sorted by name; missing where a record lacks the column."""
    sides = decode_side(requests, side)
    return {name: to_arrow(name, [s.get(name) for s in sides], types.get(name)) for name in names_of(sides)}


def candidate_arrays(requests: pa.Table, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """{column: C rows} of the candidate side, sorted by name; missing where a record lacks the column."""
    sides = decode_side(requests, "candidate_columns")
    lengths = pc.list_value_length(requests["candidates"]).to_pylist()
    return {
        name: to_arrow(name, flat_cells(requests, sides, lengths, name), types.get(name)) for name in names_of(sides)
    }


def decode_side(requests: pa.Table, side: str) -> list[Columns]:
    """The columns of one side, record by record.

    Raises:
        DataError: a text is not what the writer writes; names the record.
    """
    ids, texts = requests["request_id"].to_pylist(), requests[side].to_pylist()
    return [decode_columns(text, f"record {name!r}: {side}") for name, text in zip(ids, texts, strict=True)]


def names_of(sides: list[Columns]) -> list[str]:
    """The columns that occur, sorted."""
    return sorted({name for side in sides for name in side})


def flat_cells(requests: pa.Table, sides: list[Columns], lengths: list[int], name: str) -> list[Any]:
    """The cells of one column over the records, `lengths[r]` of record r.

    Raises:
        DataError: a record has more or fewer cells.
    """
    cells: list[Any] = []
    for row, (side, length) in enumerate(zip(sides, lengths, strict=True)):
        part = side.get(name)
        if part is None:
            part = [None] * length
        if not isinstance(part, list) or len(part) != length:
            where = f"record {requests['request_id'][row].as_py()!r}"
            raise DataError(f"column {name!r} is not a list of {length} cells", where=where)
        cells.extend(part)
    return cells


def flat_inline(requests: pa.Table) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[int]]:
    """The candidates with inline item columns, numbered over all requests, and their count in each record."""
    nested = requests["inline"].combine_chunks()
    counts = pc.list_value_length(nested).to_numpy(zero_copy_only=False).astype(np.int64)
    sizes = pc.list_value_length(requests["candidates"]).to_numpy().astype(np.int64)
    first = np.cumsum(sizes) - sizes
    index = nested.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return np.repeat(first, counts) + index, counts.tolist()
