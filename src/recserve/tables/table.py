"""Embedding tables: float32 rows addressed by id or by sign, in memory or mapped from files.

Axes: V rows, C entries of a sign index (a power of two).

A table is one or two plain `.npy` files, named after it (percent-encoded):

    <name>.direct.npy    float32[V, dim]   row i belongs to id i
or
    <name>.hashed.npy    float32[V, dim]   and
    <name>.index.npy     int64[C, 2]       (sign, row) by open addressing; row -1 marks an empty entry

Rows in another format (fp16, bf16, int8 with row scales) will be another dtype of these files and another branch of
`recserve.tables.kernels`; today all rows are float32.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32, I64
from recserve.errors import BundleError, ConfigError
from recserve.tables import kernels

_MAX_LOAD: Final = 0.7
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
        rows: float32[V, dim], C-contiguous, finite.
        index: sign → row; None where an id is the number of its row.
    """

    name: str
    rows: F32
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
        return int(self.rows.shape[1])

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


def first_not_finite(rows: F32) -> int:
    """The first row of float32[V, dim] with a NaN or an infinity, else -1. Reads in blocks, to bound its memory."""
    block = max(1, (1 << 20) // max(1, rows.shape[1]))
    for start in range(0, len(rows), block):
        bad = ~np.isfinite(rows[start : start + block]).all(axis=1)
        if bad.any():
            return start + int(bad.argmax())
    return -1


def _map_rows(path: Path) -> F32:
    rows = _map(path, np.dtype(np.float32))
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise BundleError(f"shape {list(rows.shape)}, expected [rows, dim]", where=str(path))
    return rows


def _map(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Map an `.npy` file after checking what its header says against what is there."""
    hint = "Copy the file again, or build the bundle again"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BundleError("the file is missing", where=str(path), hint=hint) from None
    except (ValueError, OSError, EOFError) as error:
        raise BundleError(f"not a whole .npy file ({error})", where=str(path), hint=hint) from None
    if not isinstance(array, np.memmap):
        raise BundleError("an archive, not an .npy file", where=str(path), hint=hint)
    if array.dtype != dtype or not array.flags.c_contiguous:
        order = "" if array.flags.c_contiguous else " in column order"
        raise BundleError(f"dtype {array.dtype}{order}, expected {dtype}", where=str(path), hint=hint)
    surplus = path.stat().st_size - array.offset - array.nbytes
    if surplus:
        raise BundleError(f"{surplus} bytes more than its header says", where=str(path), hint=hint)
    return array
