"""One candidate of a request as it is served, as text: for people who ask why it got its score.

It runs the stages of a ranker on one candidate and reads what they left behind, so it shows what was computed from
what the store holds, not what should have been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recserve.candidates import ItemId
from recserve.dtypes import F32
from recserve.errors import RequestError
from recserve.features.ingest import ColumnBatch
from recserve.features.stage import Stage
from recserve.features.trace import FeatureTrace, read_value, show, trace_output
from recserve.ranker import Ranker, VersionTuple
from recserve.rates import Rate
from recserve.sequence_history import show_cell
from recserve.staging.pipeline import CandidateBatch, Pipeline, Scratch
from recserve.store.view import StoreView

Cells = Mapping[str, Any]


@dataclass(frozen=True)
class CandidateTrace:
    """One candidate of a request.

    Attributes:
        item_id: of the candidate.
        features: those that the network reads and that were made for this request, in the network's order. Those of
            the item side are among them only where the item's columns were given.
        stored: features of the item side that only live in the payload, baked into its tensors.
        payload: {tensor: float32[...]} that the store holds for the item, or that its columns gave.
        outputs: {goal: value or values} of the network.
        score: the final score.
        version: what answered.
        is_stale: the payload in the store differs from what the given item columns make; None where it was not told.
    """

    item_id: ItemId
    features: tuple[FeatureTrace, ...]
    stored: tuple[str, ...]
    payload: dict[str, F32]
    outputs: dict[str, Any]
    score: float
    version: VersionTuple
    is_stale: bool | None = None

    def lines(self) -> list[str]:
        """For people."""
        found = [f"item {self.item_id!r} scored {self.score:.7g} by {self.version.model} {self.version.version}"]
        found += [f"  {goal} = {show(value)}" for goal, value in self.outputs.items()]
        for feature in self.features:
            found += ["", *feature.lines()]
        if self.payload:
            found += ["", "payload" + (", older than the given item columns" if self.is_stale else "")]
            for name, tensor in self.payload.items():
                found.append(f"  {name} {list(tensor.shape)} = {show(tensor.ravel().tolist())}")
        if self.stored:
            found += ["", f"in the payload only: {', '.join(self.stored)}"]
        return found


def explain_candidate(
    ranker: Ranker,
    user: Cells,
    context: Cells | None = None,
    item_id: ItemId = "",
    *,
    candidate: Cells | None = None,
    item: Cells | None = None,
) -> CandidateTrace:
    """Trace one candidate.

    Args:
        ranker: that serves it.
        user: columns of the user.
        context: columns of the request.
        item_id: of the candidate.
        candidate: candidate-side columns, such as its recall score.
        item: the item's columns; they go before what the store has, and let item-side features be shown too.

    Raises:
        RequestError: the store has no such item, and no columns are given.
        DataError: a cell cannot be read; names the feature and the value.
    """
    pipeline = ranker.pipeline
    row = ranker.read_cells(user, context)
    given = {column: (candidate or {}).get(column) for column in pipeline.columns_of("candidate")}
    scratches = {rate: pipeline.scratch() for rate in (Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE)}
    for scratch in scratches.values():
        scratch.workspace.keeps_all = True
    ranker.settle([item_id], row)
    with ranker.store.read() as view:
        ranker.history.fill(view, row)
        cells = {**{name: show_cell(cell) for name, cell in row.items()}, **given, **(item or {})}
        state = pipeline.request.make_state(scratches[Rate.REQUEST], pipeline.request.read_row(row))
        version = VersionTuple(ranker.name, ranker.version, 0, view.item_epoch)
        columns = pipeline.candidate.read_columns({name: [cell] for name, cell in given.items()}, 1)
        stored = _stored_batch(pipeline, view, item_id, columns)
        made = None if item is None else _made_batch(pipeline, scratches[Rate.ITEM], item, columns)
        batch = made or stored
        if batch is None:
            raise RequestError(
                f"there is no item {item_id!r}", code="unknown_item", hint="Give its columns, or an id of the store"
            )
        outputs = pipeline.candidate.score(scratches[Rate.CANDIDATE], state, batch)
        score = float(ranker.bundle.score.evaluate(outputs)[0])
        features = _trace_features(pipeline, scratches, cells, has_item=item is not None)
    return CandidateTrace(
        item_id,
        features,
        tuple(e.name for e in pipeline.cuts.inputs_of(Rate.ITEM) if e.output is not None and item is None),
        {name: np.array(tensor[0], np.float32) for name, tensor in batch.gathered.items()},
        {name: output[0].tolist() for name, output in outputs.items()},
        score,
        version,
        None if made is None or stored is None else not _are_equal(pipeline, made, stored),
    )


def _stored_batch(pipeline: Pipeline, view: StoreView, item_id: ItemId, columns: ColumnBatch) -> CandidateBatch | None:
    """One candidate with what the store has of it, or None."""
    slots = view.find([item_id])
    if slots[0] < 0:
        return None
    pairs = zip(pipeline.cuts.fixed, view.fixed(slots).values(), strict=True)
    gathered = {column.name: rows.reshape(1, *column.shape) for column, rows in pairs}
    ranges = np.empty((2, len(pipeline.cuts.ragged), 1), np.int64)
    ragged = view.gather_ragged(slots, ranges[0], ranges[1])
    return CandidateBatch(1, columns, gathered, ragged, keep=ranges)


def _made_batch(pipeline: Pipeline, scratch: Scratch, item: Cells, columns: ColumnBatch) -> CandidateBatch:
    """One candidate with what its columns make."""
    cells = {name: [item.get(name)] for name in pipeline.columns_of("item")}
    payloads = pipeline.item.make_payloads(scratch, pipeline.item.read_columns(cells, 1), 1)
    return CandidateBatch(1, columns, pipeline.item.split_fixed(payloads.fixed), payloads.ragged)


def _are_equal(pipeline: Pipeline, one: CandidateBatch, other: CandidateBatch) -> bool:
    """Whether two payloads hold the same."""
    if any(not np.array_equal(tensor, other.gathered[name]) for name, tensor in one.gathered.items()):
        return False
    return _read_ragged(pipeline, one) == _read_ragged(pipeline, other)


def _read_ragged(pipeline: Pipeline, batch: CandidateBatch) -> list[tuple[Any, Any]]:
    """(elements, weights) of each ragged part."""
    workspace = pipeline.scratch().workspace
    found = []
    for column, value in zip(pipeline.cuts.ragged, batch.ragged, strict=True):
        workspace.values[column.value] = value
        trace = read_value(pipeline.graph, column.value, workspace)
        found.append((trace.elements, trace.weights))
    return found


def _trace_features(
    pipeline: Pipeline, scratches: Mapping[Rate, Scratch], cells: Cells, *, has_item: bool
) -> tuple[FeatureTrace, ...]:
    """The features that the network reads, from the stages that made them."""
    stages: dict[Rate, Stage] = {
        Rate.REQUEST: pipeline.request.features,
        Rate.CANDIDATE: pipeline.candidate.features,
    }
    if has_item:
        stages[Rate.ITEM] = pipeline.item.features
    found = []
    for entry in pipeline.cuts.inputs:
        if entry.output is not None and entry.rate in stages:
            stage = stages[entry.rate]
            held = {*stage.op_numbers, *stage.imports}
            found.append(
                trace_output(
                    pipeline.graph,
                    entry.output,
                    scratches[entry.rate].workspace,
                    cells,
                    slot_of=stage.slot_of,
                    has=held.__contains__,
                )
            )
    return tuple(found)
