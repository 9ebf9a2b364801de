"""Ids, columns and cells of the ranking service ↔ lists, and values as JSON has them.

Python runs the same number of steps whatever the number of rows; the loops are those of C.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, islice, repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.errors import DataError
from recserve.wire.pool import Message
from recserve.wire.ranking import Cell, Column, Values

_RAW: Final[dict[str, np.dtype[Any]]] = {
    "int64_le": np.dtype("<i8"),
    "float_le": np.dtype("<f4"),
    "double_le": np.dtype("<f8"),
}
_INT64_MAX: Final = 2**63 - 1


def read_values(values: Message) -> list[Any]:
    """Texts, integers, numbers or truths; empty where nothing is set.

    Raises:
        DataError: raw bytes that are no whole number of elements.
    """
    kind = values.WhichOneof("kind")
    if kind is None:
        return []
    content = getattr(values, kind)
    dtype = _RAW.get(kind)
    if dtype is None:
        return list(content.value)
    if len(content) % dtype.itemsize:
        raise DataError(f"{len(content)} bytes in {kind} are no whole number of {dtype.itemsize}-byte values")
    listed: list[Any] = np.frombuffer(content, dtype).tolist()
    return listed


def read_column(column: Message) -> list[Any]:
    """A cell a row: a value, a list of values, or None where it is missing.

    Raises:
        DataError: raw bytes that are no whole number of elements, lengths that do not add up to the values, or a
            missing row that does not exist.
    """
    cells = read_values(column.values)
    if column.lengths:
        lengths = list(column.lengths)
        if sum(lengths) != len(cells):
            raise DataError(f"the lengths add up to {sum(lengths)}, but there are {len(cells)} values")
        each = iter(cells)
        cells = list(map(list, map(islice, repeat(each), lengths)))
    if column.missing:
        if max(column.missing) >= len(cells):
            raise DataError(f"row {max(column.missing)} is missing, but there are {len(cells)} rows")
        as_array = np.empty(len(cells), object)
        as_array[:] = cells
        as_array[list(column.missing)] = None
        cells = as_array.tolist()
    return cells


def read_cells(column: Message) -> list[Any] | npt.NDArray[Any]:
    """As `read_column`, but packed rows of one width are not turned into Python numbers.

    Returns:
        int64, float32 or float64 [N, k] of the same values, read only, where the values are packed, k is at least 1 and
        no row is missing; else the list.

    Raises:
        DataError: as `read_column`.
    """
    kind = column.values.WhichOneof("kind")
    dtype = _RAW.get(kind)
    lengths = list(column.lengths)
    if dtype is None or column.missing or not lengths or not lengths[0] or lengths.count(lengths[0]) != len(lengths):
        return read_column(column)
    content = getattr(column.values, kind)
    shape = (len(lengths), lengths[0])
    if len(content) != shape[0] * shape[1] * dtype.itemsize:
        return read_column(column)  # which says what is wrong
    return np.frombuffer(content, dtype).reshape(shape)


def read_cell(cell: Message) -> Any:
    """The value of a cell: text, integer, number, truth, a list of them, a list of lists, or a map; None if not set.

    Raises:
        DataError: as `read_column`, or a map with other than one value a key.
    """
    kind = cell.WhichOneof("kind")
    if kind is None:
        return None
    content = getattr(cell, kind)
    if kind == "list":
        return read_values(content)
    if kind == "lists":
        return read_column(content)
    if kind == "map":
        keys, values = read_values(content.keys), read_values(content.values)
        if len(keys) != len(values):
            raise DataError(f"a map has {len(keys)} keys and {len(values)} values")
        return dict(zip(map(_key_text, keys), values, strict=True))
    return content


def _key_text(key: Any) -> str:
    """A key as JSON would have it: there, keys are texts."""
    return key if isinstance(key, str) else str(key)


def write_values(values: Any) -> Message:
    """Values of one type.

    Args:
        values: a list of texts, of integers, of numbers (integers among floats become floats) or of truths; or a NumPy
            array of them. float32 stays float32.

    Raises:
        DataError: values of several types, of no such type, or beyond int64.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind in "OU":
        listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if set(map(type, listed)) <= {str, np.str_}:
            return Values(texts=Values.Texts(value=listed))
        values = _typed_array(listed)
    array = values
    match array.dtype.kind:
        case "b":
            return Values(truths=Values.Truths(value=array.tolist()))
        case "i" | "u":
            if array.dtype.kind == "u" and array.size and int(array.max()) > _INT64_MAX:
                raise DataError(f"{array.max()} is beyond int64")
            return Values(int64_le=array.astype("<i8").tobytes())
        case "f":
            if array.dtype.itemsize <= 4:
                return Values(float_le=array.astype("<f4").tobytes())
            return Values(double_le=array.astype("<f8").tobytes())
    raise DataError(f"values of dtype {array.dtype} cannot be sent", hint="Send texts, integers, numbers or truths.")


def write_column(cells: Any) -> Message:
    """A column of one cell a row: a value, a list of values, or None; or an array of numbers [N] or [N, k].

    Raises:
        DataError: as `write_values`.
    """
    if isinstance(cells, np.ndarray) and cells.dtype != object and cells.ndim == 1:
        return Column(values=write_values(cells))
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iuf" and cells.ndim == 2 and cells.size:
        return Column(values=write_values(cells.reshape(-1)), lengths=[cells.shape[1]] * len(cells))
    rows = list(cells)
    missing = [i for i, cell in enumerate(rows) if cell is None]
    known = [cell for cell in rows if cell is not None]
    if any(isinstance(cell, list | tuple | np.ndarray) for cell in known):
        lists = [
            [] if cell is None else cell if isinstance(cell, list | tuple | np.ndarray) else [cell] for cell in rows
        ]
        flat = list(chain.from_iterable(lists))
        return Column(values=write_values(flat), lengths=[len(cell) for cell in lists], missing=missing)
    if missing:
        blank = type(known[0])() if known else ""
        rows = [blank if cell is None else cell for cell in rows]
    return Column(values=write_values(rows), missing=missing)


def write_cell(value: Any) -> Message:
    """A cell of a user or context column; `None` is a missing one.

    Raises:
        DataError: a type that a cell cannot hold.
    """
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None:
            return Cell()
        case bool():
            return Cell(truth=value)
        case int():
            if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
                raise DataError(f"{value} is beyond int64")
            return Cell(integer=value)
        case float():
            return Cell(number=value)
        case str():
            return Cell(text=value)
        case Mapping():
            return Cell(map=Cell.Map(keys=write_values(list(value)), values=write_values(list(value.values()))))
        case list() | tuple() | np.ndarray():
            if any(isinstance(row, list | tuple | np.ndarray) or row is None for row in value):
                return Cell(lists=write_column(value))
            return Cell(list=write_values(value))
    raise DataError(
        f"a {type(value).__name__} cannot be sent", hint="Send texts, numbers, truths, lists or maps of them."
    )


def _typed_array(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """An array of the one type that the values have; of floats where integers and floats are mixed."""
    kinds = {bool if kind is np.bool_ else kind for kind in set(map(type, values))}
    if kinds == {bool}:
        return np.array(values, np.bool_)
    if all(issubclass(kind, int | np.integer) for kind in kinds - {bool}) and bool not in kinds:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            raise DataError("an integer is beyond int64") from None
    if bool not in kinds and all(issubclass(kind, int | float | np.integer | np.floating) for kind in kinds):
        return np.array(values, np.float64)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"values of the types {names} cannot be sent together", hint="Send values of one type.")
