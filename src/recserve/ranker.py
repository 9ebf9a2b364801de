"""The request path, as a library: open a bundle, load items, rank.

    ranker = Ranker.open("models/rank/7", items="items.parquet")
    result = ranker.rank(user={...}, context={...}, candidates=[...], top_k=50)

A request runs in five steps: sequence columns joined from the item store, the request stage once, a gather of the
candidates' payloads, the candidate stage in batches of at most `PART_ROWS`, and top-k. Python does a constant amount of
work in each; loops over candidates and over ids of a history are in kernels.

Axes: N candidates, K of the answer, M items of a batch.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from recserve import memory
from recserve.bundle import Bundle, Progress
from recserve.candidates import CandidateList, Candidates, InlineItems, ItemId, read_candidates, read_inline_items
from recserve.dtypes import F32, I64
from recserve.errors import CellError, InvariantError, RequestError
from recserve.features.ingest import ColumnBatch
from recserve.network.engine_choice import EngineOptions
from recserve.network.storing import StoreOptions
from recserve.row_scores import RowScores
from recserve.sequence_history import SequenceHistory
from recserve.signatures import Signature, Tensor
from recserve.staging.draw import draw_columns
from recserve.staging.pipeline import CandidateBatch, Pipeline, RequestState, Scratch
from recserve.staging.tensors import Buffers
from recserve.store.backlog import Backlog, Loading
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout
from recserve.store.sources import ItemSource, count_items, read_item_batches
from recserve.store.view import StoreView

_log: Final = logging.getLogger("recserve.ranker")
ITEM_ID: Final = "item_id"
PART_ROWS: Final = 2048
"""Candidates that are scored at a time; longer lists are cut into equal parts of at most so many."""

_NO_VALUES: I64 = np.empty((0, memory.FIELDS), np.int64)
_NO_ITEMS: Final = [pa.record_batch({ITEM_ID: pa.array([], pa.string())})]


class VersionTuple(NamedTuple):
    """What exactly answered a request."""

    model: str
    version: int
    table_epoch: int
    item_epoch: int


@dataclass(frozen=True)
class RankResult:
    """Ranked candidates, best first.

    Attributes:
        item_ids: K ids as the caller gave them.
        positions: int64[K], where they stood among the candidates of the request.
        scores: float32[K], falling; NaN comes last. Equal scores keep the order of the request.
        outputs: {goal: float32[K] or float32[K, k]} in the same order.
        version: what answered.
        unknown_items: candidates that are not in the store and brought no columns; they are not scored.
        missing_columns: user and context columns that the request lacked; they count as missing values. Of a sequence
            whose item ids lack, the columns that they would have made and theirs.
        timings_us: µs by stage.
    """

    item_ids: list[ItemId]
    positions: I64
    scores: F32
    outputs: dict[str, F32]
    version: VersionTuple
    unknown_items: list[ItemId]
    missing_columns: list[str]
    timings_us: dict[str, float]


@dataclass
class _Worker:
    """Scratch memory of one running request."""

    request: Scratch
    candidate: Scratch
    item: Scratch
    gathered: Buffers


class Ranker:
    """A model with its items. Any number of threads may rank while others change items.

    Attributes:
        pause: called on the ranking thread between the parts of a long list of candidates, for whoever has work of its
            own to do there; what it raises ends the request. None for nothing.
    """

    def __init__(self, bundle: Bundle, pipeline: Pipeline, id_kind: str, capacity: int = 1024) -> None:
        """Without items; see `open`.

        Args:
            bundle: what is served.
            pipeline: its stages.
            id_kind: "string" or "int64".
            capacity: items to expect.
        """
        self.pause: Callable[[], None] | None = None
        self.bundle: Final = bundle
        self.pipeline: Final = pipeline
        cuts = pipeline.cuts
        sides: dict[str, list[str]] = {
            side: list(pipeline.columns_of(side)) for side in ("user", "context", "item", "candidate")
        }
        self._read: Final = tuple(sides["user"] + sides["context"])
        self.history: Final = SequenceHistory(pipeline.feature_set.sequence_joins(), self._read, len(cuts.ragged))
        for side in ("user", "context"):
            sides[side] += self.history.keys(side)
        sides["item"] += self.history.columns
        self._kept: Final = frozenset((ITEM_ID, *sides["item"]))
        self._columns: Final = {side: tuple(dict.fromkeys(columns)) for side, columns in sides.items()}
        layout = PayloadLayout(
            fixed=tuple((column.name, column.width) for column in cuts.fixed),
            ragged=(*((column.name, column.kind) for column in cuts.ragged), *self.history.parts),
            precisions=tuple(column.precision for column in cuts.fixed),
        )
        self.store: Final = ItemStore(layout, id_kind, capacity)
        self.backlog: Backlog | None = None
        self._rows: Final = RowScores(bundle)
        self._idle: deque[_Worker] = deque()
        self._shapes: Final = tuple((column.name, column.shape) for column in cuts.fixed)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        items: ItemSource | None = None,
        threads: int = 1,
        verify: bool = True,
        progress: Progress | None = None,
        engine: EngineOptions | None = None,
        materialise: str = "auto",
    ) -> Ranker:
        """Open a bundle, compute the payloads of all items, and run once, so that the first request is not slow.

        Args:
            path: of the bundle, `<base>/<name>/<version>`.
            items: Parquet or NDJSON file, Arrow table or rows, with the column `item_id` (strings or integers).
            threads: of each part of the network.
            verify: compare the bundle with its checksums.
            progress: called with a line now and then.
            engine: which engines may run the candidate network; None: as the build chose.
            materialise: "eager": make all payloads first; "lazy": serve at once, make each at first use and the rest in
                the background; "auto": lazily what would take longer than the `max_rebuild_s` of the build.

        Raises:
            BundleError: the bundle is damaged.
            DataError: the items cannot be read; names the row and the feature.
        """
        file = str(items) if isinstance(items, str | Path) else None
        loading = Loading(None if items is None else count_items(items), materialise, file)
        bundle = Bundle.open(path, verify=verify)
        pipeline = bundle.pipeline(threads, engine)
        batches = None if items is None else read_item_batches(items, ITEM_ID)
        first = None if batches is None else next(batches, None)
        is_int = first is not None and str(first.schema.field(ITEM_ID).type).startswith(("int", "uint"))
        ranker = cls(bundle, pipeline, "int64" if is_int else "string", loading.total or 1024)
        if first is not None and batches is not None:
            ranker._load(itertools.chain([first], batches), loading, progress or (lambda _: None))
        ranker.warm()
        if ranker.backlog is not None:
            ranker.backlog.start(progress or _log.info)
        return ranker

    def _load(self, batches: Iterator[pa.RecordBatch], loading: Loading, say: Progress) -> None:
        """Make the payloads of all items, or put what would take too long into the backlog."""
        storing = self.bundle.split.report.storing
        max_s = (StoreOptions() if storing is None else storing.options).max_rebuild_s
        left: list[pa.RecordBatch] = []
        start, done = time.perf_counter(), 0
        for batch in batches:
            if left or loading.is_over(time.perf_counter() - start, done, max_s):
                left.append(batch.select([name for name in batch.schema.names if name in self._kept]))
                self.store.count_change()
                continue
            try:
                done += self.upsert_items(batch)
            except CellError as error:
                error.shift(done)
                raise error.at(loading.file) if loading.file is not None else error from None
            say(f"items: {done:,}" + (f" of {loading.total:,}" if loading.total else ""))
        later = sum(map(len, left))
        say(f"items: {done:,} made in {time.perf_counter() - start:.2f} s, {later:,} left to be made later")
        if left:
            self.backlog = Backlog(self.store, left, self._make, ITEM_ID)

    def warm(self) -> None:
        """Rank drawn requests, so that no request meets code, a kernel or an engine for the first time."""
        self.pipeline.warm()
        rng = np.random.default_rng(0)
        row = {column: cells[0] for column, cells in draw_columns(self.pipeline.graph, {}, rng).items()}
        if self.backlog is not None:
            self.backlog.fill_next(2)
        known: list[ItemId] = list(self.store.ids()[:2])
        every_form: list[Any] = [known or [0], ["no such item"], np.array([0])]
        for candidates in every_form:
            self.rank(row, row, candidates)
        if self.history.joins:
            joined = {column for _, columns in self.history.joins for column in columns}
            bare = {column: cell for column, cell in row.items() if column not in joined}
            bare |= {key: known or [0] for side in ("user", "context") for key in self.history.keys(side)}
            self.settle([], bare)
            with self.store.read() as view:
                self.history.fill(view, bare)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.bundle.name

    @property
    def version(self) -> int:
        """The model's version."""
        return self.bundle.version

    def describe(self) -> dict[str, Any]:
        """What the model reads and answers, as plain JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "score": self.bundle.score.text,
            "outputs": list(self.pipeline.outputs),
            "columns": {side: list(columns) for side, columns in self._columns.items()},
            "items": len(self.store) + (0 if self.backlog is None else len(self.backlog)),
            "items_to_make": 0 if self.backlog is None else len(self.backlog),
            "items_refused": 0 if self.backlog is None else self.backlog.refused,
            "item_id": self.store.id_kind,
            "item_epoch": self.store.item_epoch,
            "precision": self.bundle.manifest.precision,
            "tables": {name: table.describe() for name, table in self.bundle.tables.items()},
            "bytes_per_item": {part: round(size, 1) for part, size in self.store.bytes_per_item().items()},
            "plan_digest": self.bundle.manifest.plan_digest,
            "recserve_version": self.bundle.manifest.recserve_version,
        }

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """How protocols of tensors ask the model, on rows that bring all raw columns; see `recserve.row_scores`."""
        return self._rows.signatures

    def run(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Score rows as `RowScores.run` does, by the flat pipeline and without the items."""
        return self._rows.run(signature, inputs, outputs, self.pause)

    def rank(
        self,
        user: Mapping[str, Any],
        context: Mapping[str, Any] | None = None,
        candidates: Candidates = (),
        *,
        top_k: int | None = None,
        items: Mapping[ItemId, Mapping[str, Any]] | None = None,
    ) -> RankResult:
        """Score the candidates and return the best.

        Args:
            user: columns of the user; what the features do not read is ignored, what lacks counts as missing. Columns
                `<sequence>__<column>` of items that it lacks are joined from the store by the ids of `sequence_pk`.
            context: columns of the request.
            candidates: item ids, or columns of equal length with `item_id` and candidate-side columns.
            top_k: how many to return, at least 1; None returns all.
            items: columns of items that the store need not have, by id. They go before what the store has.

        Raises:
            RequestError: candidates or top_k are wrong.
            DataError: a column cannot be read; names the feature or column, and the value.
        """
        start = time.perf_counter_ns()
        listed = read_candidates(candidates, self._columns["candidate"])
        if top_k is not None and (not isinstance(top_k, int | np.integer) or isinstance(top_k, bool) or top_k < 1):
            raise RequestError(f"expected a positive integer, got {top_k!r}", code="bad_top_k", where="top_k")
        row = self.read_cells(user, context)
        self.settle(listed.ids, row)
        with self._borrow_worker() as worker, self.store.read() as view:
            self.history.fill(view, row)
            columns = self.pipeline.request.read_row(row)
            timings = {"decode": (time.perf_counter_ns() - start) / 1e3}
            start = time.perf_counter_ns()
            state = self.pipeline.request.make_state(worker.request, columns)
            timings["request"] = (time.perf_counter_ns() - start) / 1e3
            inline = {} if items is None else items
            scored, outputs = self._score(worker, view, state, listed, items=inline, timings=timings)
            version = VersionTuple(self.name, self.version, 0, view.item_epoch)
        start = time.perf_counter_ns()
        order, scores = self._order(outputs, len(scored), top_k)
        result = RankResult(
            item_ids=listed.pick(scored[order]),
            positions=scored[order],
            scores=scores,
            outputs={name: output[order] for name, output in outputs.items()},
            version=version,
            unknown_items=listed.leave_out(scored),
            missing_columns=self._missing_columns(row),
            timings_us=timings,
        )
        timings["top_k"] = (time.perf_counter_ns() - start) / 1e3
        return result

    def read_cells(self, user: Any, context: Any) -> dict[str, Any]:
        """The cells of the user and the context that the features or `history` read, as far as there are any.

        Raises:
            RequestError: user or context is no object.
        """
        context = {} if context is None else context
        for name, value in (("user", user), ("context", context)):
            if not isinstance(value, Mapping):
                raise RequestError(f"expected an object of columns, got {value!r:.80}", where=name)
        row = {column: user[column] for column in self._columns["user"] if column in user}
        row.update((column, context[column]) for column in self._columns["context"] if column in context)
        return row

    def _missing_columns(self, row: Mapping[str, Any]) -> list[str]:
        """Columns that a request with these cells lacked: those that are read, and ids that histories are joined by."""
        missing = [column for column in self._read if column not in row]
        return list(dict.fromkeys([*missing, *self.history.missing_keys(row)]))

    def _score(
        self,
        worker: _Worker,
        view: StoreView,
        state: RequestState,
        listed: CandidateList,
        *,
        items: Mapping[ItemId, Mapping[str, Any]],
        timings: dict[str, float],
    ) -> tuple[I64, dict[str, F32]]:
        """(positions of the scored candidates in request order, their outputs)."""
        start = time.perf_counter_ns()
        slots = view.find(listed.ids)
        stored, inline = np.flatnonzero(slots >= 0), None
        if items != {}:
            inline = read_inline_items(items, listed, self._columns["item"])
            stored = np.setdiff1d(stored, inline.positions, assume_unique=True)
        parts: list[tuple[I64, dict[str, F32]]] = []
        count = -(-len(stored) // PART_ROWS)
        for n, positions in enumerate(np.array_split(stored, count) if count > 1 else [stored] * count):
            if n and self.pause is not None:
                self.pause()
                start = time.perf_counter_ns()
            found = slots if len(positions) == len(slots) else slots[positions]
            batch = self._gather(worker, view, found, listed, positions)
            timings["gather"] = timings.get("gather", 0.0) + (time.perf_counter_ns() - start) / 1e3
            with _naming_candidates(positions):
                parts.append((positions, self.pipeline.candidate.score(worker.candidate, state, batch, timings)))
        if inline is not None and len(inline.positions):
            with _naming_candidates(inline.positions):
                batch = self._make_batch(worker, inline, listed)
                outputs = self.pipeline.candidate.score(worker.candidate, state, batch, timings)
            parts.append((inline.positions, outputs))
        if not parts:
            return np.empty(0, np.int64), {name: np.empty(0, np.float32) for name in self.pipeline.outputs}
        if len(parts) == 1:
            return parts[0]
        positions = np.concatenate([part[0] for part in parts])
        order = np.argsort(positions)
        outputs = {name: np.concatenate([part[1][name] for part in parts])[order] for name in self.pipeline.outputs}
        return positions[order], outputs

    def _gather(
        self, worker: _Worker, view: StoreView, slots: I64, listed: CandidateList, positions: I64
    ) -> CandidateBatch:
        rows = len(slots)
        padded = self.pipeline.candidate.runner.padded_rows(rows)  # so that the engine reads what was gathered in place
        arrays, described = worker.gathered.take(tuple((padded, width) for _, width in self.store.layout.fixed))
        if arrays:
            view.gather_fixed(slots, np.ascontiguousarray(described[:, :2]))
        pairs = zip(self._shapes, arrays, strict=True)
        gathered = {name: array.reshape(padded, *shape) for (name, shape), array in pairs}
        ranges = np.empty((2, len(self.pipeline.cuts.ragged), rows), np.int64)
        ragged = view.gather_ragged(slots, ranges[0], ranges[1]) if ranges.size else _NO_VALUES
        return CandidateBatch(rows, self._candidate_columns(listed, positions), gathered, ragged, keep=ranges)

    def _make_batch(self, worker: _Worker, inline: InlineItems, listed: CandidateList) -> CandidateBatch:
        rows = len(inline.positions)
        columns = self.pipeline.item.read_columns(inline.columns, rows)
        payloads = self.pipeline.item.make_payloads(worker.item, columns, rows)
        gathered = self.pipeline.item.split_fixed(payloads.fixed)
        return CandidateBatch(rows, self._candidate_columns(listed, inline.positions), gathered, payloads.ragged)

    def _candidate_columns(self, listed: CandidateList, positions: I64) -> ColumnBatch:
        return self.pipeline.candidate.read_columns(listed.columns_at(positions), len(positions))

    def _order(self, outputs: dict[str, F32], rows: int, top_k: int | None) -> tuple[I64, F32]:
        """(int64[K] positions of the best, float32[K] their scores)."""
        scores = self.bundle.score.evaluate(outputs) if rows else np.empty(0, np.float32)
        if scores.ndim != 1:
            raise InvariantError(f"the score {self.bundle.score.text!r} has {scores.ndim} axes")
        order = np.argsort(-scores, kind="stable")[:top_k]
        return order, scores[order]

    @contextmanager
    def _borrow_worker(self) -> Iterator[_Worker]:
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(self.pipeline.scratch(), self.pipeline.scratch(), self.pipeline.scratch(), Buffers())
        try:
            yield worker
        finally:
            self._idle.append(worker)

    def upsert_items(self, items: Any) -> int:
        """Insert or replace items; they are visible all at once. Of an id that occurs twice, the last counts.

        Args:
            items: Arrow table or record batch, or rows, with `item_id` and the item columns.

        Returns:
            number of rows.

        Raises:
            DataError: a row cannot be read; nothing changes then.
        """
        table = pa.Table.from_batches(list(read_item_batches(items, ITEM_ID)) or _NO_ITEMS).combine_chunks()
        for batch in table.to_batches():  # one, or none for no rows
            with self._make(batch) as write:
                if self.backlog is None:
                    write(True)
                else:
                    self.backlog.replace(batch.column(batch.schema.get_field_index(ITEM_ID)), write)
        return len(table)

    @contextmanager
    def _make(self, batch: pa.RecordBatch) -> Iterator[Callable[[bool], None]]:
        """Make the payloads of items; what it yields writes them, and tells whether that is a change of the items."""
        columns = self.pipeline.item.read_columns(batch, len(batch))
        kept = self.history.keep_columns(batch)
        ids = batch.column(batch.schema.get_field_index(ITEM_ID))
        with self._borrow_worker() as worker:
            payloads = self.pipeline.item.make_payloads(worker.item, columns, len(batch))
            ragged = np.vstack([payloads.ragged, kept.values])
            yield lambda is_change: self.store.upsert_rows(ids, payloads.fixed, ragged, is_change=is_change)

    def delete_items(self, ids: Any) -> int:
        """Delete items, all at once; unknown ids are ignored. Returns how many were deleted."""
        self.settle(ids)
        return self.store.delete(ids)

    def settle(self, ids: Any, row: Mapping[str, Any] | None = None) -> None:
        """Have the payloads made of items that are still in the backlog: to be called before a view is opened.

        Args:
            ids: of items.
            row: cells of a request, whose histories name more.

        Raises:
            DataError: ids that are neither strings nor integers.
        """
        if self.backlog is not None and len(self.backlog):
            self.backlog.settle(ids)
            self.history.settle(self.backlog, row or {})

    def close(self) -> None:
        """End the making of payloads and give back scratch memory; the ranker must not be used after."""
        if self.backlog is not None:
            self.backlog.stop()
        self._idle.clear()


@contextmanager
def _naming_candidates(positions: I64) -> Iterator[None]:
    """Errors of row n of a batch are those of candidate `positions[n]`."""
    try:
        yield
    except CellError as error:
        if error.row is None:
            raise
        raise error.shift(int(positions[error.row]) - error.row, "candidate") from None
