"""The fast engine: a plan's stages, one for each rate, and all of it for offline use.

Axes: N rows, S steps over all rows, V values over all rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recserve import memory
from recserve.columns import Ragged
from recserve.dtypes import F32, I64
from recserve.errors import CellError, ConfigError, InvariantError
from recserve.features import ops
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.ingest import ColumnBatch, ingest_row
from recserve.features.kernels.driver import copy_out
from recserve.features.op import Kind
from recserve.features.outputs import OutputKind
from recserve.features.stage import Stage, Workspace, prepare_kernels
from recserve.rates import Rate

__all__ = ["CompiledPlan", "Stage", "Workspace"]

CHUNK_ROWS: Final = 4096
"""Rows of an offline batch that are run at once: enough to hide the cost of a call, few enough to stay in the cache."""

INGEST_ROWS: Final = 16 * CHUNK_ROWS
"""Rows of an Arrow table that are brought into canonical form at once."""

Output = npt.NDArray[np.float32] | Ragged


class CompiledPlan:
    """A plan ready to run. Immutable; threads may share it.

    Stages are built when first asked for. `warm` builds all of them and runs each once, so that no request waits for a
    compilation.

    Attributes:
        graph: the ops.
        profile: semantics profile; it has already shaped the ops.
    """

    def __init__(self, graph: PlanGraph, profile: str = "pyfg") -> None:
        self.graph = graph
        self.profile = profile
        self._local = threading.local()

    @cached_property
    def item(self) -> Stage:
        """Ops that depend on item columns only. Reads no other stage."""
        return Stage(self.graph, self.graph.of_rate(Rate.ITEM))

    @cached_property
    def request(self) -> Stage:
        """Ops that depend on user and context columns only, and constant features. Reads no other stage."""
        constant = [o.value for o in self.graph.outputs if self.graph.values[o.value].rate is Rate.CONSTANT]
        return Stage(self.graph, [*self.graph.of_rate(Rate.REQUEST), *constant])

    @cached_property
    def candidate(self) -> Stage:
        """Ops that depend on both, or on candidate columns. Imports values of the item and request stages."""
        numbers = self.graph.of_rate(Rate.CANDIDATE)
        for number in numbers:
            op = self.graph.ops[number]
            if isinstance(op, (ops.CallForNumbers, ops.CallForTokens)):
                problem = f"function {op.function.name!r} would run as Python for each candidate"
                place = f"feature {self.graph.values[number].feature!r}"
                raise ConfigError(problem, where=place, hint="Register it with compiled=True, or read one side only")
        return Stage(self.graph, numbers)

    @cached_property
    def flat(self) -> Stage:
        """All ops, and the outputs as they leave the plan."""
        exports = tuple(dict.fromkeys(output.value for output in self.graph.outputs))
        return Stage(self.graph, range(len(self.graph.ops)), exports=exports)

    def warm(self) -> None:
        """Build all stages, and run those that stand alone on a row of missing cells."""
        prepare_kernels(self.graph)
        for stage in (self.item, self.request, self.candidate, self.flat):
            if not stage.imports:
                names = [use.name for use in stage.columns]
                stage.run(Workspace(stage.slots), ingest_row({}, names), 1)

    def run(self, columns: Any, types: Mapping[str, str] | None = None, training: bool = False) -> dict[str, Output]:
        """Extract all features of a batch; see `plan.Plan.run`.

        Args:
            columns: a mapping of name to list, NumPy or Arrow array, or an Arrow Table or RecordBatch; N rows or 1.
            types: type names that cells are to have.
            training: masks are applied.

        Raises:
            DataError: a column or a cell is wrong.
        """
        workspace = self._workspace()
        parts: list[list[Any]] = []
        whole: dict[str, tuple[GraphOutput, F32]] | None = None
        for start, rows, batch in self._batches(columns, types):
            if whole is None:
                whole = self._whole_outputs(rows)
            for first in range(0, max(batch.rows, 1), CHUNK_ROWS):
                count = min(CHUNK_ROWS, batch.rows - first)
                chunk = batch if count == batch.rows else batch.slice(first, count)
                try:
                    self.flat.run(workspace, chunk, count, training)
                except CellError as error:
                    raise error.shift(start + first) from None
                for output, target in whole.values():
                    read_dense_into(self.flat, workspace, output, target[start + first : start + first + count])
                parts.append([read_output(self.flat, workspace, output) for output in self._growing_outputs(whole)])
        assert whole is not None
        joined = zip(self._growing_outputs(whole), zip(*parts, strict=True), strict=True)
        made = {output.spec.name: join_parts(found) for output, found in joined}
        made |= {name: target for name, (_, target) in whole.items()}
        return {output.spec.name: made[output.spec.name] for output in self.graph.outputs}

    def _batches(self, columns: Any, types: Mapping[str, str] | None) -> Iterator[tuple[int, int, ColumnBatch]]:
        """(first row, N, columns in canonical form) of stretches of rows; of all at once but for a long Arrow table.

        What canonical form has to convert, such as offsets, then stays in the cache until it is read.
        """
        rows = columns.num_rows if isinstance(columns, pa.Table | pa.RecordBatch) else 0
        if rows > INGEST_ROWS:
            for first in range(0, rows, INGEST_ROWS):
                part = columns.slice(first, INGEST_ROWS)
                yield first, rows, ColumnBatch.from_columns(part, self.flat.columns, types)
            return
        batch = ColumnBatch.from_columns(columns, self.flat.columns, types)
        yield 0, batch.rows, batch

    def _whole_outputs(self, rows: int) -> dict[str, tuple[GraphOutput, F32]]:
        """Arrays for the outputs whose size is known before: chunks write to their places, and nothing is joined."""
        if rows <= CHUNK_ROWS:
            return {}
        return {
            output.spec.name: (output, np.empty((rows, output.spec.dim), np.float32))
            for output in self.graph.outputs
            if output.spec.kind is OutputKind.DENSE and self.graph.values[output.value].kind is Kind.DENSE
        }

    def _growing_outputs(self, whole: Mapping[str, Any]) -> list[GraphOutput]:
        return [output for output in self.graph.outputs if output.spec.name not in whole]

    def _workspace(self) -> Workspace:
        """This thread's scratch for offline runs."""
        if not hasattr(self._local, "workspace"):
            self._local.workspace = Workspace(self.flat.slots, 1 << 22)
        workspace: Workspace = self._local.workspace
        return workspace


def read_dense_into(stage: Stage, workspace: Workspace, output: GraphOutput, target: F32) -> None:
    """Write a dense feature that `stage` exports, after a run, to float32[rows, dim] of consecutive rows."""
    address = int(workspace.values[stage.exports[output.value], memory.VALUES])
    copy_out(address, target.reshape(-1).view(np.uint8))


def read_output(stage: Stage, workspace: Workspace, output: GraphOutput) -> Output:
    """A feature that `stage` exports, after a run."""
    slot, spec = stage.exports[output.value], output.spec
    kind = stage.graph.values[output.value].kind
    row = workspace.values[slot].tolist()
    count = row[memory.COUNT]
    if kind is Kind.DENSE:
        dense = workspace.read(row[memory.VALUES], count, np.float32).reshape(-1, spec.dim)
        if spec.kind is OutputKind.DENSE:
            return dense
        steps = _step_counts(stage, workspace, output)
        return Ragged(dense, steps, seq_lengths=steps)
    offsets = workspace.offsets(slot)
    values = _read_elements(workspace, row, kind)
    weights = workspace.read(row[memory.WEIGHTS], count, np.float32) if row[memory.WEIGHTS] else None
    if output.steps is None:
        return Ragged(values, np.diff(offsets), weights)
    steps = _step_counts(stage, workspace, output)
    bounds = offsets[np.concatenate(([0], np.cumsum(steps)))]
    return Ragged(values, np.diff(bounds), weights, np.diff(offsets), steps)


def _step_counts(stage: Stage, workspace: Workspace, output: GraphOutput) -> I64:
    if output.steps is None:
        raise InvariantError(f"output {output.spec.name!r} is a sequence without steps")
    return np.diff(workspace.offsets(stage.slot_of(output.steps)))


def _read_elements(workspace: Workspace, row: Sequence[int], kind: Kind) -> npt.NDArray[Any]:
    """The elements of an exported value: int64[V] ids, or object[V] texts."""
    count = row[memory.COUNT]
    if kind is not Kind.TOKENS:
        return workspace.read(row[memory.VALUES], count, np.int64)
    bounds = workspace.read(row[memory.TOKEN_OFFSETS], count + 1, np.int64).tolist()
    text = workspace.read(row[memory.VALUES], bounds[-1], np.uint8).tobytes()
    tokens = [text[a:b].decode(errors="surrogateescape") for a, b in pairwise(bounds)]
    result = np.empty(count, object)
    result[:] = tokens
    return result


def join_parts(parts: Sequence[Any]) -> Output:
    """One output of all chunks."""
    if len(parts) == 1:
        single: Output = parts[0]
        return single
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    names = ("values", "lengths", "weights", "key_lengths", "seq_lengths")
    columns = {name: [getattr(part, name) for part in parts] for name in names}
    joined: dict[str, Any] = {k: None if found[0] is None else np.concatenate(found) for k, found in columns.items()}
    return Ragged(**joined)
