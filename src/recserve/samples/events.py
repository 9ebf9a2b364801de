"""Behaviour events: what users did, one row per act.

NDJSON, one object a line, or Parquet. Events may come late, twice and in any order; the join does not mind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recserve.errors import DataError, suggest

EVENT_SCHEMA: Final = pa.schema(
    [
        pa.field("time", pa.int64(), nullable=False),
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("request_id", pa.string()),
        pa.field("value", pa.float64()),
    ]
)
"""time: milliseconds since 1970 UTC. type: such as click, cart, buy. request_id: of the record that showed the item,
where the client knows it. value: such as a price or a dwell time. user_id may be missing only beside a request_id."""

_OPTIONAL: Final = ("user_id", "request_id", "value")


def read_events(path: str | Path) -> pa.Table:
    """All events of a file, or of the `.ndjson`, `.jsonl` and `.parquet` files of a folder, as a Table of EVENT_SCHEMA.

    Integer ids become decimal text. Fields may be missing where EVENT_SCHEMA allows null.

    Raises:
        DataError: no such path, a damaged file, a missing, unknown or wrongly typed field; names the file and line (of
            Parquet the row, from 0).
    """
    path = Path(path)
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path))
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    tables = [EVENT_SCHEMA.empty_table()]
    for file in files:
        if file.suffix in (".ndjson", ".jsonl"):
            tables.append(_read_ndjson(file))
        elif file.suffix == ".parquet":
            tables.append(_read_parquet(file))
        elif not path.is_dir():
            raise DataError("is neither .ndjson, .jsonl nor .parquet", where=str(path))
    return pa.concat_tables(tables)


def write_events(events: pa.Table, file: str | Path) -> None:
    """Write a Table of EVENT_SCHEMA to a `.ndjson` or `.parquet` file, which appears only when it is complete."""
    file = Path(file)
    part = file.with_name(file.name + ".part")
    if file.suffix == ".parquet":
        pq.write_table(events, part, compression="zstd")
    elif file.suffix == ".ndjson":
        with part.open("wb") as out:
            for row in events.to_pylist():
                out.write(
                    orjson.dumps({k: v for k, v in row.items() if v is not None}, option=orjson.OPT_APPEND_NEWLINE)
                )
    else:
        raise DataError("is neither .ndjson nor .parquet", where=str(file))
    os.replace(part, file)


def _read_ndjson(file: Path) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in EVENT_SCHEMA.names}
    known = set(columns)
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(f"is not JSON: {error}", where=f"{file}:{number}") from None
        problem = _problem(row, known)
        if problem:
            raise DataError(problem[0], where=f"{file}:{number}", hint=problem[1])
        for name, cells in columns.items():
            cells.append(row.get(name))
    for name in ("user_id", "item_id"):
        columns[name] = [cell if cell is None or isinstance(cell, str) else str(cell) for cell in columns[name]]
    return pa.table(columns, schema=EVENT_SCHEMA)


def _problem(row: Any, known: set[str]) -> tuple[str, str | None] | None:
    """What is wrong with one event and how to mend it, or None."""
    if not isinstance(row, dict):
        return f"is {type(row).__name__}, not an object", None
    for name in row.keys() - known:
        return f"unknown field {name!r}", suggest(name, known)
    time, user, item, kind = row.get("time"), row.get("user_id"), row.get("item_id"), row.get("type")
    if type(time) is not int or not 0 <= time < 2**63:
        return f"time is {time!r}", "Give milliseconds since 1970 UTC, an integer from 0."
    if type(item) not in (str, int):
        return f"item_id is {item!r}", "Give a text or an integer."
    if user is not None and type(user) not in (str, int):
        return f"user_id is {user!r}", "Give a text or an integer."
    if not isinstance(kind, str) or not kind:
        return f"type is {kind!r}", "Give a text such as 'click'."
    request = row.get("request_id")
    if request is not None and not isinstance(request, str):
        return f"request_id is {request!r}", "Give a text, or leave it out."
    if user is None and request is None:
        return "has neither user_id nor request_id", "Without one of them no impression can be found."
    value = row.get("value")
    if value is not None and type(value) not in (int, float):
        return f"value is {value!r}", "Give a number, or leave it out."
    return None


def _read_parquet(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is not a readable Parquet file: {error}", where=str(file)) from None
    for name in table.column_names:
        if name not in EVENT_SCHEMA.names:
            raise DataError(f"unknown column {name!r}", where=str(file), hint=suggest(name, EVENT_SCHEMA.names))
    arrays = []
    for field in EVENT_SCHEMA:
        if field.name in table.column_names:
            column = table[field.name]
        elif field.name in _OPTIONAL:
            column = pa.nulls(len(table), field.type)
        else:
            raise DataError(f"misses the column {field.name!r}", where=str(file))
        if column.null_count and not field.nullable:
            row = pc.index(pc.is_null(column), value=True).as_py()
            raise DataError(f"{field.name} is missing", where=f"{file}: row {row}")
        try:
            arrays.append(column.cast(field.type))
        except pa.ArrowException as error:
            raise DataError(f"column {field.name!r} is no {field.type}: {error}", where=str(file)) from None
    result = pa.table(arrays, schema=EVENT_SCHEMA)
    lost = pc.and_(pc.is_null(result["user_id"]), pc.is_null(result["request_id"]))
    if pc.any(lost).as_py():
        row = pc.index(lost, value=True).as_py()
        raise DataError("has neither user_id nor request_id", where=f"{file}: row {row}")
    return result
