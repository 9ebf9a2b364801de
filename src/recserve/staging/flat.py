"""The flat pipeline: every step once per candidate, on tiled columns. The obvious twin that defines the staged one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recserve.columns import Ragged, offsets_of
from recserve.dtypes import F32
from recserve.errors import DataError
from recserve.features.plan import Plan
from recserve.network.model import Network
from recserve.network.session import Session
from recserve.staging.cuts import NetworkInput
from recserve.staging.tensors import Tensor, find_table
from recserve.tables.lookup import look_up
from recserve.tables.table import Table


class FlatPipeline:
    """Features by the offline plan, lookups one feature at a time, and the network as exported."""

    def __init__(
        self, plan: Plan, inputs: tuple[NetworkInput, ...], tables: Mapping[str, Table], network: Network
    ) -> None:
        self._plan: Final = plan
        self._inputs: Final = inputs
        self._tables: Final = tables
        self._session: Final = Session(network.to_bytes())

    def make_tensors(self, columns: Mapping[str, Any]) -> dict[str, Tensor]:
        """Inputs of the flat network from columns of N rows (or of one, which all rows share)."""
        values = self._plan.run(columns)
        tensors: dict[str, Tensor] = {}
        for entry in self._inputs:
            if entry.output is not None:
                spec = entry.output.spec
                table = find_table(spec, self._tables)
                value = values[spec.name]
                if table is None:
                    tensors[entry.name] = _make_dense(value)
                else:
                    assert isinstance(value, Ragged)
                    tensors[entry.name] = look_up(table, value, spec.pooling)
        for entry in self._inputs:
            if entry.output is None and entry.sequence is not None:
                tensors[entry.name] = _lengths_of(entry.sequence, self._inputs, values)
        return pad_sequences(self._inputs, tensors)

    def run_network(self, tensors: Mapping[str, Tensor]) -> dict[str, F32]:
        """{output: float32[N] or float32[N, k]}."""
        answers = self._session.run(dict(tensors))
        return {
            name: np.asarray(answer[:, 0] if answer.ndim == 2 and answer.shape[1] == 1 else answer, np.float32)
            for name, answer in answers.items()
        }

    def run(self, columns: Mapping[str, Any]) -> dict[str, F32]:
        """Outputs for raw columns."""
        return self.run_network(self.make_tensors(columns))


def _make_dense(value: Ragged | F32) -> F32:
    """float32[N, dim], or float32[N, L, dim] of a dense sequence, zero behind the last step."""
    if not isinstance(value, Ragged):
        return value
    assert value.seq_lengths is not None
    rows, most = len(value.seq_lengths), int(value.seq_lengths.max(initial=0))
    out = np.zeros((rows, most, value.values.shape[1]), np.float32)
    row = np.repeat(np.arange(rows), value.seq_lengths)
    out[row, np.arange(len(row)) - offsets_of(value.seq_lengths)[row]] = value.values
    return out


def _lengths_of(sequence: str, inputs: tuple[NetworkInput, ...], values: Mapping[str, Ragged | F32]) -> Tensor:
    """int64[N] steps of a group; its members must agree."""
    found: Tensor | None = None
    for name, value in values.items():
        is_member = name.startswith(sequence + "__") or name == sequence
        is_member = is_member or any(e.name == name and e.sequence == sequence for e in inputs)
        if is_member and isinstance(value, Ragged) and value.seq_lengths is not None:
            if found is not None and not np.array_equal(found, value.seq_lengths):
                raise DataError(
                    "the features of the sequence have unequal numbers of steps",
                    code="unequal_steps",
                    where=f"sequence {sequence!r}",
                )
            found = value.seq_lengths
    assert found is not None
    return np.asarray(found, np.int64)


def pad_sequences(inputs: tuple[NetworkInput, ...], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the sequences of a group one step axis: the longest row of any of them."""
    longest: dict[str, int] = {}
    for entry in inputs:
        if entry.sequence is not None and entry.output is not None:
            longest[entry.sequence] = max(longest.get(entry.sequence, 0), tensors[entry.name].shape[1])
    for entry in inputs:
        if entry.sequence is not None and entry.output is not None:
            missing = longest[entry.sequence] - tensors[entry.name].shape[1]
            if missing:
                tensors[entry.name] = np.pad(tensors[entry.name], ((0, 0), (0, missing), (0, 0)))
    return tensors
