"""Raw columns as the kernels read them: one record a column, whatever the caller gave.

`ColumnBatch` takes many rows by column: Python lists, NumPy arrays, Arrow arrays, tables and record batches.
`ingest_row` takes one row, the user and context of a request, at the least cost: one pass over the cells into a few
pooled lists, then a fixed number of calls, however many columns there are.

Axes: N rows, C columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recserve.dtypes import I64
from recserve.errors import DataError, InvariantError, suggest
from recserve.features.canonical import ColumnData, Leaves, missing_column
from recserve.features.ingest_cells import column_of_array, column_of_cells
from recserve.features.kernels import layout as at
from recserve.features.kernels.row import EMPTY_LIST, LIST, MAP, lay_out_row
from recserve.features.op import MASK_COLUMN

MAX_ROWS: Final = 2**31 - 1


@dataclass(frozen=True)
class ColumnUse:
    """A raw column that a stage reads.

    Attributes:
        name: of the column.
        side: "user", "item", "context" or "candidate".
    """

    name: str
    side: str


class ColumnBatch:
    """The columns of a stage in canonical form. Read only; may be shared by threads.

    Attributes:
        rows: N.
        table: int64[C, COLUMN], in the order of the stage's columns.
    """

    def __init__(self, rows: int, table: I64, kept: Sequence[object]) -> None:
        self.rows = rows
        self.table = table
        self._kept = kept

    @classmethod
    def from_data(cls, columns: Sequence[ColumnData], rows: int) -> ColumnBatch:
        """Columns of `rows` rows or 1 row."""
        table = np.zeros((max(len(columns), 1), at.COLUMN), np.int64)
        for record, column in zip(table, columns, strict=False):
            column.fill(record)
        return cls(rows, table, columns)

    @classmethod
    def from_columns(
        cls,
        columns: Any,
        uses: Sequence[ColumnUse],
        types: Mapping[str, str] | None = None,
        *,
        allows_absent: bool = False,
        rows: int | None = None,
    ) -> ColumnBatch:
        """The columns named by `uses`.

        Args:
            columns: mapping of name to list, array or Arrow array, or an Arrow Table or RecordBatch. N rows or 1.
            uses: what to take, in order. Other columns count only as to N.
            types: type names, such as "list<string>" or "map<string,int64>", that cells are to have.
            allows_absent: a column that is not there is missing in every row; else a DataError.
            rows: N, if columns alone may not tell.

        Raises:
            DataError: a column lacks, is of a wrong length, or holds what cells cannot hold. It names the column.
        """
        found = _by_name(columns)
        lengths = {name: len(values) for name, values in found.items()}
        count = rows if rows is not None else count_rows(lengths)
        data = []
        for use in uses:
            if use.name not in found:
                if not allows_absent and use.name != MASK_COLUMN:
                    hint = suggest(use.name, found)
                    raise DataError(f"there is no column {use.name!r}", code="missing_column", hint=hint)
                data.append(missing_column(1))
                continue
            if lengths[use.name] not in (count, 1):
                raise DataError(
                    f"has {lengths[use.name]} rows, not {count} or 1",
                    code="lengths_differ",
                    where=f"column {use.name!r}",
                )
            data.append(named_column(use.name, found[use.name], (types or {}).get(use.name)))
        return cls.from_data(data, count)

    def slice(self, first: int, count: int) -> ColumnBatch:
        """Rows [first, first + count), without copying. Columns of one row stay as they are."""
        table = self.table.copy()
        for record in table:
            if record[at.COLUMN_ROWS] == self.rows and self.rows != 1:
                record[at.COLUMN_ROWS] = count
                if record[at.DEPTH]:
                    record[at.OUTER] += 8 * first
                    continue
                record[at.LEAF_VALID] += first if record[at.LEAF_VALID] else 0
                if record[at.LEAF] == at.TEXT:
                    record[at.LEAF_OFFSETS] += 8 * first
                else:
                    record[at.LEAVES] += first if record[at.LEAF] == at.BOOL else 8 * first
        return ColumnBatch(count, table, self._kept)


def _by_name(columns: Any) -> Mapping[str, Any]:
    if isinstance(columns, Mapping):
        return columns
    if hasattr(columns, "column_names"):
        return {name: columns.column(name) for name in columns.column_names}
    raise DataError(
        f"columns cannot be {type(columns).__name__}", hint="Give a dict of columns, or an Arrow Table or RecordBatch"
    )


def count_rows(lengths: Mapping[str, int]) -> int:
    """N of columns of these lengths.

    Raises:
        DataError: there are too many.
    """
    count = max(lengths.values(), default=0)
    if count > MAX_ROWS:
        raise DataError(f"{count} rows are more than {MAX_ROWS}", code="too_many_rows")
    others = {name: length for name, length in lengths.items() if length not in (count, 1)}
    if others:
        name, length = next(iter(others.items()))
        raise DataError(f"has {length} rows, not {count} or 1", code="lengths_differ", where=f"column {name!r}")
    return count


def named_column(name: str, values: Any, kind: str | None = None) -> ColumnData:
    """A column, its errors naming it.

    Raises:
        DataError: see `ColumnBatch.from_columns`.
    """
    try:
        column = _column(values, kind)
        return _as_mask(column) if name == MASK_COLUMN else column
    except DataError as error:
        raise error.at(f"column {name!r}") from None


def _column(values: Any, kind: str | None) -> ColumnData:
    if kind is not None or type(values).__module__.partition(".")[0] == "pyarrow":
        from recserve.features.ingest_arrow import column_of_arrow

        return column_of_arrow(values if kind is None else _typed(values, kind))
    if isinstance(values, np.ndarray):
        return column_of_array(values)
    if isinstance(values, (list, tuple)):
        return column_of_cells(values)
    raise DataError(f"a column cannot be {type(values).__name__}", hint="Give a list, a NumPy or an Arrow array")


_TYPE: Final = re.compile(r"\s*(?:(list)<(.+)>|(map)<([^,]+),(.+)>|(\w+))\s*")


def arrow_type(kind: str) -> Any:
    """The Arrow type of a type name: a scalar's, "list<...>" or "map<key,value>".

    Raises:
        DataError: there is no such type.
    """
    import pyarrow as pa

    match = _TYPE.fullmatch(kind)
    if match is None:
        raise DataError(f"unknown type {kind!r}", code="unknown_type")
    if match[1]:
        return pa.list_(arrow_type(match[2]))
    if match[3]:
        return pa.map_(arrow_type(match[4]), arrow_type(match[5]))
    try:
        return pa.type_for_alias({"bool": "bool_", "float": "float32"}.get(match[6], match[6]).rstrip("_"))
    except ValueError:
        raise DataError(f"unknown type {kind!r}", code="unknown_type") from None


def _typed(values: Any, kind: str) -> Any:
    """An Arrow array of type `kind`."""
    import pyarrow as pa

    wanted = arrow_type(kind)
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values.cast(wanted)
    cells = values.tolist() if isinstance(values, np.ndarray) else values
    if pa.types.is_map(wanted):
        cells = [list(cell.items()) if isinstance(cell, Mapping) else cell for cell in cells]
    try:
        return pa.array(cells, wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise DataError(f"its cells are not of type {kind}: {error}", code="wrong_type") from error


def _as_mask(column: ColumnData) -> ColumnData:
    """A mask as BOOL leaves."""
    leaves = column.leaves
    if column.outer is not None or (leaves.kind != at.BOOL and not (leaves.kind == at.INT or _is_missing(leaves))):
        raise DataError("is not boolean", code="wrong_type")
    values = np.zeros(column.rows, np.uint8) if leaves.kind == at.TEXT else (leaves.values != 0).astype(np.uint8)
    return ColumnData(column.rows, Leaves(at.BOOL, values, None, leaves.valid))


def _is_missing(leaves: Leaves) -> bool:
    return leaves.valid is not None and not leaves.valid.any()


def ingest_row(row: Mapping[str, Any], names: Sequence[str]) -> ColumnBatch:
    """The cells of one row; what `row` lacks is missing.

    Args:
        row: {column: cell}; see `ColumnBatch`. A cell may be a ColumnData of one row.
        names: of the columns to take, in order.

    Raises:
        DataError: a cell is of a wrong type. It names the column.

    Cost: about 0.1 µs a cell, 0.03 µs an element of a list, and 10 µs besides.
    """
    try:
        return _ingest(row, names, checks_range=False)
    except OverflowError:  # rare, and costly to look for in every list
        return _ingest(row, names, checks_range=True)


def _ingest(row: Mapping[str, Any], names: Sequence[str], *, checks_range: bool) -> ColumnBatch:
    """As `ingest_row`. OverflowError where a list has an integer beyond int64 that was not looked for."""
    texts: list[str] = []
    integers: list[int] = []
    floats: list[float] = []
    shapes: list[int] = []
    others: list[tuple[int, ColumnData]] = []
    for name in names:
        cell = row.get(name)
        kind = type(cell)
        if kind is str:
            texts.append(cell)  # type: ignore[arg-type]
            shapes += (at.TEXT, 1)
        elif kind is int and -(2**63) <= cell < 2**63:  # type: ignore[operator]
            integers.append(cell)  # type: ignore[arg-type]
            shapes += (at.INT, 1)
        elif kind is float:
            floats.append(cell)  # type: ignore[arg-type]
            shapes += (at.FLOAT, 1)
        elif cell is None:
            texts.append("")
            shapes += (at.TEXT, 1)
        else:
            code = _pool(cell, kind, texts, integers, floats, checks_range)
            if code < 0:
                others.append((len(shapes) // 2, cell if kind is ColumnData else named_column(name, [cell])))
            shapes += (code, len(cell) if code >= 0 else 0)
    try:
        return _row_batch(names, shapes, texts, integers, floats, others)
    except UnicodeEncodeError as error:
        raise _not_utf8(row, names) from error


def _not_utf8(row: Mapping[str, Any], names: Sequence[str]) -> DataError:
    """Names the column with the text that cannot be encoded."""
    for name in names:
        cell = row.get(name)
        parts = (
            [*cell, *cell.values()] if isinstance(cell, Mapping) else [cell] if isinstance(cell, str) else cell or []
        )
        for text in parts:
            if isinstance(text, str) and not _is_utf8(text):
                return DataError(f"{text!r} cannot be UTF-8", where=f"column {name!r}")
    raise InvariantError("no text of the row is other than UTF-8")


def _pool(  # noqa: PLR0917  (the pools of one pass)
    cell: Any, kind: type, texts: list[str], integers: list[int], floats: list[float], checks_range: bool
) -> int:
    """Put the elements of a list or map into the pools; how, or -1 where the cell takes the general way."""
    if kind is list:
        kinds = set(map(type, cell))
        if not kinds:
            return EMPTY_LIST
        if len(kinds) == 1:
            if str in kinds:
                texts += cell
                return LIST + at.TEXT
            if int in kinds and _extend(integers, cell, checks_range):
                return LIST + at.INT
            if float in kinds:
                floats += cell
                return LIST + at.FLOAT
    elif kind is dict and set(map(type, cell)) == {str}:
        kinds = set(map(type, cell.values()))
        if kinds == {float}:
            floats += cell.values()
        elif kinds == {str}:
            texts += cell
            texts += cell.values()
            return MAP + at.TEXT
        elif kinds != {int} or not _extend(integers, cell.values(), checks_range):
            return -1
        texts += cell
        return MAP + (at.FLOAT if float in kinds else at.INT)
    return -1


def _extend(integers: list[int], values: Collection[int], checks_range: bool) -> bool:
    """Append integers; False, and none appended, where one was found beyond int64."""
    if checks_range and not all(-(2**63) <= value < 2**63 for value in values):
        return False
    integers += values
    return True


def _row_batch(  # noqa: PLR0917  (the pools of one pass)
    names: Sequence[str],
    shapes: list[int],
    texts: list[str],
    integers: list[int],
    floats: list[float],
    others: list[tuple[int, ColumnData]],
) -> ColumnBatch:
    joined = "".join(texts)
    data = joined.encode()
    lengths = map(len, texts) if len(data) == len(joined) else [len(text.encode()) for text in texts]
    pools = (
        np.frombuffer(data or b"\0", np.uint8),
        np.fromiter(lengths, np.int64, len(texts)),
        np.array(integers, np.int64),
        np.array(floats, np.float64),
    )
    columns = max(len(names), 1)
    table, offsets = np.empty((columns, at.COLUMN), np.int64), np.empty(2 * columns + len(texts) + 1, np.int64)
    lay_out_row(np.array(shapes, np.int64), *pools, table, offsets)
    for number, column in others:
        column.fill(table[number])
    return ColumnBatch(1, table, (pools, offsets, others))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
