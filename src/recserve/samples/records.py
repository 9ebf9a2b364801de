"""The served record: one row per request, as the ranker saw it and answered it.

A record is the unit of logging, of training and of replay. One user and one context stand once, beside the list of
candidates: a request of 500 candidates does not repeat the user's history 500 times.

Each side's columns are one JSON text (see `cells` for how it keeps every type exactly). A struct column per side would
need one type per column for ever; a column that is text in one request and a map in the next, or that appears with a
new model, would break the log. The text keeps what came, and the join gives types to a whole training set at once.

Axes: C candidates of one request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recserve.dtypes import F64, I32
from recserve.errors import DataError, suggest
from recserve.samples.cells import decode_columns, encode_columns

SCHEMA_VERSION: Final = 1
SCHEMA_KEY: Final = b"recserve.record"
"""Key of the Parquet metadata that holds the version; NDJSON lines hold it as `schema`."""

RECORD_SCHEMA: Final = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("time", pa.int64(), nullable=False),
        pa.field("user_id", pa.string()),
        pa.field("user", pa.string(), nullable=False),
        pa.field("context", pa.string(), nullable=False),
        pa.field(
            "candidates",
            pa.list_(pa.struct([("item_id", pa.string()), ("position", pa.int32()), ("score", pa.float64())])),
            nullable=False,
        ),
        pa.field("candidate_columns", pa.string(), nullable=False),
        pa.field("inline", pa.list_(pa.int32()), nullable=False),
        pa.field("item_columns", pa.string(), nullable=False),
        pa.field("outputs", pa.map_(pa.string(), pa.list_(pa.float64())), nullable=False),
        pa.field("model_name", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("table_epoch", pa.int64(), nullable=False),
        pa.field("item_epoch", pa.int64(), nullable=False),
    ],
    metadata={SCHEMA_KEY: str(SCHEMA_VERSION).encode()},
)

_SIDES: Final = ("user", "context", "candidate_columns", "item_columns")
_TEXTS: Final = ("request_id", "model_name", "model_version")
_INTS: Final = ("time", "table_epoch", "item_epoch")


@dataclass(frozen=True, eq=False)
class ServedRecord:
    """One answered request. Arrays must not change after the record is handed to a writer.

    Attributes:
        request_id: unique; a second record with the same id is a duplicate.
        time: when the request came, milliseconds since 1970 UTC.
        user_id: text, or None for an anonymous user.
        user: {column: cell} of the user side, as the features saw it: state from the store and of the request.
        context: {column: cell} of the context side.
        item_ids: [C] candidates, integer ids in decimal.
        scores: float[C] final scores; a score that is not finite is logged as missing.
        positions: int[C] where each candidate was shown, from 0; −1 for one that was scored but not shown, which is
            no impression and gives no sample. None: shown in the order of `item_ids`.
        outputs: {goal: float[C]} of the network.
        candidate_columns: {column: C cells} of the candidate side, such as a recall score.
        inline: int[I] the candidates, by index and rising, that brought their item columns in the request.
        item_columns: {column: I cells} of those. Of the others the item store held the columns.
        model_name: the model that answered.
        model_version: its version.
        table_epoch: last change of embedding rows that the answer includes.
        item_epoch: last change of items that the answer includes.
    """

    request_id: str
    time: int
    user_id: str | None
    user: Mapping[str, object]
    context: Mapping[str, object]
    item_ids: Sequence[str | int] | npt.NDArray[Any]
    scores: npt.ArrayLike
    positions: npt.ArrayLike | None = None
    outputs: Mapping[str, npt.ArrayLike] = field(default_factory=dict)
    candidate_columns: Mapping[str, Sequence[object] | npt.NDArray[Any]] = field(default_factory=dict)
    inline: npt.ArrayLike = ()
    item_columns: Mapping[str, Sequence[object] | npt.NDArray[Any]] = field(default_factory=dict)
    model_name: str = ""
    model_version: str = ""
    table_epoch: int = 0
    item_epoch: int = 0


@dataclass(frozen=True, eq=False)
class LogRow:
    """A checked record on its way to or from a file: sides as JSON text, candidates as arrays of length C."""

    scalars: dict[str, Any]
    """request_id, time, user_id, model_name, model_version, table_epoch, item_epoch."""
    sides: dict[str, bytes]
    """JSON text of user, context, candidate_columns and item_columns."""
    item_ids: list[str]
    positions: I32
    """int32[C], −1 where not shown."""
    scores: F64
    """float64[C], NaN where missing."""
    inline: I32
    outputs: dict[str, F64]

    def line(self) -> bytes:
        """The record as one line of NDJSON; candidates are columns, which are short to write and to read."""
        positions = [None if p < 0 else p for p in self.positions.tolist()]
        candidates = {"item_id": self.item_ids, "position": positions, "score": self.scores}
        row = {"schema": SCHEMA_VERSION, **self.scalars, "candidates": candidates, "inline": self.inline}
        row |= {name: orjson.Fragment(text) for name, text in self.sides.items()}
        row["outputs"] = self.outputs
        return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def encode_record(record: ServedRecord) -> LogRow:
    """Check a record and turn it into its logged form.

    Raises:
        DataError: lengths disagree, a field is of the wrong type, or a cell is of a type that no feature takes.
    """
    where = f"record {record.request_id!r}"
    items = [str(item) for item in record.item_ids]
    count = len(items)
    inline = _inline(record.inline, count, where)
    _check_cells(record.candidate_columns, count, f"{where}: candidate_columns")
    _check_cells(record.item_columns, len(inline), f"{where}: item_columns")
    sides = {name: encode_columns(getattr(record, name), f"{where}: {name}") for name in _SIDES}
    scalars = {name: getattr(record, name) for name in ("request_id", "time", "user_id")}
    scalars |= {name: getattr(record, name) for name in ("model_name", "model_version", "table_epoch", "item_epoch")}
    _check_scalars(scalars, where)
    positions = np.arange(count) if record.positions is None else record.positions
    return LogRow(
        scalars,
        sides,
        items,
        _vector(positions, np.int32, count, f"{where}: positions"),
        _vector(record.scores, np.float64, count, f"{where}: scores"),
        inline,
        {goal: _vector(v, np.float64, count, f"{where}: outputs of {goal!r}") for goal, v in record.outputs.items()},
    )


def parse_line(line: bytes, where: str) -> LogRow:
    """One line of NDJSON as a row.

    Raises:
        DataError: not JSON, another schema version, a missing or unknown field, or a field of the wrong type.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"is not JSON: {error}", where=where) from None
    if not isinstance(row, dict):
        raise DataError(f"is {type(row).__name__}, not an object", where=where)
    _check_version(row.get("schema"), where)
    for name in row:
        if name != "schema" and name not in RECORD_SCHEMA.names:
            raise DataError(f"unknown field {name!r}", where=where, hint=suggest(name, RECORD_SCHEMA.names))
    if missing := [name for name in RECORD_SCHEMA.names if name not in row]:
        raise DataError(f"misses the field {missing[0]!r}", where=where)
    scalars = {name: row[name] for name in ("user_id", *_TEXTS, *_INTS)}
    _check_scalars(scalars, where)
    for name in (*_SIDES, "outputs", "candidates"):
        if not isinstance(row[name], dict):
            raise DataError(f"{name} is {type(row[name]).__name__}, not an object", where=where)
    candidates = row["candidates"]
    items = candidates.get("item_id")
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise DataError("candidates.item_id is not a list of texts", where=where)
    positions = candidates.get("position")
    if not isinstance(positions, list):
        raise DataError("candidates.position is not a list", where=where)
    return LogRow(
        scalars,
        {name: orjson.dumps(row[name]) for name in _SIDES},
        items,
        _vector([-1 if p is None else p for p in positions], np.int32, len(items), f"{where}: candidates.position"),
        _vector(candidates.get("score"), np.float64, len(items), f"{where}: candidates.score"),
        _inline(row["inline"], len(items), where),
        {
            goal: _vector(v, np.float64, len(items), f"{where}: outputs of {goal!r}")
            for goal, v in row["outputs"].items()
        },
    )


def rows_to_table(rows: Sequence[LogRow]) -> pa.Table:
    """Rows as one Table of RECORD_SCHEMA."""
    columns: dict[str, pa.Array] = {
        name: pa.array([row.scalars[name] for row in rows], RECORD_SCHEMA.field(name).type)
        for name in ("user_id", *_TEXTS, *_INTS)
    }
    for name in _SIDES:
        columns[name] = pa.array([row.sides[name].decode() for row in rows], pa.string())
    positions = np.concatenate([np.empty(0, np.int32), *(row.positions for row in rows)])
    scores = np.concatenate([np.empty(0), *(row.scores for row in rows)])
    candidates = pa.StructArray.from_arrays(
        [
            pa.array([item for row in rows for item in row.item_ids], pa.string()),
            pa.array(positions, pa.int32(), mask=positions < 0),
            pa.array(scores, pa.float64(), mask=~np.isfinite(scores)),
        ],
        fields=list(RECORD_SCHEMA.field("candidates").type.value_type),
    )
    columns["candidates"] = pa.ListArray.from_arrays(_offsets([len(row.item_ids) for row in rows]), candidates)
    inline = np.concatenate([np.empty(0, np.int32), *(row.inline for row in rows)])
    columns["inline"] = pa.ListArray.from_arrays(_offsets([len(row.inline) for row in rows]), pa.array(inline))
    vectors = [vector for row in rows for vector in row.outputs.values()]
    values = pa.array(np.concatenate([np.empty(0), *vectors]), pa.float64(), from_pandas=True)
    columns["outputs"] = pa.MapArray.from_arrays(
        _offsets([len(row.outputs) for row in rows]),
        pa.array([goal for row in rows for goal in row.outputs], pa.string()),
        pa.ListArray.from_arrays(_offsets([len(vector) for vector in vectors]), values),
    )
    return pa.table([columns[name] for name in RECORD_SCHEMA.names], schema=RECORD_SCHEMA)


def decode_records(table: pa.Table) -> Iterator[ServedRecord]:
    """The records of a table of RECORD_SCHEMA, one by one, with their cells as Python values."""
    for row in table.to_pylist():
        where = f"record {row['request_id']!r}"
        candidates = row.pop("candidates")
        for name in _SIDES:
            row[name] = decode_columns(row[name], f"{where}: {name}")
        row["outputs"] = {goal: np.array(values, np.float64) for goal, values in row["outputs"]}
        row["inline"] = np.array(row["inline"], np.int32)
        yield ServedRecord(
            item_ids=[c["item_id"] for c in candidates],
            scores=np.array([c["score"] for c in candidates], np.float64),
            positions=np.array([-1 if c["position"] is None else c["position"] for c in candidates], np.int32),
            **row,
        )


def read_records(path: str | Path) -> pa.Table:
    """All records of a folder, or of one file, as a Table of RECORD_SCHEMA, file after file by name.

    Reads `*.ndjson`, `*.parquet`, and `*.ndjson.part` (being written, or left by a crash): of the latter the last line
    may be torn, and is left out.

    Raises:
        DataError: no such path, or a complete file is damaged; the message names the file and line.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path))
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    tables = [RECORD_SCHEMA.empty_table()]
    for file in files:
        if file.name.endswith((".ndjson", ".ndjson.part")):
            tables.append(_read_ndjson(file))
        elif file.suffix == ".parquet":
            tables.append(_read_parquet(file))
        elif not path.is_dir():
            raise DataError("is neither .ndjson nor .parquet", where=str(path))
    return pa.concat_tables(tables)


def _read_ndjson(file: Path) -> pa.Table:
    lines = file.read_bytes().split(b"\n")
    torn = lines.pop()
    if torn and not file.name.endswith(".part"):
        raise DataError(
            "ends within a line", where=f"{file}:{len(lines) + 1}", hint="The file is cut short; copy it again."
        )
    return rows_to_table([parse_line(line, f"{file}:{n}") for n, line in enumerate(lines, 1) if line.strip()])


def _read_parquet(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is not a readable Parquet file: {error}", where=str(file)) from None
    version = (table.schema.metadata or {}).get(SCHEMA_KEY)
    _check_version(int(version) if version and version.isdigit() else None, str(file))
    if missing := [name for name in RECORD_SCHEMA.names if name not in table.column_names]:
        raise DataError(f"misses the column {missing[0]!r}", where=str(file))
    try:
        return table.select(RECORD_SCHEMA.names).cast(RECORD_SCHEMA)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"is not of the schema of records: {error}", where=str(file)) from None


def _check_version(version: object, where: str) -> None:
    if version != SCHEMA_VERSION:
        hint = f"This version of recserve reads schema {SCHEMA_VERSION}."
        raise DataError(f"has the record schema {version!r}", where=where, hint=hint)


def _check_scalars(scalars: Mapping[str, object], where: str) -> None:
    for name, value in scalars.items():
        if name in _INTS:
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
                raise DataError(f"{name} is {value!r}", where=where, hint="Give an integer from 0.")
        elif not isinstance(value, str) and not (name == "user_id" and value is None):
            raise DataError(f"{name} is {value!r}", where=where, hint="Give a text.")
    if not scalars["request_id"]:
        raise DataError("request_id is empty", where=where)


def _check_cells(columns: Mapping[str, Sequence[object] | npt.NDArray[Any]], count: int, where: str) -> None:
    for name, cells in columns.items():
        if isinstance(cells, str) or not hasattr(cells, "__len__") or len(cells) != count:
            size = len(cells) if hasattr(cells, "__len__") and not isinstance(cells, str) else type(cells).__name__
            raise DataError(f"column {name!r} has {size} cells for {count} candidates", where=where)


def _inline(values: npt.ArrayLike, count: int, where: str) -> I32:
    inline: I32 = _vector(values, np.int32, None, f"{where}: inline")
    if len(inline) and (inline[0] < 0 or inline[-1] >= count or bool((np.diff(inline) <= 0).any())):
        raise DataError(f"inline is {inline.tolist()}", where=where, hint=f"Give rising indices below {count}.")
    return inline


def _vector(values: npt.ArrayLike | None, dtype: type[Any], count: int | None, where: str) -> npt.NDArray[Any]:
    """A one-dimensional contiguous array of `dtype`; None stands for NaN."""
    raw = np.asarray(values)
    if raw.dtype == object and dtype is np.float64:
        try:
            raw = raw.astype(np.float64)
        except (TypeError, ValueError):
            raise DataError(f"holds {values!r}", where=where, hint="Give numbers.") from None
    if raw.ndim != 1 or (count is not None and len(raw) != count):
        wanted = "a list" if count is None else f"{count} candidates"
        raise DataError(f"has the shape {list(raw.shape)} for {wanted}", where=where)
    if raw.dtype.kind not in "iuf":
        raise DataError(f"holds {raw.dtype} values", where=where, hint="Give numbers.")
    with np.errstate(invalid="ignore"):  # what does not fit is found by the comparison below
        vector = np.ascontiguousarray(raw, dtype)
    if dtype is not np.float64 and not np.array_equal(vector, raw):
        raise DataError(f"holds {raw.tolist()}", where=where, hint="Give integers that fit 32 bits.")
    return vector


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
