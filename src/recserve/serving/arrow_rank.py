"""Rank requests and answers as Arrow IPC streams: for callers that have columns already.

A request is one stream, or several, one after the other: first the candidates (N rows: `item_id`, and columns of their
own), then, as the metadata `recserve.part` of their schemas says, `user` and `context` (one row each) and `items` (a
row for each item that the store lacks, with `item_id`). The metadata `recserve` of the first schema holds the other
fields of the JSON request, as JSON; `user` and `context` may be there too.

The answer is one stream of K rows, best first: `item_id`, `score`, `position`, and `output.<goal>` for each output. The
metadata `recserve` of its schema holds the rest of the JSON answer.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from recserve.errors import DataError, RequestError
from recserve.serving.candidates import ITEM_ID
from recserve.serving.contract import Cells

CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"
_FIELDS: Final = b"recserve"
_PART: Final = b"recserve.part"
_PARTS: Final = ("user", "context", "items")
_MAX_PARTS: Final = 4
_NUMBERS: Final = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64())


def read_document(body: bytes, max_candidates: int) -> dict[str, Any]:
    """The request as the document that its JSON would be, candidates in column form.

    Args:
        body: the streams.
        max_candidates: rows that are turned into Python values; more are refused before that.

    Raises:
        RequestError: no Arrow streams, parts that are unknown or occur twice, or fields that are no JSON object.
        DataError: a user or context of other than one row.
    """
    source = pa.BufferReader(body)
    document: dict[str, Any] = {}
    for number in range(_MAX_PARTS + 1):
        if source.tell() >= len(body):
            if number:
                return document
            break
        table = _read_table(source, number)
        metadata = table.schema.metadata or {}
        if number == 0:
            document = _read_fields(metadata.get(_FIELDS, b"{}"))
            _check_rows(table.num_rows, max_candidates, "candidates")
            document["candidates"] = {name: _cells_or_rows(table.column(name)) for name in table.column_names}
            continue
        part = metadata.get(_PART, b"").decode("utf-8", "replace")
        if part not in _PARTS or part in document:
            known = ", ".join(_PARTS)
            raise RequestError(
                f"part {part!r} is unknown or there already", where=f"stream {number}", hint=f"Parts: {known}."
            )
        _check_rows(table.num_rows, max_candidates, part)
        document[part] = _read_items(table) if part == "items" else _read_row(table, part)
    raise RequestError("expected 1 to 4 Arrow IPC streams", code="invalid_arrow", where="body")


def write_answer(document: dict[str, Any], positions: Any) -> bytes:
    """The answer as a stream.

    Args:
        document: of the JSON answer in column form, with arrays.
        positions: K places among the candidates.
    """
    ids = document.pop("item_ids")
    columns: dict[str, Any] = {
        ITEM_ID: pa.array(ids, pa.int64() if ids and isinstance(ids[0], int) else pa.string()),
        "score": pa.array(document.pop("scores"), pa.float32()),
        "position": pa.array(np.asarray(positions, np.int64)),
    }
    for goal, values in document.pop("outputs").items():
        columns[f"output.{goal}"] = _tensor(np.asarray(values, np.float32))
    batch = pa.record_batch(columns).replace_schema_metadata({_FIELDS: orjson.dumps(document)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _read_table(source: Any, number: int) -> Any:
    try:
        with pa.ipc.open_stream(source) as reader:
            table = reader.read_all()
        table.validate(full=True)  # offsets and lengths come from outside
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        raise RequestError(f"not Arrow: {error}", code="invalid_arrow", where=f"stream {number}") from None
    return table


def _read_fields(content: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"not JSON: {error}", code="invalid_json", where="metadata 'recserve'") from None
    if not isinstance(fields, dict) or "candidates" in fields:
        raise RequestError(
            "expected an object without candidates", where="metadata 'recserve'", hint="They are the first stream."
        )
    return fields


def _check_rows(rows: int, max_candidates: int, what: str) -> None:
    if rows > max_candidates:
        raise RequestError(
            f"{rows} rows of {what}, the limit is {max_candidates}",
            code="too_many_candidates",
            where=what,
            hint="Split the request, or raise --max-candidates.",
        )


def _read_row(table: Any, part: str) -> dict[str, Any]:
    if table.num_rows != 1:
        raise DataError(f"{table.num_rows} rows, where one is expected", where=part)
    return {name: _cell(table.column(name)) for name in table.column_names}


def _read_items(table: Any) -> dict[Any, dict[str, Any]]:
    if ITEM_ID not in table.column_names:
        raise DataError(f"no {ITEM_ID!r} among the columns", where="items")
    columns = {name: _cells(table.column(name)) for name in table.column_names}
    ids = columns.pop(ITEM_ID)
    rows = zip(*columns.values(), strict=True) if columns else ([()] * len(ids))
    # JSON's keys are texts, and are read back as integers where the candidates are.
    return {str(key): dict(zip(columns, row, strict=True)) for key, row in zip(ids, rows, strict=True)}


def _cell(column: Any) -> Any:
    cell = column[0].as_py()
    return dict(cell) if pa.types.is_map(column.type) and cell is not None else cell


def _cells(column: Any) -> list[Any]:
    """The cells as Python values; numbers and texts without a loop of Python's."""
    kind = column.type
    is_plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)
    if is_plain and (not column.null_count or pa.types.is_string(kind)):
        cells: list[Any] = column.to_numpy().tolist()
        return cells
    if pa.types.is_dictionary(kind):
        return _cells(column.cast(kind.value_type))
    if pa.types.is_map(kind):
        return [None if cell is None else dict(cell) for cell in column.to_pylist()]
    found: list[Any] = column.to_pylist()
    return found


def _cells_or_rows(column: Any) -> Cells:
    """The cells; rows of one width of integers or floats, none missing, as an array [N, k] of its own."""
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and kind.value_type in _NUMBERS and column.num_chunks == 1 and len(column) and not column.null_count:
        lengths, numbers = pc.list_value_length(column.chunk(0)).to_numpy(), column.chunk(0).flatten()
        if lengths[0] and (lengths == lengths[0]).all() and not numbers.null_count:
            rows: Cells = numbers.to_numpy().reshape(len(lengths), -1).copy()
            return rows
    return _cells(column)


def _tensor(values: Any) -> Any:
    """One column of the axes after the first, as lists of fixed size."""
    array = pa.array(values.reshape(-1))
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array
