"""Columns from Python lists of cells and from NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import I64, U8
from recserve.errors import DataError
from recserve.features.canonical import ColumnData, Leaves, missing_column, number_text, text_leaves
from recserve.features.kernels import layout as at

_NONE: Final = type(None)
_EXACT: Final = 2**53
_SCALARS: Final = (str, int, float, bool)
_PLAIN: Final[tuple[Any, ...]] = (bool, int, float, str, list, dict)


def column_of_cells(cells: Sequence[Any]) -> ColumnData:
    """The column of Python cells: None, text, numbers, bools, lists, lists of lists, or dicts.

    Cells may differ in type, but scalars, lists and dicts do not mix.

    Raises:
        DataError: a cell is of a wrong type; the message names its row.
    """
    kinds = set(map(type, cells)) - {_NONE}
    if not kinds <= {str, int, float, bool, list, dict}:
        cells = [_plain(cell, row) for row, cell in enumerate(cells)]
        kinds = set(map(type, cells)) - {_NONE}
    if not kinds:
        return missing_column(len(cells))
    if kinds == {list}:
        return _lists(cells)
    if kinds == {dict}:
        return _maps(cells)
    if kinds <= set(_SCALARS):
        return ColumnData(len(cells), scalar_leaves(cells, kinds))
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"mixes cells of types {names}", hint="Give scalars, lists or maps in all rows")


def _plain(cell: Any, row: int) -> Any:
    """The cell in Python's own types."""
    if cell is None or type(cell) in _SCALARS or type(cell) in (list, dict):
        return cell
    if isinstance(cell, (np.generic, np.ndarray)):
        return cell.tolist()
    if isinstance(cell, (tuple, set, frozenset)):
        return list(cell)
    if isinstance(cell, bytes):
        try:
            return cell.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"row {row}: {cell!r} is not UTF-8") from error
    for kind in _PLAIN:
        if isinstance(cell, kind):
            return kind(cell)
    raise DataError(f"row {row}: a cell cannot be {type(cell).__name__}")


def _valid(values: Sequence[Any]) -> U8:
    return np.fromiter((value is not None for value in values), np.uint8, len(values))


def scalar_leaves(values: Sequence[Any], kinds: set[type]) -> Leaves:
    """Leaves of scalars or None; `kinds` are the types in it, without None."""
    has_missing = None in values if kinds == {str} else _NONE in set(map(type, values))
    valid = _valid(values) if has_missing else None
    if kinds == {str}:
        return text_leaves([value or "" for value in values] if has_missing else values, valid)
    if kinds == {bool}:
        return Leaves(at.BOOL, np.array([bool(value) for value in values], np.uint8), None, valid)
    if has_missing:
        values = [0 if value is None else value for value in values]
    if kinds == {int}:
        try:
            return Leaves(at.INT, np.array(values, np.int64), None, valid)
        except OverflowError:
            return text_leaves(list(map(str, values)), valid)
    if kinds == {float} or (kinds == {int, float} and all(type(v) is float or -_EXACT <= v <= _EXACT for v in values)):
        return Leaves(at.FLOAT, np.array(values, np.float64), None, valid)
    return _as_text(values, valid)


def _as_text(values: Sequence[Any], valid: U8 | None) -> Leaves:
    """Text leaves of scalars of several types; NaN is missing."""
    valid = np.ones(len(values), np.uint8) if valid is None else valid
    texts = []
    for i, value in enumerate(values):
        if isinstance(value, float):
            if value != value:  # noqa: PLR0124  (NaN)
                valid[i] = 0
            texts.append(number_text(value))
        else:
            texts.append(str(value).lower() if isinstance(value, bool) else str(value))
    return text_leaves(texts, valid)


def offsets_of_lists(lists: Iterable[Any], count: int) -> I64:
    """int64[count + 1] offsets of lists; None is an empty one."""
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter((len(part) if part else 0 for part in lists), np.int64, count), out=offsets[1:])
    return offsets


def _lists(cells: Sequence[Any]) -> ColumnData:
    outer = offsets_of_lists(cells, len(cells))
    elements = list(chain.from_iterable(cell for cell in cells if cell))
    kinds = set(map(type, elements)) - {_NONE}
    if not kinds <= {str, int, float, bool, list, dict}:
        row_of = np.repeat(np.arange(len(cells)), np.diff(outer))
        elements = [_plain(element, int(row_of[i])) for i, element in enumerate(elements)]
        kinds = set(map(type, elements)) - {_NONE}
    if kinds == {list}:
        inner = offsets_of_lists(elements, len(elements))
        leaves = list(chain.from_iterable(element for element in elements if element))
        return ColumnData(len(cells), _element_leaves(leaves, cells), outer, inner)
    if kinds == {dict}:
        pairs = _maps(elements)
        return ColumnData(len(cells), pairs.leaves, outer, pairs.outer, pairs.map_values)
    return ColumnData(len(cells), _element_leaves(elements, cells), outer)


def _element_leaves(elements: list[Any], cells: Sequence[Any]) -> Leaves:
    """Leaves of the elements of lists."""
    kinds = set(map(type, elements)) - {_NONE}
    if not kinds <= set(_SCALARS):
        elements = [_plain(element, 0) for element in elements]
        kinds = set(map(type, elements)) - {_NONE}
    if not kinds <= set(_SCALARS):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        row = next(i for i, cell in enumerate(cells) if cell and not _is_flat(cell))
        raise DataError(f"row {row}: a list cannot hold elements of types {names}")
    return scalar_leaves(elements, kinds) if kinds else missing_column(len(elements)).leaves


def _is_flat(cell: Sequence[Any]) -> bool:
    """Whether the elements of a list, or of its lists, are all scalars and not mixed with lists."""
    inner = [part for part in cell if isinstance(part, list)]
    if inner and any(part is not None and not isinstance(part, list) for part in cell):
        return False
    elements = chain.from_iterable(inner) if inner else iter(cell)
    return all(element is None or isinstance(element, _SCALARS) for element in elements)


def _maps(cells: Sequence[Any]) -> ColumnData:
    outer = offsets_of_lists(cells, len(cells))
    keys = list(chain.from_iterable(cell for cell in cells if cell))
    values = list(chain.from_iterable(cell.values() for cell in cells if cell))
    sides = []
    for part, elements in (("key", keys), ("value", values)):
        plain = [_plain(element, 0) for element in elements]
        kinds = set(map(type, plain)) - {_NONE}
        if not kinds <= set(_SCALARS):
            bad = next(kind.__name__ for kind in kinds if kind not in _SCALARS)
            raise DataError(f"the {part} of a map cannot be {bad}")
        sides.append(scalar_leaves(plain, kinds) if kinds else missing_column(len(plain)).leaves)
    return ColumnData(len(cells), sides[0], outer, None, sides[1])


def column_of_array(values: npt.NDArray[Any]) -> ColumnData:
    """The column of a NumPy array: [N] of scalars, or [N, k], a list of k in each row.

    int64 and float64 are not copied.

    Raises:
        DataError: it has more axes, or a dtype that cells do not have.
    """
    if values.ndim not in (1, 2):
        raise DataError(f"an array of {values.ndim} axes is no column", hint="Give one axis, or two for lists")
    if values.dtype.kind in "OUST":
        return column_of_cells(values.tolist())
    flat = np.ascontiguousarray(values).reshape(-1)
    if values.dtype.kind == "b":
        leaves = Leaves(at.BOOL, flat.view(np.uint8))
    elif values.dtype.kind == "u" and values.dtype.itemsize == 8 and flat.size and int(flat.max()) >= 2**63:
        leaves = text_leaves(list(map(str, flat.tolist())))
    elif values.dtype.kind in "iu":
        leaves = Leaves(at.INT, flat.astype(np.int64, copy=False))
    elif values.dtype.kind == "f":
        leaves = Leaves(at.FLOAT, flat.astype(np.float64, copy=False))
    else:
        raise DataError(f"an array of dtype {values.dtype} is no column")
    if values.ndim == 1:
        return ColumnData(len(values), leaves)
    return ColumnData(len(values), leaves, np.arange(len(values) + 1, dtype=np.int64) * values.shape[1])
