"""Features of whole files: raw columns in, Parquet out, in batches, on all cores.

The main thread reads and writes in order; worker threads extract (kernels run without the interpreter's lock). A few
batches are in flight at once, so memory does not grow with the file.

Axes: N rows of a batch, S steps over all rows, V values over all rows.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recserve.columns import Ragged, offsets_of
from recserve.errors import CellError, DataError, suggest
from recserve.features.plan import Plan

Progress = Callable[[int, int | None], None]
"""Called with the rows done and, where known, all rows."""
WEIGHTS: Final = ".weights"
"""Suffix of the column that holds the weights of a feature's ids."""
METADATA: Final = b"recserve.features"
"""Key of the file's metadata: a JSON object of the config's digest and {feature: kind of output}."""
_NDJSON: Final = (".ndjson", ".jsonl", ".json")


@dataclass(frozen=True)
class SourceBatch:
    """Rows of a file.

    Attributes:
        columns: a record batch, or {column: cells}.
        first: number of the first row in the file.
        rows: N.
        place: name of row n's place in the file, such as "row group 2" or "line 7".
    """

    columns: Any
    first: int
    rows: int
    place: Callable[[int], str]


@dataclass(frozen=True)
class Extracted:
    """What was written: rows, and the names of the columns in order."""

    rows: int
    columns: tuple[str, ...]


def read_batches(path: Path, columns: Sequence[str], batch_rows: int) -> Iterator[SourceBatch]:
    """The rows of a Parquet or NDJSON file, `batch_rows` at a time; one empty batch if it has none.

    Args:
        path: `.ndjson`, `.jsonl` and `.json` are NDJSON, one object a line; all else is Parquet.
        columns: to read. A key that an NDJSON row lacks is a missing cell.
        batch_rows: at least 1.

    Raises:
        DataError: the file cannot be read, or has no such column; names the file.
    """
    read = _read_ndjson if path.suffix.lower() in _NDJSON else _read_parquet
    try:
        yield from read(path, columns, batch_rows)
    except OSError as error:
        raise DataError(f"cannot be read: {_reason(error)}", where=str(path)) from None


def _reason(error: OSError) -> str:
    """Without the path, which Arrow puts into it."""
    return os.strerror(error.errno) if error.errno else str(error)


def _check_columns(path: Path, columns: Sequence[str], known: Sequence[str]) -> None:
    for name in columns:
        if name not in known:
            hint = suggest(name, known) or f"Columns: {', '.join(known)}"
            raise DataError(f"column {name!r} is missing", code="missing_column", where=str(path), hint=hint)


def _read_parquet(path: Path, columns: Sequence[str], batch_rows: int) -> Iterator[SourceBatch]:
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, columns, file.schema_arrow.names)
            groups = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
            ends = np.cumsum(groups, dtype=np.int64)
            first = 0
            if not ends.size or not ends[-1]:
                empty = file.schema_arrow.empty_table().select(columns)
                yield SourceBatch(empty, 0, 0, lambda _: "row group 0")
            for batch in file.iter_batches(batch_rows, columns=list(columns)):
                begun = first

                def place(row: int, begun: int = begun) -> str:
                    return f"row group {np.searchsorted(ends, begun + row, 'right')}"

                yield SourceBatch(batch, first, len(batch), place)
                first += len(batch)
    except pa.ArrowException as error:
        raise DataError(f"cannot be read as Parquet: {error}", where=str(path)) from None


def _read_ndjson(path: Path, columns: Sequence[str], batch_rows: int) -> Iterator[SourceBatch]:
    first, is_empty = 0, True
    with path.open("rb") as file:
        numbered = ((number, line) for number, line in enumerate(file, 1) if not line.isspace())
        while lines := list(itertools.islice(numbered, batch_rows)):
            rows = _parse_lines(path, lines)
            if is_empty:
                _check_columns(path, columns, list(dict.fromkeys(name for row in rows for name in row)))
            cells = {name: [row.get(name) for row in rows] for name in columns}
            numbers = [number for number, _ in lines]
            yield SourceBatch(cells, first, len(rows), lambda row, numbers=numbers: f"line {numbers[row]}")  # type: ignore[misc]
            first, is_empty = first + len(rows), False
    if is_empty:
        yield SourceBatch({name: [] for name in columns}, 0, 0, lambda _: "line 1")


def _parse_lines(path: Path, lines: Sequence[tuple[int, bytes]]) -> list[dict[str, Any]]:
    rows = []
    for number, line in lines:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(f"is not JSON: {error.msg}", where=f"{path}, line {number}") from None
        if not isinstance(row, dict):
            raise DataError(f"expected an object, got {row!r:.80}", where=f"{path}, line {number}")
        rows.append(row)
    return rows


def count_rows(path: Path) -> int | None:
    """Rows of a file where its footer tells; None where only reading would."""
    try:
        return None if path.suffix.lower() in _NDJSON else int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None  # reading reports it


def extract_file(
    plan: Plan,
    source: Path,
    out: Path,
    *,
    batch_rows: int = 16_384,
    threads: int | None = None,
    digest: str | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Extract all features of a file into a Parquet file, which appears under its name when it is complete.

    Args:
        plan: what to extract.
        source: see `read_batches`.
        out: see `to_arrow` for its columns.
        batch_rows: rows of a batch; about `threads + 2` batches are in memory at once.
        threads: that extract; None: one a core.
        digest: of the config, for the metadata.
        progress: see `Progress`.

    Raises:
        DataError: a file cannot be read or written, a column is missing, or a cell is wrong; names the file, the place
            in it, the feature, the row and the value. No file is written then.
    """
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    total = None if progress is None else count_rows(source)
    writer: pq.ParquetWriter | None = None
    rows = 0
    try:
        for table in _extract(plan, source, batch_rows, threads or os.cpu_count() or 1):
            if writer is None:
                out.parent.mkdir(parents=True, exist_ok=True)
                schema = table.schema.with_metadata({METADATA: _metadata(plan, digest)})
                writer = pq.ParquetWriter(part, schema, compression="zstd")
            writer.write_table(table.replace_schema_metadata(schema.metadata))
            rows += len(table)
            if progress is not None:
                progress(rows, total)
        assert writer is not None  # `read_batches` gives at least one batch
        names = tuple(writer.schema.names)
        writer.close()
        with part.open("rb") as file:
            os.fsync(file.fileno())  # the name must not outlive the bytes if the machine fails
        part.replace(out)
        return Extracted(rows, names)
    except OSError as error:
        raise DataError(f"cannot be written: {_reason(error)}", where=str(out)) from None
    finally:
        if writer is not None:
            writer.close()
            part.unlink(missing_ok=True)


def _extract(plan: Plan, source: Path, batch_rows: int, threads: int) -> Iterator[pa.Table]:
    """The features of each batch, in order."""
    running: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(threads, "recserve-features") as pool:
        try:
            for batch in read_batches(source, plan.input_columns, batch_rows):
                running.append(pool.submit(_extract_batch, plan, source, batch))
                if len(running) > threads + 1:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _extract_batch(plan: Plan, source: Path, batch: SourceBatch) -> pa.Table:
    try:
        return to_table(plan.run(batch.columns))
    except CellError as error:
        place = str(source) if error.row is None else f"{source}, {batch.place(error.row)}"
        raise error.shift(batch.first).at(place) from None
    except DataError as error:
        raise error.at(f"{source}, rows {batch.first} to {batch.first + batch.rows}") from None


def _metadata(plan: Plan, digest: str | None) -> bytes:
    kinds = {spec.name: spec.kind.value for spec in plan.outputs}
    return orjson.dumps({"digest": digest, "profile": plan.profile, "outputs": kinds})


def to_table(features: Mapping[str, Any]) -> pa.Table:
    """Extracted features as a table; see `to_arrow`."""
    return pa.table({k: v for name, value in features.items() for k, v in to_arrow(name, value).items()})


def to_arrow(name: str, value: Any) -> dict[str, pa.Array]:
    """The columns of one feature.

    A dense feature is a fixed-size list of float32. Ids are a list of int64, texts a list of strings (bytes that are
    not UTF-8 become U+FFFD). A sequence is a list of steps, each of them as above. The weights of weighted ids are a
    second column `<name>.weights` of the same lists of float32.
    """
    if isinstance(value, np.ndarray):
        return {name: _vectors(value)}
    lengths = [value.lengths] if value.seq_lengths is None else [value.key_lengths, value.seq_lengths]
    columns = {name: _nest(_flat(value), lengths)}
    if value.weights is not None:
        columns[f"{name}{WEIGHTS}"] = _nest(pa.array(value.weights), lengths)
    return columns


def _flat(value: Ragged) -> pa.Array:
    if value.values.ndim == 2:
        return _vectors(value.values)
    if value.values.dtype != object:
        return pa.array(value.values)
    try:
        return pa.array(value.values, pa.large_string())
    except UnicodeEncodeError:
        texts = [text.encode(errors="surrogateescape").decode(errors="replace") for text in value.values]
        return pa.array(texts, pa.large_string())


def _vectors(rows: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def _nest(flat: pa.Array, lengths: list[Any]) -> pa.Array:
    for counts in lengths:
        if counts is not None:  # a dense sequence has no values within a step
            flat = pa.LargeListArray.from_arrays(offsets_of(counts), flat)
    return flat
