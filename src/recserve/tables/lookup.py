"""Lookups of many features as one kernel call.

Axes: N rows of a batch, S steps over all rows, L steps of the longest row, B buffers.

A `LookupSet` is built once for a stage; `run` then costs the same Python work for one feature or a thousand. `look_up`
is the offline form for one feature, on the same kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recserve import memory
from recserve.columns import Ragged
from recserve.dtypes import F32, I64
from recserve.errors import ConfigError, InvariantError, suggest
from recserve.tables import kernels
from recserve.tables.table import Table, describe_table

POOLINGS: Final = ("sum", "mean")


@dataclass(frozen=True)
class Lookup:
    """One feature's way from a value to columns of a buffer.

    Attributes:
        feature: its name, for errors.
        value: row of the value table: ids or signs of a table, or float32 elements of a dense feature. Of a sequence,
            its rows are steps.
        buffer: which buffer to write to.
        column: first column to write.
        table: None for a dense feature, whose elements are copied; a row short of elements ends in zeros.
        width: columns of a dense feature; of a sparse one always the table's dim.
        pooling: "sum" or "mean".
        is_weighted: multiply rows by the value's weights, which must be there; else weights are ignored.
        steps: of a sequence: row of the value table whose row n holds the steps of row n as a range of rows of
            `value`; only its starts and ends are read. None otherwise.
    """

    feature: str
    value: int
    buffer: int
    column: int = 0
    table: Table | None = None
    width: int = 0
    pooling: str = "sum"
    is_weighted: bool = False
    steps: int | None = None

    @property
    def dim(self) -> int:
        """Columns it writes."""
        return self.table.dim if self.table is not None else self.width

    def _describe(self) -> I64:
        """int64[LOOKUP_FIELDS]."""
        if self.pooling not in POOLINGS:
            raise ConfigError(
                f"pooling {self.pooling!r} is not one of sum, mean",
                where=f"feature {self.feature!r}",
                hint=suggest(self.pooling, POOLINGS),
            )
        if self.dim < 1 or self.column < 0:
            raise InvariantError(f"feature {self.feature!r}: {self.dim} columns from column {self.column}")
        row = describe_table(self.table) if self.table is not None else np.zeros(kernels.LOOKUP_FIELDS, np.int64)
        row[kernels.VALUE] = self.value
        row[kernels.STEPS] = -1 if self.steps is None else self.steps
        row[kernels.DIM] = self.dim
        row[kernels.IS_MEAN] = self.pooling == "mean"
        row[kernels.IS_WEIGHTED] = self.is_weighted and self.table is not None
        row[kernels.BUFFER] = self.buffer
        row[kernels.COLUMN] = self.column
        return row


class LookupSet:
    """Lookups that run together, over one value table into one list of buffers. For any number of threads at once."""

    def __init__(self, lookups: Sequence[Lookup]) -> None:
        self.lookups: Final = tuple(lookups)
        """Keeps the tables, whose addresses the kernel uses."""
        described = [lookup._describe() for lookup in self.lookups]
        self._rows: I64 = np.array(described, np.int64).reshape(len(described), kernels.LOOKUP_FIELDS)

    def run(self, values: I64, buffers: I64, n_rows: int) -> None:
        """Fill the columns of all lookups in rows [0, n_rows). Releases the GIL.

        Args:
            values: int64[values, FIELDS], the value table.
            buffers: int64[B, BUFFER_FIELDS], see `describe_buffer`.
            n_rows: N; the buffers and the values have at least as many rows.

        Raises:
            InvariantError: a lookup is too wide for its buffer, a value has too few rows, or it lacks weights.
        """
        problem, f = kernels.run_lookups(values, self._rows, buffers, n_rows)
        if problem != kernels.DONE:
            raise InvariantError(f"feature {self.lookups[f].feature!r}: {_problem_text(problem, n_rows)}")


def _problem_text(problem: int, n_rows: int) -> str:
    return {
        kernels.DOES_NOT_FIT: "its columns do not fit into its buffer",
        kernels.TOO_FEW_ROWS: f"its value has fewer than {n_rows} rows",
        kernels.NO_WEIGHTS: "its value has no weights",
    }[problem]


def describe_buffer(array: F32) -> I64:
    """int64[BUFFER_FIELDS] of float32[N, width], or of float32[N, L, width] for sequences; valid while it lives.

    Rows may be apart (a slice of columns), columns must be next to one another.

    Raises:
        InvariantError: another dtype or layout.
    """
    is_apart = array.size > 0 and array.shape[-1] > 1 and array.strides[-1] != 4
    if array.dtype != np.float32 or array.ndim not in (2, 3) or is_apart:
        raise InvariantError(f"a buffer is {array.dtype}{list(array.shape)}, strides {list(array.strides)}")
    row_stride, step_stride = array.strides[0] // 4, array.strides[1] // 4
    max_steps = array.shape[1] if array.ndim == 3 else 0
    return np.array([array.ctypes.data, row_stride, step_stride, max_steps, array.shape[-1]], np.int64)


def look_up(table: Table, feature: Ragged, pooling: str = "sum") -> F32:
    """The network's input for one feature, offline.

    Args:
        table: its embedding table.
        feature: ids, N rows; weighted where it has weights.
        pooling: "sum" or "mean", over the ids of a row or of a step.

    Returns:
        float32[N, dim]; of a sequence float32[N, L, dim], zero behind the last step of a row.

    Raises:
        ConfigError: unknown pooling.
        InvariantError: lengths that do not add up, or a dense sequence.
    """
    feature.check()
    if feature.seq_lengths is not None and feature.key_lengths is None:
        raise InvariantError("a dense sequence has no ids to look up")
    ids = np.ascontiguousarray(feature.values, np.int64)
    weights = None if feature.weights is None else np.ascontiguousarray(feature.weights, np.float32)
    lengths = feature.lengths if feature.key_lengths is None else feature.key_lengths
    if int(lengths.sum()) != len(ids):
        raise InvariantError(f"key_lengths add up to {int(lengths.sum())}, but there are {len(ids)} values")
    values = np.zeros((2, memory.FIELDS), np.int64)
    keep = [_fill_ranges(values[0], lengths)]
    values[0, memory.VALUES] = ids.ctypes.data
    values[0, memory.WEIGHTS] = 0 if weights is None else weights.ctypes.data
    if feature.seq_lengths is None:
        out: F32 = np.empty((len(lengths), table.dim), np.float32)
    else:
        keep.append(_fill_ranges(values[1], feature.seq_lengths))
        max_steps = int(feature.seq_lengths.max(initial=0))
        out = np.empty((len(feature.seq_lengths), max_steps, table.dim), np.float32)
    lookup = Lookup(
        "(offline)", 0, 0, 0, table, 0, pooling, weights is not None, None if feature.seq_lengths is None else 1
    )
    LookupSet([lookup]).run(values, describe_buffer(out)[np.newaxis], len(out))
    return out


def _fill_ranges(value: I64, lengths: I64) -> I64:
    """Point a row of a value table at the offsets of `lengths`, which the caller keeps."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    value[memory.STARTS] = offsets.ctypes.data
    value[memory.ENDS] = offsets.ctypes.data + 8
    value[memory.STRIDE] = 1
    value[memory.ROWS] = len(lengths)
    value[memory.COUNT] = offsets[-1]
    return offsets
