"""Item ids on their way in and out: whatever a caller has → bytes and offsets.

Axes: N ids.

A store has ids of one kind, `string` or `int64`. Both travel as bytes: a string as its UTF-8, an integer as its eight
bytes in memory. Ids of the other kind match by decimal text, as it is written without leading zeros or a plus sign:
42 is "42" in a store of strings, "42" is 42 in a store of integers, and "042" is no integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recserve.dtypes import I64, U8
from recserve.errors import DataError
from recserve.store.kernels.batch import parse_integers

ID_KINDS: Final = ("string", "int64")
_HINT: Final = "Pass strings or integers of at most 64 bits: a list, a NumPy array or a pyarrow array"

ItemIds: TypeAlias = Sequence[str] | Sequence[int] | npt.NDArray[Any] | pa.Array | pa.ChunkedArray


@dataclass(frozen=True, eq=False)
class IdColumn:
    """Ids as the kernels read them.

    Attributes:
        data: uint8[...], id n is `data[offsets[n]:offsets[n + 1]]`. An empty id belongs to no item.
        offsets: int64[N + 1].
    """

    data: U8
    offsets: I64

    def __len__(self) -> int:
        return len(self.offsets) - 1


def encode_ids(ids: ItemIds, id_kind: str, *, is_write: bool) -> IdColumn:
    """Bring ids to the kind of a store, at constant Python cost.

    Args:
        ids: N ids, strings or integers.
        id_kind: "string" or "int64", of the store.
        is_write: an id that the store cannot hold is an error; else it becomes an empty id, which is never found.

    Raises:
        DataError: neither strings nor integers, mixed, null, or (to write) empty or not an integer.
    """
    numbers = _plain_integers(ids) if id_kind == "int64" else None
    column = _from_arrow(_to_arrow(ids), id_kind) if numbers is None else _number_column(numbers)
    if is_write:
        empty = np.flatnonzero(column.offsets[1:] == column.offsets[:-1])
        if len(empty):
            at = int(empty[0])
            what = "is empty" if id_kind == "string" else f"is {_one(ids, at)!r}, which is not a 64-bit integer"
            raise DataError(f"item id {what}", where=f"item {at}", hint=f"This store has ids of kind {id_kind}")
    return column


def _plain_integers(ids: ItemIds) -> I64 | None:
    """int64[N] of what is just that, a list of int or an int64 array; None for all else, which takes the long way."""
    if isinstance(ids, list) and len(ids) and type(ids[0]) is int:
        try:
            array = np.array(ids)
        except (OverflowError, ValueError):
            return None
    elif isinstance(ids, np.ndarray):
        array = ids
    else:
        return None
    return np.ascontiguousarray(array) if array.dtype == np.int64 and array.ndim == 1 and len(array) else None


def _number_column(numbers: I64) -> IdColumn:
    return IdColumn(numbers.view(np.uint8), np.arange(0, 8 * len(numbers) + 1, 8))


def decode_ids(column: IdColumn, id_kind: str) -> list[str] | list[int]:
    """The ids as Python objects."""
    if id_kind == "int64":
        numbers: list[int] = column.data.view(np.int64).tolist()
        return numbers
    buffers = [None, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
    texts: list[str] = pa.Array.from_buffers(pa.large_string(), len(column), buffers).to_pylist()
    return texts


def _one(ids: ItemIds, at: int) -> object:
    value = ids[at]
    return value.as_py() if isinstance(value, pa.Scalar) else value


def _to_arrow(ids: ItemIds) -> pa.Array:
    """A pyarrow array of large strings or of int64, without nulls."""
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__len__"):
        raise DataError(f"item ids are one {type(ids).__name__}, not a list", hint=_HINT)
    try:
        array = ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else _list_to_arrow(ids)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if array.null_count:
            raise DataError("item id is null", where=f"item {array.is_null().index(True).as_py()}", hint=_HINT)
        if array.type in (pa.large_string(), pa.int64()):
            return array
        if len(array) == 0 or _is_text(array.type):
            return array.cast(pa.large_string())
        if pa.types.is_integer(array.type):
            return array.cast(pa.int64())
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError) as error:
        raise DataError(f"item ids are neither strings nor integers: {error}", hint=_HINT) from None
    raise DataError(f"item ids are {array.type}, neither strings nor integers", hint=_HINT)


def _list_to_arrow(ids: Any) -> pa.Array:
    """A list or an array of NumPy; strings and integers without the cost of inferring a type from all of them."""
    first = type(ids[0]) if len(ids) and isinstance(ids, (list, tuple)) else None
    if first is str:
        return pa.array(ids, pa.large_string())
    if first is int:  # pyarrow would cut 2.5 to 2 for an int64
        numbers = np.array(ids)
        return pa.array(numbers if numbers.dtype == np.int64 else ids)
    return pa.array(ids)


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type)
    )


def _from_arrow(array: pa.Array, id_kind: str) -> IdColumn:
    if len(array) == 0:
        return IdColumn(np.empty(0, np.uint8), np.zeros(1, np.int64))
    if pa.types.is_integer(array.type):
        if id_kind == "string":
            return _text_column(array.cast(pa.large_string()))
        return _number_column(np.ascontiguousarray(array.to_numpy(zero_copy_only=True)))
    column = _text_column(array)
    if id_kind == "string":
        return column
    numbers, is_number = np.empty(len(array), np.int64), np.empty(len(array), np.bool_)
    parse_integers(column.data, column.offsets, numbers, is_number)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(is_number * 8, out=offsets[1:])
    return IdColumn(numbers[is_number].view(np.uint8), offsets)


def _text_column(array: pa.Array) -> IdColumn:
    _, offsets, data = array.buffers()
    column = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    text = np.empty(0, np.uint8) if data is None or data.size == 0 else np.frombuffer(data, np.uint8)
    return IdColumn(text, column)
