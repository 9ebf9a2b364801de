"""From feature values to the network's input tensors, by lookups into buffers that are kept and reused.

Axes: N rows of a stage, L steps of the longest row of a sequence group, G sequence groups.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32, I64
from recserve.errors import ConfigError, DataError, suggest
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.staging.cuts import NetworkInput
from recserve.staging.kernels import count_steps
from recserve.tables.kernels import BUFFER_FIELDS
from recserve.tables.lookup import Lookup, LookupSet, describe_buffer
from recserve.tables.table import Table

Tensor = npt.NDArray[Any]
_KEPT_SHAPES: Final = 64


class Buffers:
    """Named float32 arrays in one block of memory. Not for two threads at once.

    Shapes recur from request to request, so the views and their descriptors are kept by shape: a repeated shape costs
    one dictionary lookup.
    """

    def __init__(self) -> None:
        self._block: F32 = np.empty(0, np.float32)
        self._kept: dict[tuple[tuple[int, ...], ...], tuple[list[F32], I64]] = {}

    def take(self, shapes: tuple[tuple[int, ...], ...]) -> tuple[list[F32], I64]:
        """Arrays of these shapes and their descriptors, int64[B, BUFFER_FIELDS]. Overwrites what was taken before."""
        if (kept := self._kept.get(shapes)) is not None:
            return kept
        # Arrays start at multiples of 16 floats (64 bytes), as engines like them.
        sizes = [-(-int(np.prod(shape)) // 16) * 16 for shape in shapes]
        if sum(sizes) + 16 > len(self._block):
            self._block = np.empty(2 * sum(sizes) + 16, np.float32)
            self._kept.clear()
        if len(self._kept) >= _KEPT_SHAPES:
            self._kept.clear()
        start = -(self._block.ctypes.data // 4) % 16
        arrays: list[F32] = []
        for shape, size in zip(shapes, sizes, strict=True):
            arrays.append(self._block[start : start + int(np.prod(shape))].reshape(shape))
            start += size
        described = [describe_buffer(array) for array in arrays]
        kept = arrays, np.array(described, np.int64).reshape(len(described), BUFFER_FIELDS)
        self._kept[shapes] = kept
        return kept


class TensorMaker:
    """Makes the tensors of some of the network's inputs from the values of one stage. For any number of threads."""

    def __init__(
        self,
        inputs: Sequence[NetworkInput],
        tables: Mapping[str, Table],
        slot_of: Callable[[int], int],
        step_buckets: Sequence[int] = (),
    ) -> None:
        """Prepare the lookups.

        Args:
            inputs: to make; sequence lengths among them.
            tables: by name.
            slot_of: value of the plan → row of the value table that holds it after the stage's run.
            step_buckets: lengths that step axes are padded to with zeros, rising, up to the longest that a sequence
                can be; empty: none is padded.

        Raises:
            ConfigError: a table is missing or has another shape than its features.
        """
        features = [entry for entry in inputs if entry.output is not None]
        self._names: Final = tuple(entry.name for entry in features)
        groups = list(dict.fromkeys(entry.sequence for entry in inputs if entry.sequence is not None))
        self._groups: Final = tuple(groups)
        self._steps_of: Final = tuple(_allowed_steps(group, inputs, step_buckets) for group in groups)
        self._group_of: Final = tuple(groups.index(e.sequence) if e.sequence is not None else -1 for e in features)
        self._dims: Final = tuple(entry.output.spec.dim for entry in features if entry.output is not None)
        lookups = []
        for buffer, entry in enumerate(features):
            output = entry.output
            assert output is not None
            lookups.append(
                Lookup(
                    feature=entry.name,
                    value=slot_of(output.value),
                    buffer=buffer,
                    table=find_table(output.spec, tables),
                    width=output.spec.dim,
                    pooling=output.spec.pooling,
                    is_weighted=output.spec.is_weighted,
                    steps=None if output.steps is None else slot_of(output.steps),
                )
            )
        members = sorted(
            (groups.index(entry.sequence), slot_of(entry.steps), entry.name)
            for entry in inputs
            if entry.sequence is not None and entry.steps is not None
        )
        self._members: I64 = np.array([m[:2] for m in members], np.int64).reshape(len(members), 2)
        self._member_names: Final = tuple(member[2] for member in members)
        self._lengths_inputs: Final = tuple(
            (entry.name, groups.index(entry.sequence))
            for entry in inputs
            if entry.output is None and entry.sequence is not None
        )
        self._lookups: Final = LookupSet(lookups)

    def make(self, values: I64, rows: int, buffers: Buffers) -> dict[str, Tensor]:
        """{input: float32[N, dim] | float32[N, L, dim] | int64[N]}, in `buffers`.

        Args:
            values: the value table of the stage, after its run.
            rows: N.
            buffers: overwritten.

        Raises:
            DataError: the sequences of a group have unequal lengths; names the feature and the row.
        """
        if not self._names and not self._lengths_inputs:
            return {}
        lengths = np.empty((len(self._groups), rows), np.int64)
        most: Sequence[int] = ()
        if len(self._members):
            most = self._count(values, lengths, rows)
        shapes = tuple(
            (rows, dim) if group < 0 else (rows, most[group], dim)
            for dim, group in zip(self._dims, self._group_of, strict=True)
        )
        arrays, described = buffers.take(shapes)
        self._lookups.run(values, described, rows)
        tensors: dict[str, Tensor] = dict(zip(self._names, arrays, strict=True))
        for name, group in self._lengths_inputs:
            tensors[name] = lengths[group]
        return tensors

    def _count(self, values: I64, lengths: I64, rows: int) -> list[int]:
        most = np.zeros(len(self._groups), np.int64)
        fault = count_steps(values, self._members, lengths, most, rows)
        if fault >= 0:
            member, row = divmod(fault, rows)
            group = self._groups[self._members[member, 0]]
            raise DataError(
                f"row {row} has another number of steps than the other features of sequence {group!r}",
                code="unequal_steps",
                where=f"feature {self._member_names[member]!r}",
                hint="Send columns of equal length for a sequence",
            )
        longest: list[int] = most.tolist()
        return [pad_steps(steps, allowed) for steps, allowed in zip(longest, self._steps_of, strict=True)]


def longest_steps(inputs: Sequence[NetworkInput]) -> list[int | None]:
    """The longest that each sequence group can be; None where it has no bound."""
    groups = dict.fromkeys(entry.sequence for entry in inputs if entry.sequence is not None)
    return [_longest(group, inputs) for group in groups]


def _longest(group: str, inputs: Sequence[NetworkInput]) -> int | None:
    members = [entry.output.spec for entry in inputs if entry.sequence == group and entry.output is not None]
    bounds = [spec.max_steps for spec in members if spec.max_steps is not None]
    return max(bounds) if bounds and len(bounds) == len(members) else None


def _allowed_steps(group: str, inputs: Sequence[NetworkInput], buckets: Sequence[int]) -> tuple[int, ...]:
    """The buckets that a group may be padded to: a network may know no step behind the longest."""
    longest = _longest(group, inputs)
    return tuple(size for size in buckets if longest is None or size <= longest)


def pad_steps(steps: int, allowed: Sequence[int]) -> int:
    """The least of the allowed lengths that holds `steps`; `steps` itself where none does."""
    at = bisect_left(allowed, steps)
    return allowed[at] if at < len(allowed) else steps


def find_table(spec: OutputSpec, tables: Mapping[str, Table]) -> Table | None:
    """The table of a feature, None for a dense one.

    Raises:
        ConfigError: there is none, or its dim or number of rows does not fit.
    """
    if spec.kind in (OutputKind.DENSE, OutputKind.DENSE_SEQUENCE):
        return None
    where = f"feature {spec.name!r}"
    if spec.table is None or spec.table not in tables:
        raise ConfigError(
            f"needs the table {spec.table!r}, which was not given",
            code="missing_table",
            where=where,
            hint=suggest(spec.table or "", tables) or f"Tables: {', '.join(sorted(tables)) or 'none'}",
        )
    table = tables[spec.table]
    if table.dim != spec.dim:
        raise ConfigError(
            f"has embedding_dim {spec.dim}, but table {table.name!r} has rows of {table.dim}",
            code="table_shape",
            where=where,
        )
    if spec.is_dynamic and table.index is None:
        raise ConfigError(
            f"yields hashes of 63 bits, but table {table.name!r} is addressed by row number",
            code="table_kind",
            where=where,
            hint="Give a table with signs: Table.hashed(name, signs, rows)",
        )
    if spec.rows is not None and table.index is None and len(table) < spec.rows:
        raise ConfigError(
            f"yields ids below {spec.rows}, but table {table.name!r} has {len(table)} rows",
            code="table_shape",
            where=where,
            hint="Export the table that was trained with this config",
        )
    return table
