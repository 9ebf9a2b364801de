"""Where items come from in bulk: Parquet or NDJSON files, Arrow tables, rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pa_parquet

from recserve.errors import DataError, suggest

ItemSource: TypeAlias = str | Path | pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]]
BATCH_ROWS: Final = 8192
_PARQUET: Final = (".parquet", ".pq")
_NDJSON: Final = (".ndjson", ".jsonl", ".json")


def read_item_batches(source: ItemSource, id_column: str = "item_id") -> Iterator[pa.RecordBatch]:
    """Batches of at most BATCH_ROWS items; memory is bounded for Parquet.

    Args:
        source: path of a Parquet or NDJSON file, an Arrow table, or rows.
        id_column: must be among the columns.

    Raises:
        DataError: no such file, unreadable, unknown ending, no id column; names the file.
    """
    if isinstance(source, str | Path):
        batches, where = _read_file(Path(source)), str(source)
    else:
        table = pa.Table.from_batches([source]) if isinstance(source, pa.RecordBatch) else source
        table = table if isinstance(table, pa.Table) else table_of_rows(source)
        batches, where = iter(table.to_batches(max_chunksize=BATCH_ROWS)), "items"
    for batch in batches:
        if id_column not in batch.schema.names:
            raise DataError(
                f"there is no column {id_column!r}",
                code="no_item_id",
                where=where,
                hint=suggest(id_column, batch.schema.names) or f"Columns: {', '.join(batch.schema.names)}",
            )
        yield batch


def table_of_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """An Arrow table of rows; a key that a row lacks is null.

    Raises:
        DataError: no rows, a row is no mapping, or the cells of a column have different types; names the column.
    """
    if not isinstance(rows, Sequence) or isinstance(rows, bytes):
        raise DataError(f"expected a file, an Arrow table or rows, got {rows!r:.80}", where="items")
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"expected an object, got {row!r:.80}", where=f"items[{number}]")
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        cells = [row.get(name) for row in rows]
        try:
            columns[str(name)] = pa.array(cells)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            raise DataError(f"cells of different types: {error}", code="mixed_types", where=f"items.{name}") from error
    return pa.table(columns)


def _read_file(path: Path) -> Iterator[pa.RecordBatch]:
    ending = path.suffix.lower()
    if ending not in (*_PARQUET, *_NDJSON):
        raise DataError(
            f"files ending in {ending!r} cannot be read",
            code="unknown_format",
            where=str(path),
            hint="Give a .parquet or .ndjson file",
        )
    if not path.is_file():
        raise DataError("there is no such file", code="no_such_file", where=str(path))
    try:
        if ending in _PARQUET:
            with pa_parquet.ParquetFile(path) as file:
                yield from map(_check_text, file.iter_batches(batch_size=BATCH_ROWS))
        elif path.stat().st_size:
            yield from map(_check_text, pa_json.read_json(path).to_batches(max_chunksize=BATCH_ROWS))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(
            f"cannot be read: {error}", code="unreadable_file", where=str(path), hint="Is it complete?"
        ) from error


def _check_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Arrow's readers take any bytes for text."""
    batch.validate(full=True)
    return batch


def count_items(source: ItemSource) -> int | None:
    """Number of items, for progress; None where only reading would tell."""
    if not isinstance(source, str | Path):
        return len(source)
    path = Path(source)
    if path.suffix.lower() in _PARQUET and path.is_file():
        try:
            return int(pa_parquet.read_metadata(path).num_rows)
        except (pa.ArrowInvalid, OSError):
            return None  # reading reports it
    return None
