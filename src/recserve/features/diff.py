"""Compare two files of extracted features, feature by feature, row by row.

Axes: N rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recserve.dtypes import Bool
from recserve.errors import DataError

BATCH_ROWS: Final = 16_384


@dataclass(frozen=True)
class Tolerance:
    """Floats a and b are equal where |a - b| <= absolute + relative * |b|, or where both are NaN."""

    relative: float = 0.0
    absolute: float = 0.0


@dataclass
class FeatureDifference:
    """One column of the two files.

    Attributes:
        name: of the column.
        rows: compared.
        mismatches: rows that differ.
        examples: (row, left, right) of the first of them, as Python values.
        largest: largest absolute difference of two floats that stand in the same place; None where there are none.
        problem: why no rows were compared, or None.
    """

    name: str
    rows: int = 0
    mismatches: int = 0
    examples: list[tuple[int, Any, Any]] = field(default_factory=list)
    largest: float | None = None
    problem: str | None = None

    @property
    def rate(self) -> float:
        """Share of the rows that differ; 1 where none could be compared."""
        return 1.0 if self.problem else self.mismatches / max(self.rows, 1)

    @property
    def is_equal(self) -> bool:
        """No row differs."""
        return not self.problem and not self.mismatches


@dataclass(frozen=True)
class Comparison:
    """Two files.

    Attributes:
        left_rows: of the left file.
        right_rows: of the right file; where they differ, the rows that both have were compared.
        features: one entry for each column of either, those of the left first.
    """

    left_rows: int
    right_rows: int
    features: tuple[FeatureDifference, ...]

    @property
    def is_equal(self) -> bool:
        """Same rows, same columns, same values."""
        return self.left_rows == self.right_rows and all(feature.is_equal for feature in self.features)


def compare_files(left: Path, right: Path, tolerance: Tolerance | None = None, examples: int = 3) -> Comparison:
    """Compare two Parquet files in batches; memory does not grow with them.

    Args:
        left: written by `files.extract_file`, or any Parquet file of numbers, texts and lists of them.
        right: the same.
        tolerance: of floats; None asks for equal bits, save that NaN equals NaN and 0 equals -0.
        examples: to keep for each column.

    Raises:
        DataError: a file cannot be read; names it.
    """
    with _open(left) as a, _open(right) as b:
        found = _match_columns(a.schema_arrow, b.schema_arrow)
        names = [feature.name for feature in found.values() if feature.problem is None]
        first = 0
        for one, other in _pairs(left, a, right, b, names):
            for name in names:
                _compare(found[name], one.column(name), other.column(name), first, tolerance or Tolerance(), examples)
            first += len(one)
        return Comparison(a.metadata.num_rows, b.metadata.num_rows, tuple(found.values()))


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot be read as Parquet: {error}", where=str(path)) from None


def _match_columns(left: pa.Schema, right: pa.Schema) -> dict[str, FeatureDifference]:
    found = {}
    for name in dict.fromkeys([*left.names, *right.names]):
        feature = FeatureDifference(name)
        if name not in right.names:
            feature.problem = "only on the left"
        elif name not in left.names:
            feature.problem = "only on the right"
        elif left.field(name).type != right.field(name).type:
            feature.problem = f"{left.field(name).type} on the left, {right.field(name).type} on the right"
        found[name] = feature
    return found


def _pairs(
    left: Path, a: pq.ParquetFile, right: Path, b: pq.ParquetFile, names: list[str]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Batches of both files with the same rows."""
    ones, others = _Rows(left, a, names), _Rows(right, b, names)
    while rows := min(ones.ready(), others.ready()):
        yield ones.take(rows), others.take(rows)


class _Rows:
    """Rows of a file, taken in any number: batches of two files need not begin at the same rows."""

    def __init__(self, path: Path, file: pq.ParquetFile, names: list[str]) -> None:
        self._path, self._batches = path, file.iter_batches(BATCH_ROWS, columns=names)
        self._waiting: pa.Table | None = None

    def ready(self) -> int:
        """Rows that can be taken; 0 at the end."""
        while self._waiting is None or not len(self._waiting):
            try:
                self._waiting = pa.Table.from_batches([next(self._batches)])
            except StopIteration:
                return 0
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"cannot be read as Parquet: {error}", where=str(self._path)) from None
        return len(self._waiting)

    def take(self, rows: int) -> pa.Table:
        """The next rows; as many as are ready at most."""
        assert self._waiting is not None
        taken, self._waiting = self._waiting.slice(0, rows), self._waiting.slice(rows)
        return taken


def _compare(  # noqa: PLR0917  (one call for each column and batch)
    feature: FeatureDifference,
    left: pa.ChunkedArray,
    right: pa.ChunkedArray,
    first: int,
    near: Tolerance,
    examples: int,
) -> None:
    a, b = left.combine_chunks(), right.combine_chunks()
    feature.rows += len(a)
    differs, largest = differing_rows(a, b, near)
    if largest is not None:
        feature.largest = max(largest, feature.largest or 0.0)
    rows = np.flatnonzero(differs)
    feature.mismatches += len(rows)
    for row in rows[: max(examples - len(feature.examples), 0)].tolist():
        feature.examples.append((first + row, a[row].as_py(), b[row].as_py()))


def differing_rows(a: pa.Array, b: pa.Array, near: Tolerance) -> tuple[Bool, float | None]:
    """Which rows of two arrays of one type and length differ, and the largest difference of floats in one place.

    Lists are compared level by level, without a loop over rows: first their lengths, then the elements of those that
    are of one length.
    """
    if pa.types.is_fixed_size_list(a.type) or pa.types.is_list(a.type) or pa.types.is_large_list(a.type):
        lengths = [pc.list_value_length(x).fill_null(-1).to_numpy(zero_copy_only=False) for x in (a, b)]
        differs: Bool = lengths[0] != lengths[1]
        rows = np.flatnonzero(~differs & (lengths[0] > 0))
        one, other = (pc.list_flatten(x.take(pa.array(rows))) for x in (a, b))
        inner, largest = differing_rows(one, other, near) if len(one) else (np.zeros(0, bool), None)
        differs[np.repeat(rows, lengths[0][rows])[inner]] = True
        return differs, largest
    nulls = [x.is_null().to_numpy(zero_copy_only=False) for x in (a, b)]
    if not pa.types.is_floating(a.type):
        same = pc.equal(a, b).fill_null(False).to_numpy(zero_copy_only=False)
        return ~(same | (nulls[0] & nulls[1])), None
    x, y = (values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64) for values in (a, b))
    both_nan = np.isnan(x) & np.isnan(y)
    with np.errstate(invalid="ignore"):
        gaps = np.where(both_nan | (x == y), 0.0, np.abs(x - y))
        is_near = gaps <= near.absolute + near.relative * np.where(np.isfinite(y), np.abs(y), 0.0)
    finite = gaps[np.isfinite(gaps)]
    return ~is_near | (nulls[0] != nulls[1]), float(finite.max()) if finite.size else None
