"""Embedding tables: rows addressed by id or by sign, in memory or mapped from files.

Axes: V rows, C entries of a sign index (a power of two).

A table is one or two plain `.npy` files, named after it (percent-encoded):

    <name>.direct.npy    rows              row i belongs to id i
or
    <name>.hashed.npy    rows              and
    <name>.index.npy     int64[C, 2]       (sign, row) by open addressing; row -1 marks an empty entry

The dtype of the rows says their precision: float32[V, dim] (fp32), float16[V, dim] (fp16), uint16[V, dim] (bf16), or
records {scale: float32, row: int8[dim]} (int8); see `recserve.rows.formats`. Lookups pool them in float32.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32, I64
from recserve.errors import BundleError, ConfigError, InvariantError
from recserve.rows.formats import (
    PRECISIONS,
    StoredRows,
    check_precision,
    first_overflow,
    precision_of,
    table_row_bytes,
    width_of,
)
from recserve.rows.kernels import load_rows, store_rows
from recserve.tables import kernels

_MAX_LOAD: Final = 0.7
_COPY_AGAIN: Final = "Copy the file again, or build the bundle again"
_DTYPES: Final = "float32, float16, uint16 (bf16) or {scale: float32, row: int8[dim]}"
_HASHED_NEEDS: Final = "A hashed table needs one sign for each row"


@dataclass(frozen=True, eq=False)
class SignIndex:
    """Sign → row, by open addressing with linear probing from `kernels.mix(sign)`.

    Attributes:
        entries: int64[C, 2] of (sign, row); row -1 marks an empty entry. At most 0.7 of the entries are in use.
    """

    entries: I64

    @classmethod
    def build(cls, signs: I64) -> SignIndex:
        """Index the signs, int64[V]; the row of a sign is its position.

        Raises:
            ConfigError: a sign occurs twice.
        """
        entries = np.full((_capacity(len(signs)), 2), -1, np.int64)
        row = kernels.build_index(signs, entries)
        if row >= 0:
            first = int(np.flatnonzero(signs == signs[row])[0])
            raise ConfigError(
                f"sign {int(signs[row])} occurs twice, in rows {first} and {row}", hint="Each sign has one row"
            )
        return cls(entries)

    def __len__(self) -> int:
        """Number of signs."""
        return int(np.count_nonzero(self.entries[:, 1] >= 0))

    def signs(self) -> I64:
        """int64[V]: the sign of each row."""
        used = self.entries[self.entries[:, 1] >= 0]
        signs = np.empty(len(used), np.int64)
        signs[used[:, 1]] = used[:, 0]
        return signs


@dataclass(frozen=True, eq=False)
class Table:
    """Embedding rows, read-only where mapped from a file.

    Attributes:
        name: of the table, unique in a bundle.
        rows: V rows in one of the precisions, C-contiguous, finite.
        index: sign → row; None where an id is the number of its row.
    """

    name: str
    rows: StoredRows
    index: SignIndex | None = None

    @classmethod
    def direct(cls, name: str, rows: npt.ArrayLike) -> Table:
        """A table whose row i belongs to id i.

        Args:
            name: not empty.
            rows: float32[V, dim], V ≥ 0, dim ≥ 1; not copied where contiguous.

        Raises:
            ConfigError: wrong dtype or shape, or a row that is not finite.
        """
        return cls(_named(name), _checked_rows(name, rows))

    @classmethod
    def hashed(cls, name: str, signs: npt.ArrayLike, rows: npt.ArrayLike) -> Table:
        """A table whose row i belongs to sign `signs[i]`.

        Args:
            name: not empty.
            signs: int64[V], distinct.
            rows: float32[V, dim], dim ≥ 1; not copied where contiguous.

        Raises:
            ConfigError: wrong dtype or shape, a row that is not finite, or a sign that occurs twice.
        """
        checked = _checked_rows(_named(name), rows)
        where = f"table {name!r}"
        sign_array = np.asarray(signs)
        if sign_array.dtype != np.int64 or sign_array.shape != (len(checked),):
            raise ConfigError(
                f"signs are {sign_array.dtype}{list(sign_array.shape)}, expected int64[{len(checked)}]",
                where=where,
                hint=_HASHED_NEEDS,
            )
        try:
            return cls(name, checked, SignIndex.build(np.ascontiguousarray(sign_array)))
        except ConfigError as error:
            raise error.at(where) from None

    @property
    def dim(self) -> int:
        """Columns of a row."""
        return width_of(self.rows)

    @property
    def precision(self) -> str:
        """Of its rows, one of `recserve.rows.formats.PRECISIONS`."""
        return precision_of(self.rows)

    def stored_as(self, precision: str) -> Table:
        """The same table in another precision; itself where it has that one, or where that one takes no fewer bytes.

        Raises:
            ConfigError: an unknown precision, or a number that is too large for it; names table and row.
        """
        where = f"table {self.name!r}"
        check_precision(precision, where)
        exact = table_row_bytes("fp32", self.dim)
        if precision == self.precision or (precision != "fp32" and table_row_bytes(precision, self.dim) >= exact):
            return self
        rows = self.floats()
        over = first_overflow(rows, precision)
        if over is not None:
            row, number = over
            raise ConfigError(
                f"row {row} holds {number:g}, which {precision} cannot",
                code="overflow",
                where=where,
                hint="Keep this table in bf16 or fp32" if precision == "fp16" else "Keep this table in fp32",
            )
        return Table(self.name, store_rows(rows, precision), self.index)

    def floats(self) -> F32:
        """float32[V, dim]: the rows as lookups read them. Copies all of them, but for fp32."""
        return load_rows(self.rows, self.precision, self.dim)

    def describe(self) -> dict[str, int | str]:
        """Rows, dim, precision, and bytes now and in fp32 (the index not counted), as plain JSON values."""
        return {
            "rows": len(self),
            "dim": self.dim,
            "precision": self.precision,
            "bytes": int(self.rows.nbytes),
            "fp32_bytes": table_row_bytes("fp32", self.dim) * len(self),
        }

    def __len__(self) -> int:
        """Number of rows, V."""
        return len(self.rows)

    @property
    def size_bytes(self) -> int:
        """Bytes of rows and index."""
        return self.rows.nbytes + (self.index.entries.nbytes if self.index else 0)

    def find(self, ids: I64) -> I64:
        """int64[n] rows of ids or signs int64[n]; -1 where there is none."""
        rows = np.empty(len(ids), np.int64)
        kernels.find_rows(describe_table(self), np.ascontiguousarray(ids, np.int64), rows)
        return rows

    def save(self, folder: Path | str) -> list[Path]:
        """Write the table's files into an existing folder; their paths."""
        paths = _Paths.of(folder, self.name)
        if self.index is None:
            np.save(paths.direct, self.rows, allow_pickle=False)
            return [paths.direct]
        np.save(paths.hashed, self.rows, allow_pickle=False)
        np.save(paths.index, self.index.entries, allow_pickle=False)
        return [paths.hashed, paths.index]

    @classmethod
    def open(cls, folder: Path | str, name: str) -> Table:
        """Map a saved table, read-only. Reads headers, not rows: see `check`.

        Raises:
            BundleError: a file is missing, cut short, or holds something else.
        """
        paths = _Paths.of(folder, name)
        is_direct, is_hashed = paths.direct.exists(), paths.hashed.exists()
        if is_direct and is_hashed:
            raise BundleError(
                f"table {name!r} is there twice, as {paths.direct.name} and as {paths.hashed.name}",
                where=str(folder),
                hint="Delete the one that does not belong there",
            )
        if not is_hashed:
            return cls(name, _map_rows(paths.direct))
        rows = _map_rows(paths.hashed)
        entries = _map(paths.index, np.dtype(np.int64))
        size = entries.shape[0] if entries.ndim == 2 else 0
        if entries.ndim != 2 or entries.shape[1] != 2 or size & (size - 1) or size <= len(rows):
            raise BundleError(
                f"shape {list(entries.shape)} is not that of an index of {len(rows)} rows",
                where=str(paths.index),
                hint="Expected int64[C, 2] with C a power of two greater than the number of rows",
            )
        return cls(name, rows, SignIndex(entries))

    def check(self) -> None:
        """Read everything: rows are finite, and the index leads to each row once.

        Raises:
            BundleError: naming the first row that is wrong.
        """
        where = f"table {self.name!r}"
        row = first_not_finite(self.rows)
        if row >= 0:
            raise BundleError(f"row {row} is not finite", where=where, hint="The file is damaged; copy it again")
        if self.index is None:
            return
        used = self.index.entries[self.index.entries[:, 1] >= 0]
        if not np.array_equal(np.sort(used[:, 1]), np.arange(len(self.rows))):
            raise BundleError(
                f"the index does not lead to each of the {len(self.rows)} rows once",
                where=where,
                hint="The file is damaged; copy it again",
            )
        lost = np.flatnonzero(self.find(np.ascontiguousarray(used[:, 0])) != used[:, 1])
        if len(lost):
            raise BundleError(
                f"the index does not find sign {int(used[lost[0], 0])}",
                where=where,
                hint="The file is damaged; copy it again",
            )


def describe_table(table: Table) -> I64:
    """int64[LOOKUP_FIELDS] with the fields of the table filled in; valid as long as the table lives."""
    row = np.zeros(kernels.LOOKUP_FIELDS, np.int64)
    row[kernels.TABLE] = table.rows.ctypes.data
    row[kernels.TABLE_ROWS] = len(table)
    row[kernels.DIM] = table.dim
    row[kernels.PRECISION] = PRECISIONS.index(table.precision)
    row[kernels.ROW_BYTES] = table.rows.strides[0] if len(table) else 0
    if table.index is not None:
        row[kernels.INDEX] = table.index.entries.ctypes.data
        row[kernels.INDEX_SIZE] = len(table.index.entries)
    return row


@dataclass(frozen=True)
class _Paths:
    """Where the files of one table are."""

    direct: Path
    hashed: Path
    index: Path

    @classmethod
    def of(cls, folder: Path | str, name: str) -> _Paths:
        stem = urllib.parse.quote(_named(name), safe=" ")
        return cls(*(Path(folder) / f"{stem}.{part}.npy" for part in ("direct", "hashed", "index")))


def _named(name: str) -> str:
    if not name:
        raise ConfigError("a table has an empty name", hint="Name each table")
    return name


def _capacity(count: int) -> int:
    """The smallest power of two that `count` entries fill to at most 0.7, and more than `count`."""
    return 1 << max(1, int(count / _MAX_LOAD)).bit_length()


def _checked_rows(name: str, rows: npt.ArrayLike) -> F32:
    where = f"table {name!r}"
    array = np.asarray(rows)
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] < 1:
        raise ConfigError(
            f"rows are {array.dtype}{list(array.shape)}, expected float32[rows, dim]",
            where=where,
            hint="Convert them with astype(numpy.float32)" if array.ndim == 2 else None,
        )
    row = first_not_finite(array)
    if row >= 0:
        raise ConfigError(f"row {row} is not finite", where=where, hint="Was the training stable?")
    return np.ascontiguousarray(array)


def first_not_finite(rows: StoredRows) -> int:
    """The first of V stored rows with a NaN or an infinity, else -1. Reads in blocks, to bound its memory."""
    precision, width = precision_of(rows), width_of(rows)
    block = max(1, (1 << 20) // width)
    for start in range(0, len(rows), block):
        bad = ~np.isfinite(load_rows(rows[start : start + block], precision, width)).all(axis=1)
        if bad.any():
            return start + int(bad.argmax())
    return -1


def _map_rows(path: Path) -> StoredRows:
    rows = _map(path)
    try:
        precision_of(rows)
    except InvariantError:
        is_float = rows.dtype == np.float32
        wrong = f"shape {list(rows.shape)}, expected [rows, dim]"
        raise BundleError(
            wrong if is_float else f"dtype {rows.dtype}, expected {_DTYPES}",
            where=str(path),
            hint=_COPY_AGAIN,
        ) from None
    return rows


def _map(path: Path, dtype: np.dtype[Any] | None = None) -> npt.NDArray[Any]:
    """Map an `.npy` file after checking what its header says against what is there."""
    hint = _COPY_AGAIN
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BundleError("the file is missing", where=str(path), hint=hint) from None
    except (ValueError, OSError, EOFError) as error:
        raise BundleError(f"not a whole .npy file ({error})", where=str(path), hint=hint) from None
    if not isinstance(array, np.memmap):
        raise BundleError("an archive, not an .npy file", where=str(path), hint=hint)
    is_wrong = dtype is not None and array.dtype != dtype
    if is_wrong or not array.flags.c_contiguous:
        order = "" if array.flags.c_contiguous else " in column order"
        raise BundleError(f"dtype {array.dtype}{order}, expected {dtype or _DTYPES}", where=str(path), hint=hint)
    surplus = path.stat().st_size - array.offset - array.nbytes
    if surplus:
        raise BundleError(f"{surplus} bytes more than its header says", where=str(path), hint=hint)
    return array
