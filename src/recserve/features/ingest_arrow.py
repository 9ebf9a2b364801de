"""Columns from Arrow arrays: sliced, chunked, with nulls, of any layout. Bytes, int64 and float64 are not copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recserve.dtypes import I64, U8
from recserve.errors import DataError
from recserve.features.canonical import ColumnData, Leaves, missing_column
from recserve.features.kernels import layout as at

_EMPTY = np.zeros(1, np.uint8)


def column_of_arrow(values: Any) -> ColumnData:
    """The column of a pyarrow Array or ChunkedArray.

    Raises:
        DataError: the type is none that cells have, or bytes are not UTF-8.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    values = _without_view(values)
    if pa.types.is_null(values.type):
        return missing_column(len(values))
    if pa.types.is_map(values.type):
        outer, keys, items = _map_parts(values)
        return ColumnData(len(values), _leaves(keys), outer, None, _leaves(items))
    if not _is_list(values.type):
        return ColumnData(len(values), _leaves(values))
    outer, elements = _list_parts(values)
    elements = _without_view(elements)
    if pa.types.is_map(elements.type):
        inner, keys, items = _map_parts(elements)
        return ColumnData(len(values), _leaves(keys), outer, inner, _leaves(items))
    if not _is_list(elements.type):
        return ColumnData(len(values), _leaves(elements), outer)
    inner, leaves = _list_parts(elements)
    return ColumnData(len(values), _leaves(leaves), outer, inner)


def _without_view(values: Any) -> Any:
    """Dictionaries decoded, extension types as their storage, views as plain layouts."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return values.cast(pa.large_list(kind.value_type))
    return values


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _lengths(values: Any) -> I64:
    """int64[N]: elements of each list or map, 0 where null."""
    if pa.types.is_map(values.type):
        offsets = np.asarray(values.offsets, np.int64)
        lengths = np.diff(offsets)
        return np.where(np.asarray(values.is_valid()), lengths, 0).astype(np.int64)
    counted = pc.fill_null(pc.list_value_length(values), 0)
    return np.asarray(counted, np.int64)


def _offsets(lengths: I64) -> I64:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _list_parts(values: Any) -> tuple[I64, Any]:
    """(offsets, elements); a null list is empty, whatever lies under it."""
    if pa.types.is_fixed_size_list(values.type) or values.null_count:
        return _offsets(_lengths(values)), values.flatten()
    return np.asarray(values.offsets, np.int64), values.values


def _map_parts(values: Any) -> tuple[I64, Any, Any]:
    """(offsets, keys, items) of a map array; a null map is empty."""
    offsets = np.asarray(values.offsets, np.int64)
    if values.null_count:
        lengths = np.diff(offsets)
        kept = np.where(np.asarray(values.is_valid()), lengths, 0).astype(np.int64)
        if not np.array_equal(lengths, kept):
            chosen = pa.array(np.repeat(kept == lengths, lengths))
            first, end = int(offsets[0]), int(offsets[-1])
            keys, items = (part.slice(first, end - first).filter(chosen) for part in (values.keys, values.items))
            return _offsets(kept), keys, items
    return offsets, values.keys, values.items


def _valid(values: Any) -> U8 | None:
    if not values.null_count:
        return None
    return np.asarray(values.is_valid()).astype(np.uint8)


def _leaves(values: Any) -> Leaves:
    """Leaves of an array of scalars."""
    values = _without_view(values)
    kind = values.type
    if pa.types.is_null(kind):
        return missing_column(len(values)).leaves
    if pa.types.is_uint64(kind) and len(values) and (pc.max(values).as_py() or 0) >= 2**63:
        values = values.cast(pa.string())
    elif pa.types.is_integer(kind):
        return Leaves(at.INT, _fixed(values.cast(pa.int64()), np.int64), None, _valid(values))
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Leaves(at.FLOAT, _fixed(values.cast(pa.float64()), np.float64), None, _valid(values))
    elif pa.types.is_boolean(kind):
        filled = np.asarray(pc.fill_null(values, False))
        return Leaves(at.BOOL, filled.astype(np.uint8), None, _valid(values))
    elif _is_bytes(kind):
        try:
            values = values.cast(pa.large_string())
        except pa.ArrowInvalid as error:
            raise DataError("holds bytes that are not UTF-8") from error
    elif not _is_text(kind):
        raise DataError(f"Arrow type {kind} is no type of cells", hint="Cast it to text or a number first")
    return _text(values)


def _is_bytes(kind: Any) -> bool:
    found = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(found or pa.types.is_binary_view(kind) or pa.types.is_string_view(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _fixed(values: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """The buffer of an array of 8-byte numbers, from its offset on."""
    buffer = values.buffers()[1]
    if buffer is None or not len(values):
        return np.zeros(1, dtype)[:0]
    return np.frombuffer(buffer, dtype)[values.offset : values.offset + len(values)]


def _text(values: Any) -> Leaves:
    _, offsets, data = values.buffers()
    width = np.int64 if pa.types.is_large_string(values.type) else np.int32
    if offsets is None or not len(values):
        return Leaves(at.TEXT, _EMPTY, np.zeros(len(values) + 1, np.int64), _valid(values))
    ends = np.frombuffer(offsets, width)[values.offset : values.offset + len(values) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None and data.size else _EMPTY
    return Leaves(at.TEXT, content, ends.astype(np.int64, copy=False), _valid(values))
