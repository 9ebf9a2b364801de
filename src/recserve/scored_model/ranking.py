"""A scored model as a ranker: its program in stages, the items' part computed once an item.

What reads the item alone (its scorecard terms, its share of a linear sum, trees that test it alone) is computed when
the item changes and kept in the item store; what reads user and context alone, once a request; the rest for each
candidate. Values cross as the cells that the kernels take: numbers, truths, and codes of texts.

Axes: N candidates, C columns that an item's payload holds.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recserve import memory
from recserve.candidates import ITEM_ID, CandidateList, Candidates, ItemId, read_candidates, read_inline_items
from recserve.columns import Ragged
from recserve.dtypes import F32, F64, I64
from recserve.errors import RequestError
from recserve.ranker import RankResult, VersionTuple
from recserve.scored_model.kernels.payloads import copy_cells
from recserve.scored_model.model import ScoredModel
from recserve.scored_model.stored import SIDES, Side, StoredModel, goals_of, parse_score, rates_of, read_stored
from recserve.scoring.cells import FAILED, DType
from recserve.scoring.ingest import read_column
from recserve.scoring.pool import Codes
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout
from recserve.store.sources import ItemSource, count_items, read_item_batches
from recserve.store.view import StoreView

_PART: Final = "cells"


class ScoredRanker(ScoredModel):
    """A scored model with items. Any number of threads may rank while others change items.

    Args:
        stored: what its directory holds; its inputs have sides.
        id_kind: of the items, "string" or "int64".
        capacity: items to expect.
        name: of the model, where that is not the directory's.
    """

    def __init__(
        self, stored: StoredModel, id_kind: str = "string", capacity: int = 1024, name: str | None = None
    ) -> None:
        super().__init__(stored, name)
        sides = stored.manifest.sides or {}
        program = self._model.program
        self.columns: Final = {side: tuple(f for f, s in sides.items() if s == side) for side in SIDES}
        self.stages: Final = program.split(rates_of(sides, program), exact=False)
        self.score: Final = parse_score(stored.manifest.score, self._model.specs)
        item, candidate = self.stages.item, self.stages.candidate.compiled
        self._payload: Final[dict[str, DType]] = {} if item is None else dict(item.outputs)
        ragged = ((_PART, "ids"),) if self._payload else ()
        self.store: Final = ItemStore(PayloadLayout(ragged=ragged), id_kind, capacity)
        self._texts: Final = Codes(candidate.texts)
        self._writing = threading.Lock()
        self._goals = {
            spec.name: [candidate.leaving.index(self.stages.candidate.graph.outputs[part]) for part in spec.parts]
            for spec in goals_of(self._model.specs)
        }

    def warm(self) -> None:
        """Rank drawn candidates, so that no request meets a kernel for the first time."""
        super().warm()
        known: list[ItemId] = list(self.store.ids()[:2])
        every_form: list[Any] = [known or [0], ["no such item"], np.array([0])]
        for candidates in every_form:
            self.rank({}, {}, candidates)

    def describe(self) -> dict[str, Any]:
        """What the model reads and answers, as plain JSON."""
        return {
            **super().describe(),
            "score": self.score.text,
            "goals": list(self._goals),
            "columns": {side: list(columns) for side, columns in self.columns.items()},
            "items": len(self.store),
            "item_id": self.store.id_kind,
            "item_epoch": self.store.item_epoch,
            "bytes_per_item": {part: round(size, 1) for part, size in self.store.bytes_per_item().items()},
        }

    def rank(
        self,
        user: Mapping[str, Any],
        context: Mapping[str, Any] | None = None,
        candidates: Candidates = (),
        *,
        top_k: int | None = None,
        items: Mapping[ItemId, Mapping[str, Any]] | None = None,
    ) -> RankResult:
        """Score the candidates and return the best. A candidate whose row fails has the score NaN and comes last.

        Args:
            user: the model's user fields; others are ignored, absent ones are missing.
            context: its context fields.
            candidates: item ids, or columns of equal length with `item_id` and candidate fields.
            top_k: how many to return, at least 1; None returns all.
            items: fields of items that the store need not have, by id. They go before what the store has.

        Raises:
            RequestError: candidates or top_k are wrong.
            DataError: a cell is of no known type; names the field.
        """
        start = time.perf_counter_ns()
        listed = read_candidates(candidates, self.columns["candidate"])
        if top_k is not None and (not isinstance(top_k, int | np.integer) or isinstance(top_k, bool) or top_k < 1):
            raise RequestError(f"expected a positive integer, got {top_k!r}", code="bad_top_k", where="top_k")
        row = self._read_row(user, context)
        texts = Codes(self._texts)
        timings = {"decode": (time.perf_counter_ns() - start) / 1e3}
        start = time.perf_counter_ns()
        request = self._request_cells(row, texts)
        timings["request"] = (time.perf_counter_ns() - start) / 1e3
        start = time.perf_counter_ns()
        with self.store.read() as view:
            scored, payloads = self._gather(view, listed, {} if items is None else items, texts)
            epoch = view.item_epoch
        timings["gather"] = (time.perf_counter_ns() - start) / 1e3
        start = time.perf_counter_ns()
        outputs = self._score(request, payloads, listed.columns_at(scored), len(scored), texts)
        timings["candidate"] = (time.perf_counter_ns() - start) / 1e3
        scores = self.score.evaluate(outputs) if len(scored) else np.empty(0, np.float32)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return RankResult(
            item_ids=listed.pick(scored[order]),
            positions=scored[order],
            scores=scores[order],
            outputs={name: output[order] for name, output in outputs.items()},
            version=VersionTuple(self.name, self.version, 0, epoch),
            unknown_items=listed.leave_out(scored),
            missing_columns=[name for name in (*self.columns["user"], *self.columns["context"]) if name not in row],
            timings_us=timings,
        )

    def _read_row(self, user: Any, context: Any) -> dict[str, Any]:
        row: dict[str, Any] = {}
        given: tuple[tuple[Side, Any], ...] = (("user", user), ("context", {} if context is None else context))
        for side, value in given:
            if not isinstance(value, Mapping):
                raise RequestError(f"expected an object of columns, got {value!r:.80}", where=side)
            row.update((column, value[column]) for column in self.columns[side] if column in value)
        return row

    def _request_cells(self, row: Mapping[str, Any], texts: Codes) -> dict[str, float]:
        """Columns of the candidate stage that the request stage computes, as cells."""
        program = self.stages.request
        if program is None:
            return {}
        found, _ = program.score_row(row)
        return {name: _cell(value, texts) for name, value in found.items()}

    def _gather(
        self, view: StoreView, listed: CandidateList, items: Mapping[ItemId, Mapping[str, Any]], texts: Codes
    ) -> tuple[I64, F64]:
        """Positions int64[n] of the candidates that can be scored, rising, and their payloads float64[C, n]."""
        slots = view.find(listed.ids)
        is_known = slots >= 0
        inline = None
        if items != {}:
            inline = read_inline_items(items, listed, self.columns["item"])
            slots[inline.positions] = -1
            is_known[inline.positions] = True
        scored = np.flatnonzero(is_known)
        cells: F64 = np.empty((len(self._payload), len(scored)))
        if not self._payload:
            return scored, cells
        stored = np.flatnonzero(slots >= 0)
        if len(stored):
            starts, ends = np.empty((2, 1, len(stored)), np.int64)
            parts = view.gather_ragged(slots[stored], starts, ends)
            copy_cells(int(parts[0, memory.VALUES]), starts[0], np.searchsorted(scored, stored), cells)
        if inline is not None and len(inline.positions):
            columns = self._payloads_of(inline.columns, len(inline.positions), texts)
            cells[:, np.searchsorted(scored, inline.positions)] = columns
        return scored, cells

    def _score(
        self, request: Mapping[str, float], payloads: F64, columns: Mapping[str, Any], rows: int, texts: Codes
    ) -> dict[str, F32]:
        """Goal → float32[rows] or [rows, size]; NaN in the rows that fail."""
        places = {name: place for place, name in enumerate(self._payload)}
        compiled = self.stages.candidate.compiled
        arrays: list[F64] = []
        for column, dtype, tells_unparsed in compiled.sources:
            if column in request:
                arrays.append(np.full(rows, request[column]))
            elif column in places:
                arrays.append(payloads[places[column]])
            else:
                cells = columns.get(column)
                absent = cells is None or (len(cells) == 1 and rows != 1)
                if isinstance(cells, np.ndarray) and cells.ndim == 2:
                    cells = cells.tolist()  # no column of these programs: it is refused as the lists would be
                known = read_column(column, [None] * rows if absent else cells, dtype, texts)
                arrays.append(known[tells_unparsed])
        data, state, _, _ = compiled.run_encoded(arrays, rows, texts)
        is_failed = (state == FAILED).any(axis=0)
        if is_failed.any():
            data[:, is_failed] = np.nan
        chosen = {name: data[parts].astype(np.float32) for name, parts in self._goals.items()}
        return {
            spec.name: chosen[spec.name][0] if spec.kind == "scalar" else np.ascontiguousarray(chosen[spec.name].T)
            for spec in goals_of(self._model.specs)
        }

    def _payloads_of(self, columns: Mapping[str, Any], rows: int, texts: Codes) -> F64:
        """float64[C, rows], what the item stage computes of item columns."""
        assert self.stages.item is not None
        found = self.stages.item.run(columns, rows=rows).outputs
        cells: F64 = np.empty((len(self._payload), rows))
        for place, (name, dtype) in enumerate(self._payload.items()):
            if dtype == "number":
                cells[place] = found[name]
            else:
                values = found[name].tolist()
                known = {value: _cell(value, texts) for value in set(values)}
                cells[place] = np.fromiter(map(known.__getitem__, values), np.float64, rows)
        return cells

    def upsert_items(self, items: Any) -> int:
        """Insert or replace items; they are visible all at once. Of an id that occurs twice, the last counts.

        Args:
            items: Arrow table or record batch, or rows, with `item_id` and the model's item fields.

        Returns:
            number of rows.

        Raises:
            DataError: an id or a cell cannot be read; nothing changes then.
        """
        batches = list(read_item_batches(items, ITEM_ID))
        if not batches:
            return 0
        table = pa.Table.from_batches(batches)
        rows = len(table)
        columns = {name: _column_of(table, name) for name in self.columns["item"] if name in table.column_names}
        with self._writing:
            parts = None
            if self._payload:
                cells = np.ascontiguousarray(self._payloads_of(columns, rows, self._texts).T)
                lengths = np.full(rows, len(self._payload), np.int64)
                parts = {_PART: Ragged(cells.view(np.int64).ravel(), lengths)}
            ids = table.column(ITEM_ID).combine_chunks()
            self.store.upsert_rows(ids, ragged=parts)
        return rows

    def delete_items(self, ids: Any) -> int:
        """Delete items, all at once; unknown ids are ignored. Returns how many were deleted."""
        return self.store.delete(ids)


def open_scored_model(
    directory: str | Path, *, items: ItemSource | None = None, name: str | None = None
) -> ScoredModel:
    """Open and warm the directory of a version: a `ScoredRanker` where the model's inputs have sides.

    Args:
        directory: of the version.
        items: Parquet or NDJSON file, Arrow table or rows, with `item_id` (strings or integers). A model without sides
            has no use for them.
        name: of the model, where that is not the directory's.

    Raises:
        BundleError: the directory is damaged.
        DataError: the items cannot be read.
    """
    stored = read_stored(directory)
    model: ScoredModel
    if stored.manifest.sides is None:
        model = ScoredModel(stored, name)
    else:
        batches = iter(()) if items is None else read_item_batches(items, ITEM_ID)
        first = next(batches, None)
        is_int = first is not None and str(first.schema.field(ITEM_ID).type).startswith(("int", "uint"))
        total = None if items is None else count_items(items)
        model = ScoredRanker(stored, "int64" if is_int else "string", total or 1024, name)
        for batch in itertools.chain([] if first is None else [first], batches):
            model.upsert_items(batch)
    model.warm()
    return model


def _cell(value: Any, texts: Codes) -> float:
    """A value as the kernels take it."""
    if value is None:
        return float("nan")
    return float(texts.code(value)) if isinstance(value, str) else float(value)


def _column_of(table: pa.Table, name: str) -> Sequence[Any] | np.ndarray[Any, Any]:
    """Cells of an Arrow column: an array where it holds floats, else Python values with None for null."""
    column = table.column(name)
    if pa.types.is_floating(column.type):
        cells: np.ndarray[Any, Any] = column.to_numpy()
        return cells
    found: list[Any] = column.to_pylist()
    return found
