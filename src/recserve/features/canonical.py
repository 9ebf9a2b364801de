"""The canonical form of a raw column, which kernels read: see `kernels.layout`, "column".

A `Leaves` holds the scalars of a column, a `ColumnData` how rows cut them. Both own the arrays that their record points
to: whoever runs a stage keeps them alive.

Axes: N rows, M inner lists, L leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recserve.dtypes import I64, U8
from recserve.errors import DataError
from recserve.features.kernels import layout as at

_EMPTY_TEXT = np.zeros(1, np.uint8)


@dataclass(frozen=True, eq=False)
class Leaves:
    """Scalars.

    Attributes:
        kind: at.TEXT, INT, FLOAT or BOOL.
        values: uint8 (TEXT: the bytes; BOOL: uint8[L]), int64[L] or float64[L], contiguous.
        offsets: int64[L + 1] of TEXT, else None.
        valid: uint8[L], 0 where missing; None if none is.
    """

    kind: int
    values: npt.NDArray[Any]
    offsets: I64 | None = None
    valid: U8 | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1


@dataclass(frozen=True, eq=False)
class ColumnData:
    """A column.

    Attributes:
        rows: N.
        leaves: of all cells; of a map its keys.
        outer: int64[N + 1] if cells are lists or maps, else None. A missing cell is empty.
        inner: int64[M + 1] if cells are lists of lists, else None.
        map_values: values of the keys, if cells are maps.
    """

    rows: int
    leaves: Leaves
    outer: I64 | None = None
    inner: I64 | None = None
    map_values: Leaves | None = None

    def fill(self, record: I64) -> None:
        """Write the record of the column, int64[COLUMN]."""
        record[:] = 0
        record[at.DEPTH] = 0 if self.outer is None else 1 if self.inner is None else 2
        record[at.COLUMN_ROWS] = self.rows
        record[at.OUTER] = _address(self.outer)
        record[at.INNER] = _address(self.inner)
        fields = (at.LEAF, at.LEAVES, at.LEAF_OFFSETS, at.LEAF_VALID)
        for leaves, places in ((self.leaves, fields), (self.map_values, _MAP_FIELDS)):
            if leaves is not None:
                record[list(places)] = [
                    leaves.kind,
                    _address(leaves.values),
                    _address(leaves.offsets),
                    _address(leaves.valid),
                ]
        record[at.IS_MAP] = self.map_values is not None


_MAP_FIELDS = (at.MAP_LEAF, at.MAP_LEAVES, at.MAP_OFFSETS, at.MAP_VALID)


def _address(values: npt.NDArray[Any] | None) -> int:
    return 0 if values is None else int(values.ctypes.data)


def text_leaves(values: Sequence[str], valid: U8 | None = None) -> Leaves:
    """TEXT leaves of Python texts.

    Raises:
        DataError: a text cannot be UTF-8.
    """
    joined = "".join(values)
    try:
        data = joined.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{joined[error.start - 5 : error.start + 5]!r} cannot be UTF-8") from error
    lengths = map(len, values) if len(data) == len(joined) else (len(value.encode()) for value in values)
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, len(values)), out=offsets[1:])
    return Leaves(at.TEXT, np.frombuffer(data, np.uint8) if data else _EMPTY_TEXT, offsets, valid)


def number_text(x: float) -> str:
    """The token that a number is: no ".0" of integral floats, else the shortest form that reads back equal."""
    return repr(x).removesuffix(".0")


def missing_column(rows: int) -> ColumnData:
    """A column of missing cells."""
    return ColumnData(rows, Leaves(at.TEXT, _EMPTY_TEXT, np.zeros(rows + 1, np.int64), np.zeros(rows, np.uint8)))
