"""The cut pipeline: item, request and candidate stage, each features → tables → network part.

Axes: N candidates of a request, M items of a batch.

The stages know nothing of where items are kept: the item stage returns payloads, the candidate stage takes what was
gathered of them. `Scratch` holds what a running stage writes; give each thread its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from recserve import memory
from recserve.dtypes import F32, I64
from recserve.errors import CellError, InvariantError
from recserve.features.feature_set import FeatureSet
from recserve.features.graph import PlanGraph
from recserve.features.ingest import ColumnBatch, ingest_row
from recserve.features.stage import Stage, Workspace, prepare_kernels
from recserve.network.blocks import BlockRunner
from recserve.network.engines import EngineChoice, open_engine
from recserve.network.session import Session
from recserve.network.split import Part, SplitNetwork
from recserve.rates import Rate
from recserve.rows.kernels import load_rows, store_rows
from recserve.staging.cuts import Cuts
from recserve.staging.draw import column_sides, draw_columns
from recserve.staging.tensors import Buffers, Tensor, TensorMaker
from recserve.tables.table import Table


@dataclass
class Scratch:
    """Memory of one running stage: descriptors, arena and tensor buffers. Not for two threads at once."""

    workspace: Workspace
    buffers: Buffers = field(default_factory=Buffers)


@dataclass(frozen=True)
class ItemPayloads:
    """What the item stage made of M items.

    Attributes:
        fixed: float32[M, width of all fixed columns], in the order of `Cuts.fixed`.
        ragged: int64[R, FIELDS], descriptors of the values in the order of `Cuts.ragged`; they point into the scratch
            and are valid until its next run.
    """

    fixed: F32
    ragged: I64


@dataclass(frozen=True)
class RequestState:
    """What the request stage made; valid until the next run on its scratch.

    Attributes:
        tensors: inputs of the candidate part, [1, ...] each.
        values: int64[values, FIELDS], the value table with the shared values.
    """

    tensors: dict[str, Tensor]
    values: I64


@dataclass(frozen=True)
class CandidateBatch:
    """N candidates with what was gathered of their items.

    Attributes:
        rows: N, at least 1.
        columns: candidate-side columns, N rows.
        gathered: {fixed column: float32[N, ...]} of their payloads; rows behind the first N do not count.
        ragged: int64[R, FIELDS], descriptors of their ragged values, N rows each.
    """

    rows: int
    columns: ColumnBatch
    gathered: Mapping[str, Tensor]
    ragged: I64
    keep: Any = None
    """Whatever the descriptors point into."""


class _RateStage:
    """Features, lookups and network part of one rate."""

    def __init__(self, pipeline: Pipeline, rate: Rate, part: Part | None) -> None:
        cuts = pipeline.cuts
        self.features: Final = Stage(pipeline.graph, cuts.ops[rate])
        steps = pipeline.choice.step_buckets if rate is Rate.REQUEST else ()
        self.tensors: Final = TensorMaker(cuts.inputs_of(rate), pipeline.tables, self.features.slot_of, steps)
        self.session: Final = Session(part.model, pipeline.threads) if part is not None else None
        self._part_inputs: Final = tuple(part.inputs) if part is not None else ()

    def read_columns(self, columns: Any, rows: int) -> ColumnBatch:
        """Columns of `rows` rows or 1, as the stage reads them; what lacks is missing.

        Raises:
            DataError: a column is of another length, or holds what a cell cannot hold; names it.
        """
        return ColumnBatch.from_columns(columns, self.features.columns, allows_absent=True, rows=rows)

    def run(self, scratch: Scratch, columns: ColumnBatch, rows: int) -> dict[str, Tensor]:
        """Input tensors of the network, and outputs of the part, all with `rows` rows."""
        self.features.run(scratch.workspace, columns, rows)
        tensors = self.tensors.make(scratch.workspace.values, rows, scratch.buffers)
        if self.session is not None:
            tensors |= self.session.run({name: tensors[name] for name in self._part_inputs})
        return tensors


class Pipeline:
    """The staged form of a model. Immutable; any number of threads may run it, each with its own scratch.

    Attributes:
        graph: the feature plan.
        cuts: what runs where.
        outputs: names of the network's outputs.
        choice: the engine of the candidate part. The other parts run in ONNX Runtime: an item's once a version, a
            request's once a request, on shapes of their own.
    """

    def __init__(
        self,
        features: FeatureSet,
        tables: Mapping[str, Table],
        split: SplitNetwork,
        cuts: Cuts,
        *,
        threads: int = 1,
        choice: EngineChoice | None = None,
    ) -> None:
        """Compile the stages.

        Args:
            features: whose plan `cuts` was decided on.
            tables: by name.
            split: the network by rate.
            cuts: see `decide_cuts`.
            threads: of each network part.
            choice: how the candidate part runs; by default in ONNX Runtime, all candidates in one call.

        Raises:
            ConfigError: a table is missing or has another shape than its features, or the engine cannot run the part.
        """
        self.feature_set: Final = features
        self.tables: Final = tables
        self.split: Final = split
        self.cuts: Final = cuts
        self.threads: Final = threads
        self.choice: Final = choice or EngineChoice()
        self.graph: Final[PlanGraph] = features.graph
        prepare_kernels(self.graph)
        self.item: Final = ItemStage(self)
        self.request: Final = RequestStage(self)
        self.candidate: Final = CandidateStage(self)
        self.outputs: Final = tuple(split.candidate.outputs)

    def columns_of(self, side: str) -> tuple[str, ...]:
        """Raw columns of a side that the stages read."""
        stages = (self.item.features, self.request.features, self.candidate.features)
        return tuple(dict.fromkeys(use.name for stage in stages for use in stage.columns if use.side == side))

    def warm(self) -> None:
        """Run every stage once, so that no request meets anything for the first time."""
        rng = np.random.default_rng(0)
        run_staged(self, draw_columns(self.graph, {"user": 1, "context": 1, "item": 2, "candidate": 2}, rng))
        self.candidate.runner.warm()

    def scratch(self) -> Scratch:
        """Fresh memory for a stage."""
        return Scratch(Workspace(len(self.graph.ops)))


class ItemStage(_RateStage):
    """From item columns to payloads."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline, Rate.ITEM, pipeline.split.item)
        self._columns: Final = pipeline.cuts.fixed
        self._ragged: I64 = np.array([column.value for column in pipeline.cuts.ragged], np.int64)

    def split_fixed(self, fixed: F32) -> dict[str, F32]:
        """{fixed column: float32[M, ...]} of payload rows, as a store gives them back: rounded to their precisions."""
        ends = np.cumsum([column.width for column in self._columns]).tolist()
        found = {}
        for column, end in zip(self._columns, ends, strict=True):
            rows = np.ascontiguousarray(fixed[:, end - column.width : end])
            rows = load_rows(store_rows(rows, column.precision), column.precision, column.width)
            found[column.name] = rows.reshape(len(fixed), *column.shape)
        return found

    def _column_at(self, position: int) -> str:
        ends = np.cumsum([column.width for column in self._columns])
        return self._columns[int(np.searchsorted(ends, position, side="right"))].name

    def make_payloads(self, scratch: Scratch, columns: ColumnBatch, rows: int) -> ItemPayloads:
        """Payloads of M = `rows` items.

        Raises:
            DataError: a cell cannot be read, or is a number that makes a payload infinite; names feature or tensor, and
                the row. No payload is made then.
        """
        tensors = self.run(scratch, columns, rows)
        fixed = np.empty((rows, sum(column.width for column in self._columns)), np.float32)
        start = 0
        for column in self._columns:
            fixed[:, start : start + column.width] = tensors[column.name].reshape(rows, column.width)
            start += column.width
        if not np.isfinite(fixed).all():
            row, at = (int(n) for n in np.argwhere(~np.isfinite(fixed))[0])
            raise CellError(
                f"makes the tensor {self._column_at(at)!r} infinite or NaN",
                row=row,
                code="not_finite",
                hint="Its columns hold an infinite number, or one too large for float32",
            )
        return ItemPayloads(fixed, scratch.workspace.values[self._ragged])


class RequestStage(_RateStage):
    """From the columns of the user and the context to what all candidates share."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline, Rate.REQUEST, pipeline.split.request)
        self._names: Final = tuple(use.name for use in self.features.columns)
        self._crossing: Final = tuple(name for name, rate in pipeline.split.crossings.items() if rate is Rate.REQUEST)

    def read_row(self, row: Mapping[str, Any]) -> ColumnBatch:
        """The columns of one request; what lacks is missing.

        Raises:
            DataError: a cell holds what a cell cannot hold; names the column.
        """
        return ingest_row(row, self._names)

    def make_state(self, scratch: Scratch, columns: ColumnBatch) -> RequestState:
        """What one request's candidates share.

        Raises:
            DataError: a cell cannot be read, or sequences of a group have unequal lengths.
        """
        tensors = self.run(scratch, columns, 1)
        return RequestState({name: tensors[name] for name in self._crossing}, scratch.workspace.values)


class CandidateStage:
    """From what is shared and what was gathered to the outputs of each candidate."""

    def __init__(self, pipeline: Pipeline) -> None:
        cuts = pipeline.cuts
        self.features: Final = Stage(pipeline.graph, cuts.ops[Rate.CANDIDATE])
        steps = pipeline.choice.step_buckets
        self.tensors: Final = TensorMaker(cuts.inputs_of(Rate.CANDIDATE), pipeline.tables, self.features.slot_of, steps)
        part = pipeline.split.candidate
        engine = open_engine(part.model, pipeline.choice, pipeline.threads)
        self.runner: Final = BlockRunner(part, engine, pipeline.choice)
        self._outputs: Final = tuple(pipeline.split.candidate.outputs)
        self._shared: I64 = np.array(cuts.shared, np.int64)
        row_values = [value for value in cuts.shared if pipeline.graph.values[value].domain is None]
        self._shared_rows: I64 = np.array(row_values, np.int64)
        self._ragged: I64 = np.array([column.value for column in cuts.ragged], np.int64)
        self._has_features: Final = bool(cuts.ops[Rate.CANDIDATE])

    def read_columns(self, columns: Any, rows: int) -> ColumnBatch:
        """Candidate-side columns of `rows` rows or 1; what lacks is missing. Raises as the other stages do."""
        return ColumnBatch.from_columns(columns, self.features.columns, allows_absent=True, rows=rows)

    def score(
        self,
        scratch: Scratch,
        state: RequestState,
        batch: CandidateBatch,
        timings: dict[str, float] | None = None,
    ) -> dict[str, F32]:
        """{output: float32[N] or float32[N, k]}.

        Args:
            scratch: its own, not that of `state`.
            state: of the request.
            batch: the candidates.
            timings: receives µs by step, added up.
        """
        rows = batch.rows
        start = time.perf_counter_ns()
        tensors: dict[str, Tensor] = {}
        if self._has_features:
            values = scratch.workspace.values
            values[self._shared] = state.values[self._shared]
            values[self._shared_rows, memory.STRIDE] = 0
            values[self._shared_rows, memory.ROWS] = rows
            if len(self._ragged):
                values[self._ragged] = batch.ragged
            self.features.run(scratch.workspace, batch.columns, rows)
        middle = time.perf_counter_ns()
        tensors = self.tensors.make(scratch.workspace.values, rows, scratch.buffers)
        tensors.update(state.tensors)
        tensors.update(batch.gathered)
        end = time.perf_counter_ns()
        answers = self.runner.run(tensors, rows)
        if timings is not None:
            steps = {"features": middle - start, "lookups": end - middle, "network": time.perf_counter_ns() - end}
            for step, spent_ns in steps.items():
                timings[f"candidate_{step}"] = timings.get(f"candidate_{step}", 0.0) + spent_ns / 1e3
        return {name: _as_column(name, answers[name], rows) for name in self._outputs}


def _as_column(name: str, answer: Tensor, rows: int) -> F32:
    """[N] of [N] or [N, 1]; [N, k] stays."""
    if len(answer) != rows:
        raise InvariantError(f"output {name!r} has {len(answer)} rows for {rows} candidates")
    if answer.ndim == 2 and answer.shape[1] == 1:
        answer = answer[:, 0]
    return np.asarray(answer, np.float32)


def run_staged(pipeline: Pipeline, columns: Mapping[str, list[Any]]) -> dict[str, F32]:
    """Outputs of one request over all rows of its item and candidate columns, each stage once; no item store."""
    sides = column_sides(pipeline.graph)
    rows = max((len(columns[c]) for c, side in sides.items() if side in ("item", "candidate")), default=1)
    item_scratch, request_scratch, scratch = (pipeline.scratch() for _ in range(3))
    payloads = pipeline.item.make_payloads(item_scratch, pipeline.item.read_columns(columns, rows), rows)
    row = {column: columns[column][0] for column, side in sides.items() if side in ("user", "context")}
    state = pipeline.request.make_state(request_scratch, pipeline.request.read_row(row))
    batch = CandidateBatch(
        rows, pipeline.candidate.read_columns(columns, rows), pipeline.item.split_fixed(payloads.fixed), payloads.ragged
    )
    return pipeline.candidate.score(scratch, state, batch)
