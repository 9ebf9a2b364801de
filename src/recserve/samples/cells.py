"""Column cells as JSON text, and columns of cells as Arrow arrays, without changing a value.

A record keeps the columns of a request as the features saw them, so that training computes the same features bit for
bit. A cell is None (missing), a text, an int64, a float64, a bool, a list of cells (values, or steps of a sequence), a
list of lists (steps of values) or a map with text or integer keys.

JSON holds all of that but three things, which are written as objects with one tagged key:

    NaN and infinities             {"$float": "nan"}   ("nan", "inf", "-inf")
    maps with keys that are ints   {"$map": [[1, 0.5], [2, 0.25]]}
    maps with the one key "$..."   {"$map": [["$map", 1]]}

Integers stay integers (`1`) and floats stay floats (`1.0`, shortest text that reads back to the same float64). NumPy
scalars and arrays are written as the Python values they equal: a float32 as the float64 of the same value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from recserve.errors import DataError

Columns = dict[str, Any]
"""{column: cell} of one side of one request, or {column: list of cells} over its candidates."""

_INT64: Final = range(-(2**63), 2**63)
_SCALARS: Final = frozenset((int, float, str))
_ARROW_OF: Final = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
_NAMES: Final = {bool: "booleans", int: "integers", float: "floats", str: "text", list: "lists", dict: "maps"}


def encode_columns(columns: Mapping[str, object], where: str) -> bytes:
    """JSON text of `{column: cell}`.

    Raises:
        DataError: a cell is of a type that no feature takes, an integer does not fit int64, or a text is not UTF-8.
            The message starts with `where` and names the column.
    """
    plain: dict[str, object] = {}
    for name, cell in columns.items():
        try:
            plain[name] = _tagged(cell)
        except DataError as error:
            raise error.at(f"{where}: column {name!r}") from None
    try:
        return orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise DataError(f"cannot be written as JSON: {error}", where=where, hint="Names and texts are UTF-8.") from None


def decode_columns(text: str | bytes, where: str) -> Columns:
    """The inverse of `encode_columns`.

    Raises:
        DataError: the text is not JSON, not an object, or a tag is malformed.
    """
    try:
        plain = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DataError(f"is not JSON: {error}", where=where) from None
    return untag_columns(plain, where)


def untag_columns(plain: object, where: str) -> Columns:
    """`decode_columns` of JSON that is parsed already."""
    if not isinstance(plain, dict):
        raise DataError(f"is {type(plain).__name__}, not an object of columns", where=where)
    try:
        return {name: _untagged(cell) for name, cell in plain.items()}
    except DataError as error:
        raise error.at(where) from None


def to_arrow(name: str, cells: Sequence[Any], dtype: pa.DataType | None = None) -> pa.Array:
    """One Arrow array of the cells of column `name`, one row per cell.

    Without `dtype` the type is the narrowest that holds every cell unchanged: bool, int64, float64 or string, a list or
    a map of them; string where all cells are missing. A column that mixes integers, floats and texts becomes text, each
    number in its shortest form, because the engine reads a number and its text alike (an id of 1 is the id "1", never
    "1.0"), while a float64 column would turn the id 1 into 1.0.

    Raises:
        DataError: the cells mix shapes (a list here, a text there) or do not convert to `dtype`.
    """
    if dtype is not None:
        try:
            return pa.array([list(c.items()) if isinstance(c, dict) else c for c in cells], type=dtype)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"does not convert to {dtype}: {error}", where=f"column {name!r}") from None
    try:
        return _array(cells)
    except DataError as error:
        raise error.at(f"column {name!r}") from None


def _tagged(cell: object) -> object:
    """The JSON value of one cell."""
    if cell is None or isinstance(cell, bool | str):
        return cell
    if isinstance(cell, np.ndarray) and (numbers := _plain_numbers(cell)) is not None:
        return numbers
    if isinstance(cell, np.generic | np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, int):
        if cell not in _INT64:
            raise DataError(f"the integer {cell} does not fit 64 bits", hint="Give it as text.")
        return cell
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else {"$float": str(cell)}
    if isinstance(cell, list | tuple):
        return [_tagged(part) for part in cell]
    if isinstance(cell, Mapping):
        return _tagged_map(cell)
    if cell is None or isinstance(cell, bool | str):  # from NumPy
        return cell
    raise DataError(
        f"a cell is {type(cell).__name__}",
        hint="A cell is None, text, a number, a bool, a list, a list of lists or a map.",
    )


def _plain_numbers(cells: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """int64 or float64 that JSON has the same text for as for the Python values; None where there is none."""
    if not cells.size or not cells.ndim:
        return None
    if cells.dtype.kind == "f" and cells.dtype.itemsize <= 8 and bool(np.isfinite(cells).all()):
        return np.ascontiguousarray(cells, np.float64)
    if cells.dtype.kind in "iu" and cells.dtype != np.uint64:
        return np.ascontiguousarray(cells, np.int64)
    return None


def _tagged_map(cell: Mapping[Any, object]) -> object:
    pairs = [(key.item() if isinstance(key, np.generic) else key, _tagged(value)) for key, value in cell.items()]
    if all(isinstance(key, str) for key, _ in pairs):
        if not (len(pairs) == 1 and pairs[0][0].startswith("$")):
            return dict(pairs)
    elif bad := [key for key, _ in pairs if isinstance(key, bool) or not isinstance(key, int | str)]:
        raise DataError(f"a map has the key {bad[0]!r}", hint="Keys are text or integers.")
    return {"$map": [list(pair) for pair in pairs]}


def _untagged(cell: Any) -> Any:
    """The cell of one JSON value."""
    if isinstance(cell, list):
        return [_untagged(part) if isinstance(part, list | dict) else part for part in cell]
    if not isinstance(cell, dict):
        return cell
    if len(cell) == 1:
        key, value = next(iter(cell.items()))
        if key.startswith("$"):
            return _untagged_special(key, value)
    return {key: _untagged(value) for key, value in cell.items()}


def _untagged_special(key: str, value: Any) -> Any:
    if key == "$float" and value in ("nan", "inf", "-inf"):
        return float(value)
    if key == "$map" and isinstance(value, list) and all(isinstance(p, list) and len(p) == 2 for p in value):
        return {pair[0]: _untagged(pair[1]) for pair in value}
    raise DataError(f"has the malformed tag {key!r}: {value!r}", hint="See the page about records for the tags.")


def _array(cells: Sequence[Any]) -> pa.Array:
    kinds = set(map(type, cells)) - {type(None)}
    if not kinds:
        return pa.nulls(len(cells), pa.string())
    if len(kinds) == 1:
        kind = next(iter(kinds))
        if kind is list:
            return _list_array(cells)
        if kind is dict:
            return _map_array(cells)
        return pa.array(cells, _ARROW_OF[kind])
    if kinds <= _SCALARS:
        return pa.array([_text(cell) for cell in cells], pa.string())
    held = " and ".join(sorted(_NAMES[kind] for kind in kinds))
    raise DataError(f"holds {held}", hint="Log one kind of value in a column, or name its type.")


def _text(cell: Any) -> str | None:
    return cell if cell is None or isinstance(cell, str) else repr(cell)


def _list_array(cells: Sequence[list[Any] | None]) -> pa.Array:
    values = _array(list(itertools.chain.from_iterable(cell for cell in cells if cell is not None)))
    return pa.ListArray.from_arrays(_offsets(cells), values, mask=_nulls(cells))


def _map_array(cells: Sequence[dict[Any, Any] | None]) -> pa.Array:
    keys = _array(list(itertools.chain.from_iterable(cell for cell in cells if cell is not None)))
    values = _array(list(itertools.chain.from_iterable(cell.values() for cell in cells if cell is not None)))
    return pa.MapArray.from_arrays(_offsets(cells), keys, values, mask=_nulls(cells))


def _offsets(cells: Iterable[Any]) -> pa.Array:
    lengths = np.fromiter((0 if cell is None else len(cell) for cell in cells), np.int64)
    return pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())


def _nulls(cells: Sequence[Any]) -> pa.Array | None:
    if None not in cells:
        return None
    return pa.array([cell is None for cell in cells], pa.bool_())
