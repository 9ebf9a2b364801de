"""Mini-batches of features: what a plan extracts, cut into shuffled batches of torch tensors.

`FeatureData` keeps the whole training set ragged and in memory; `FeatureData.take(rows)` copies some rows into a
`FeatureBatch` with a fixed number of NumPy calls per feature, whatever the number of rows.

Axes: N rows, L steps of the longest sequence of a batch, V ids, D floats of a value, B bags (N of a plain feature,
N * L of a sequence).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recserve.columns import Ragged, offsets_of
from recserve.dtypes import F32, I64
from recserve.errors import ConfigError, DataError, InvariantError
from recserve.features.outputs import OutputKind, OutputSpec

_WINDOW_BATCHES = 16

Extracted = Mapping[str, npt.NDArray[Any] | Ragged]
"""What a plan's `run` returns: each feature's output by name."""


class Plan(Protocol):
    """The part of a compiled plan that training needs."""

    def run(self, columns: Any, *, training: bool = False) -> Extracted:
        """Extract the features of all rows of `columns`; `training` heeds `use_mask`."""


class Features(Protocol):
    """The part of a feature set that training needs."""

    @property
    def outputs(self) -> Sequence[OutputSpec]:
        """The features that the network sees, in order."""

    def compile(self) -> Plan:
        """The plan that extracts them; the same that serves."""


@dataclass(frozen=True, eq=False)
class IdBags:
    """The ids of one sparse feature, grouped into bags that are pooled each on its own.

    Attributes:
        ids: int64[V].
        offsets: int64[B + 1]: bag b holds `ids[offsets[b]:offsets[b + 1]]`.
        weights: float32[V] of a weighted feature, else None.
        steps: L of a sequence, whose bag `n * L + l` is step l of row n (empty beyond the row's length); else None.
    """

    ids: Tensor
    offsets: Tensor
    weights: Tensor | None
    steps: int | None


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """The features of N rows as torch tensors.

    Attributes:
        size: N.
        bags: ids of each sparse feature and of each sparse sequence.
        dense: float32[N, D] of each dense feature; float32[N, L, D], zero beyond the length, of each dense sequence.
        lengths: int64[N] steps of each sequence group, by the group's name.
    """

    size: int
    bags: dict[str, IdBags]
    dense: dict[str, Tensor]
    lengths: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class _IdColumn:
    """Ids of all rows; row n holds `values[offsets[n]:offsets[n + 1]]`, in `key_lengths` steps if a sequence."""

    values: I64
    offsets: I64
    weights: F32 | None
    key_lengths: I64 | None


@dataclass(frozen=True, eq=False)
class _Cells:
    """Where the steps of some rows come from and where they go.

    `sources[i]` is a step of the whole data, `targets[i]` its cell in a block of [N, L] cells in row order.
    """

    lengths: I64
    longest: int
    sources: I64
    targets: I64


class FeatureData:
    """The extracted features of a whole data set of N rows.

    Args:
        extracted: outputs of `Plan.run`.
        outputs: the features to keep, in order; each must be in `extracted`.

    Raises:
        ConfigError: there are no features, or a sparse feature yields tokens because it maps them to no ids.
        DataError: no rows; a value that is not finite; rows of one sequence group with unequal numbers of steps.
        InvariantError: `extracted` does not fit `outputs`.
    """

    def __init__(self, extracted: Extracted, outputs: Sequence[OutputSpec]) -> None:
        if not outputs:
            raise ConfigError("there are no features to train on", hint="Declare at least one feature")
        self.outputs = tuple(outputs)
        self._dense: dict[str, F32] = {}
        self._ids: dict[str, _IdColumn] = {}
        self._steps: dict[str, I64] = {}
        leaders: dict[str, tuple[str, I64]] = {}
        sizes: dict[str, int] = {}
        for spec in self.outputs:
            if spec.name not in extracted:
                raise InvariantError("the plan did not extract this feature", where=f"feature {spec.name!r}")
            column = extracted[spec.name]
            sizes[spec.name] = len(column)
            self._add(spec, column)
            if isinstance(column, Ragged) and column.seq_lengths is not None:
                self._add_steps(spec, column.seq_lengths, leaders)
        if len(set(sizes.values())) != 1:
            raise InvariantError(f"features have different numbers of rows: {sizes}")
        self.size = next(iter(sizes.values()))
        if not self.size:
            raise DataError("there are no rows", hint="Training and prediction need at least one row")

    def __len__(self) -> int:
        """Number of rows."""
        return self.size

    @property
    def longest(self) -> I64:
        """int64[N]: steps of each row's longest sequence, 0 without any. Rows of like numbers waste no padding."""
        lengths = [offsets[1:] - offsets[:-1] for offsets in self._steps.values()]
        return np.max(lengths, axis=0) if lengths else np.zeros(self.size, np.int64)

    def take(self, rows: I64) -> FeatureBatch:
        """Copy rows into a batch, in the order of `rows` (int64[n], each 0 ≤ row < N; repeats are allowed)."""
        cells = {group: _cells_of(offsets, rows) for group, offsets in self._steps.items()}
        bags: dict[str, IdBags] = {}
        dense: dict[str, Tensor] = {}
        for spec in self.outputs:
            place = cells[spec.sequence] if spec.is_sequence and spec.sequence is not None else None
            if spec.name in self._ids:
                bags[spec.name] = _take_ids(self._ids[spec.name], rows, place)
            elif place is not None:
                dense[spec.name] = _pad(self._dense[spec.name], place, len(rows))
            else:
                dense[spec.name] = torch.from_numpy(self._dense[spec.name][rows])
        lengths = {group: torch.from_numpy(place.lengths) for group, place in cells.items()}
        return FeatureBatch(len(rows), bags, dense, lengths)

    def _add(self, spec: OutputSpec, column: npt.NDArray[Any] | Ragged) -> None:
        where = f"feature {spec.name!r}"
        if isinstance(column, Ragged) is (spec.kind is OutputKind.DENSE):
            raise InvariantError(f"a {type(column).__name__} is not the output of kind {spec.kind.value}", where=where)
        if not isinstance(column, Ragged):
            self._dense[spec.name] = _finite(column, spec)
            return
        column.check()
        if spec.kind is OutputKind.DENSE_SEQUENCE:
            self._dense[spec.name] = _finite(column.values, spec)
            return
        if column.values.dtype.kind not in "iu":
            raise ConfigError(
                "yields tokens, not ids, so that no embedding can be looked up",
                where=where,
                hint="Declare an id mapping such as hash_bucket_size, num_buckets or a vocabulary",
            )
        if spec.kind is OutputKind.SPARSE_SEQUENCE and column.key_lengths is None:
            raise InvariantError("a sparse sequence came without key_lengths", where=where)
        weights = None if column.weights is None else column.weights.astype(np.float32, copy=False)
        values = column.values.astype(np.int64, copy=False)
        keys = column.key_lengths if spec.is_sequence else None
        self._ids[spec.name] = _IdColumn(values, column.offsets, weights, keys)

    def _add_steps(self, spec: OutputSpec, lengths: I64, leaders: dict[str, tuple[str, I64]]) -> None:
        """Hold the features of one group to the same number of steps in each row."""
        group = spec.sequence
        if group is None:
            raise InvariantError("a sequence names no group", where=f"feature {spec.name!r}")
        leader, known = leaders.setdefault(group, (spec.name, lengths))
        if len(known) == len(lengths):
            unequal = np.flatnonzero(known != lengths)
            if len(unequal):
                row = int(unequal[0])
                raise DataError(
                    f"row {row} has {lengths[row]} steps, but {leader!r} has {known[row]}",
                    where=f"sequence {group!r}: feature {spec.name!r}",
                    hint="All features of a sequence group need the same number of steps in each row",
                )
        self._steps.setdefault(group, offsets_of(known))


def shuffle_into_batches(longest: I64, size: int, generator: np.random.Generator) -> list[I64]:
    """Cut rows into batches, at random but with rows of like length together.

    Rows are shuffled, sorted by length within each window of a few batches, and the batches shuffled again: sequences
    are padded to the longest of their batch, and without this half of the work would be padding.

    Args:
        longest: int64[N], see `FeatureData.longest`.
        size: the most rows of a batch, at least 1.
        generator: of the order.

    Returns:
        Row numbers of each batch; each of the N rows is in one batch.
    """
    order = generator.permutation(len(longest)).astype(np.int64)
    windows = np.array_split(order, math.ceil(len(order) / (size * _WINDOW_BATCHES)))
    batches: list[I64] = []
    for window in windows:
        by_length = window[np.argsort(longest[window], kind="stable")]
        # Of nearly equal sizes: a last batch of one row would weigh as much as a full one.
        batches += np.array_split(by_length, math.ceil(len(window) / size))
    return [batches[n] for n in generator.permutation(len(batches))]


def _finite(values: npt.NDArray[Any], spec: OutputSpec) -> F32:
    """The float32[N or S, D] values, checked."""
    floats = values.astype(np.float32, copy=False)
    if floats.ndim != 2 or floats.shape[1] != spec.dim:
        raise InvariantError(f"has the shape {floats.shape}, not [rows, {spec.dim}]", where=f"feature {spec.name!r}")
    if not np.isfinite(floats).all():
        row, column = (int(i[0]) for i in np.nonzero(~np.isfinite(floats)))
        raise DataError(
            f"value {floats[row, column]} in row {row} is not finite",
            where=f"feature {spec.name!r}",
            hint="Give the feature a default_value or clean the data",
        )
    return floats


def _positions(offsets: I64, rows: I64) -> I64:
    """Flat positions of all values of `rows`, row after row: int64[sum of their lengths]."""
    starts = offsets[rows]
    lengths = offsets[rows + 1] - starts
    ends = np.cumsum(lengths)
    positions: I64 = np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
    return positions


def _cells_of(offsets: I64, rows: I64) -> _Cells:
    """Place the steps of `rows` into a block of [N, L] cells."""
    lengths = offsets[rows + 1] - offsets[rows]
    longest = int(lengths.max(initial=0))
    firsts = np.cumsum(lengths) - lengths
    shifts = np.arange(len(rows)) * longest - firsts
    targets: I64 = np.repeat(shifts, lengths) + np.arange(int(lengths.sum()))
    return _Cells(lengths, longest, _positions(offsets, rows), targets)


def _take_ids(column: _IdColumn, rows: I64, place: _Cells | None) -> IdBags:
    values = _positions(column.offsets, rows)
    if place is None or column.key_lengths is None:
        sizes = column.offsets[rows + 1] - column.offsets[rows]
    else:
        sizes = np.zeros(len(rows) * place.longest, np.int64)
        sizes[place.targets] = column.key_lengths[place.sources]
    return IdBags(
        torch.from_numpy(column.values[values]),
        torch.from_numpy(offsets_of(sizes)),
        None if column.weights is None else torch.from_numpy(column.weights[values]),
        None if place is None else place.longest,
    )


def _pad(values: F32, place: _Cells, size: int) -> Tensor:
    """float32[N, L, D] from the steps' float32[S, D]."""
    block = np.zeros((size * place.longest, values.shape[1]), np.float32)
    block[place.targets] = values[place.sources]
    return torch.from_numpy(block.reshape(size, place.longest, values.shape[1]))
