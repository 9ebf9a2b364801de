"""The serving path of features without a network: item payloads, request stage, gather, candidate stage, lookups.

Axes: N candidates of a request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recserve import FeatureSet, memory
from recserve.features.ingest import ColumnBatch, ingest_row
from recserve.features.outputs import OutputSpec
from recserve.features.stage import Stage, Workspace
from recserve.network.model import TensorSpec
from recserve.network.split import Part, SplitNetwork, SplitReport
from recserve.rates import Rate
from recserve.staging.cuts import LENGTHS, NetworkInput, decide_cuts
from recserve.staging.pipeline import Scratch
from recserve.staging.tensors import Buffers, Tensor, TensorMaker
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout
from recserve.tables.table import Table

Clock = dict[str, float]


def make_tables(outputs: Sequence[OutputSpec], rng: np.random.Generator) -> dict[str, Table]:
    """A table for each output that has one; small whole numbers, so that sums are exact."""
    tables = {}
    for output in outputs:
        if output.table is not None and output.table not in tables:
            rows = rng.integers(-64, 64, size=(output.rows or 0, output.dim)).astype(np.float32)
            tables[output.table] = Table(output.table, rows)
    return tables


class FeatureServer:
    """Features and lookups of requests, all network inputs as their own tensors, as `Ranker` runs them."""

    def __init__(self, features: FeatureSet, tables: Mapping[str, Table]) -> None:
        graph = features.graph
        self.inputs: Final = _inputs_of(features)
        cuts = decide_cuts(graph, self.inputs, _no_network(self.inputs))
        self.cuts: Final = cuts
        self.item: Final = Stage(graph, cuts.ops[Rate.ITEM])
        self.request: Final = Stage(graph, cuts.ops[Rate.REQUEST])
        self.candidate: Final = Stage(graph, cuts.ops[Rate.CANDIDATE])
        self.makers: Final = {
            rate: TensorMaker(cuts.inputs_of(rate), tables, stage.slot_of)
            for rate, stage in (
                (Rate.ITEM, self.item),
                (Rate.REQUEST, self.request),
                (Rate.CANDIDATE, self.candidate),
            )
        }
        self._names: Final = tuple(use.name for use in self.request.columns)
        self._shared = np.array(cuts.shared, np.int64)
        self._ragged = np.array([column.value for column in cuts.ragged], np.int64)
        layout = PayloadLayout(
            tuple((column.name, column.width) for column in cuts.fixed),
            tuple((column.name, column.kind) for column in cuts.ragged),
        )
        self.store: Final = ItemStore(layout, "int64", 1024)
        self._scratch = {rate: Scratch(Workspace(len(graph.ops))) for rate in self.makers}
        self._gathered = Buffers()

    def add_items(self, items: pa.Table) -> None:
        """Run the item stage and keep the payloads."""
        for batch in items.to_batches(4096):
            columns = ColumnBatch.from_columns(batch, self.item.columns, rows=len(batch))
            scratch = self._scratch[Rate.ITEM]
            self.item.run(scratch.workspace, columns, len(batch))
            tensors = self.makers[Rate.ITEM].make(scratch.workspace.values, len(batch), scratch.buffers)
            parts = [tensors[column.name].reshape(len(batch), column.width) for column in self.cuts.fixed]
            fixed = np.concatenate(parts, axis=1) if parts else np.empty((len(batch), 0), np.float32)
            self.store.upsert_rows(batch.column("item_id"), fixed, scratch.workspace.values[self._ragged])

    def run(self, user: Mapping[str, Any], candidates: Sequence[int], clock: Clock | None = None) -> dict[str, Tensor]:
        """All tensors: of the request [1, ...], of items and candidates [N, ...]; valid until the next call.

        Args:
            user: the decoded columns.
            candidates: N item ids.
            clock: receives CPU µs by step, added up.
        """
        marks = [time.thread_time_ns()] if clock is not None else None
        row = ingest_row(user, self._names)
        _mark(marks)
        request, candidate = self._scratch[Rate.REQUEST], self._scratch[Rate.CANDIDATE]
        self.request.run(request.workspace, row, 1)
        _mark(marks)
        tensors = dict(self.makers[Rate.REQUEST].make(request.workspace.values, 1, request.buffers))
        _mark(marks)
        rows = len(candidates)
        with self.store.read() as view:
            slots = view.find(candidates)
            arrays, described = self._gathered.take(tuple((rows, width) for _, width in self.store.layout.fixed))
            if arrays:
                view.gather_fixed(slots, np.ascontiguousarray(described[:, :2]))
            tensors.update(zip((column.name for column in self.cuts.fixed), arrays, strict=True))
            ranges = np.empty((2, len(self._ragged), rows), np.int64)
            ragged = view.gather_ragged(slots, ranges[0], ranges[1]) if ranges.size else None
            _mark(marks)
            self._run_candidates(candidate.workspace, request.workspace, ragged, rows)
            _mark(marks)
            tensors.update(self.makers[Rate.CANDIDATE].make(candidate.workspace.values, rows, candidate.buffers))
        _mark(marks)
        if clock is not None and marks is not None:
            for step, start, end in zip(STEPS, marks, marks[1:], strict=False):
                clock[step] = clock.get(step, 0.0) + (end - start) / 1e3
        return tensors

    def _run_candidates(self, workspace: Workspace, request: Workspace, ragged: Any, rows: int) -> None:
        values = workspace.values
        values[self._shared] = request.values[self._shared]
        values[self._shared, memory.STRIDE] = 0
        values[self._shared, memory.ROWS] = rows
        if ragged is not None:
            values[self._ragged] = ragged
        columns = ColumnBatch.from_columns({}, self.candidate.columns, allows_absent=True, rows=rows)
        self.candidate.run(workspace, columns, rows)


STEPS: Final = (
    "ingest",
    "request features",
    "request lookups",
    "gather",
    "candidate features",
    "candidate lookups",
)


def _mark(marks: list[int] | None) -> None:
    if marks is not None:
        marks.append(time.thread_time_ns())


def _inputs_of(features: FeatureSet) -> tuple[NetworkInput, ...]:
    """Each feature as an input of its own, and the lengths of each sequence."""
    found: list[NetworkInput] = []
    groups: set[str] = set()
    for output in features.graph.outputs:
        spec = output.spec
        rate = Rate.REQUEST if spec.rate is Rate.CONSTANT else spec.rate
        found.append(NetworkInput(spec.name, rate, output, spec.sequence, output.steps))
        if spec.sequence is not None and spec.sequence not in groups:
            groups.add(spec.sequence)
            found.append(NetworkInput(spec.sequence + LENGTHS, rate, None, spec.sequence, output.steps))
    return tuple(found)


def _no_network(inputs: Sequence[NetworkInput]) -> SplitNetwork:
    """A network that takes every input as it is."""
    specs = {
        entry.name: TensorSpec(entry.name, "float32", ("N", 1 if entry.output is None else entry.output.spec.dim))
        for entry in inputs
    }
    part = Part(Rate.CANDIDATE, b"", specs, {})
    return SplitNetwork(None, None, part, {e.name: e.rate for e in inputs}, SplitReport({}, {}, 0, 0, ()))
