"""CSV with a header row, and Parquet → columns."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from recserve.errors import RequestError
from recserve.serving.mlflow.frame import Frame

MAX_COLUMNS: Final = 10_000
"""Of CSV: each costs more than a thousand cells do."""

_TEXT: Final = pa.string()
_INDEX: Final = "__index_level_"
_HINT: Final = "Failed to parse input as a Pandas DataFrame. Ensure that the input is a valid"


def parse_csv(body: bytes, text_columns: frozenset[str] = frozenset()) -> Frame:
    """Read CSV whose first row names the columns.

    Args:
        body: UTF-8.
        text_columns: columns that are text even where each of their cells looks like a number.

    Raises:
        RequestError: it is no such CSV, or has more than `MAX_COLUMNS` columns.
    """
    ends = [end for end in (body.find(b"\n"), body.find(b"\r")) if end >= 0]
    if (count := body.count(b",", 0, min(ends, default=len(body))) + 1) > MAX_COLUMNS:
        raise RequestError(f"the CSV has {count} columns, the limit is {MAX_COLUMNS}", hint="Send JSON or Parquet.")
    types = dict.fromkeys(text_columns, _TEXT)
    try:
        body.decode()
        table = pyarrow.csv.read_csv(
            io.BytesIO(body),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, timestamp_parsers=[]),
        )
    except UnicodeDecodeError as error:
        raise RequestError(f"Ensure that input is a valid UTF-8 encoded string. Error: '{error}'") from None
    except pa.ArrowException as error:
        raise RequestError(
            f"{_HINT} CSV-formatted Pandas DataFrame produced using the `pandas.DataFrame.to_csv()` method. Error: "
            f"'{error}'"
        ) from None
    return _frame(table)


def parse_parquet(body: bytes) -> Frame:
    """Read a Parquet file; the columns of a pandas index are left out.

    Raises:
        RequestError: it is none.
    """
    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(body))
    except (pa.ArrowException, OSError) as error:
        raise RequestError(
            f"{_HINT} Parquet Pandas DataFrame produced using the `pandas.DataFrame.to_parquet()` method. Error: "
            f"'{error}'"
        ) from None
    return _frame(table)


def _frame(table: pa.Table) -> Frame:
    names = [name for name in table.column_names if not name.startswith(_INDEX)]
    columns: Mapping[str, Any] = {name: _values(name, table.column(name).combine_chunks()) for name in names}
    return Frame(columns, is_table=True)


def _values(name: str, column: pa.Array) -> NDArray[Any]:
    """A column as NumPy has it; strings as objects, None where one is missing."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(name, column.dictionary_decode())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        if len(lengths) > 1 or None in lengths:
            raise RequestError(f"column '{name}' holds lists of different lengths")
        inner = _values(name, column.flatten())
        return inner.reshape(len(column), lengths[0] if lengths else 0, *inner.shape[1:])
    is_plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
    if not (is_plain or is_text or pa.types.is_null(kind)):
        column = column.cast(_TEXT)
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values
