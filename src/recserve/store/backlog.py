"""Items whose payloads are still to be made: at first use, or in the background, whichever comes first.

Axes: M items of the backlog, N ids.

A new model version has to make the payloads of all items again. Where that takes too long, it serves at once with the
columns of the items in a backlog. Whoever needs an item first has its payload made and written to the store, in one
batch with the others that it needs; a thread makes the rest. To callers nothing differs but the time:

- An item is in the backlog or it is settled: written to the store, replaced, deleted, or refused. It never goes back.
- It counts as settled only after the store has it. So who settles ids first and opens a view of the store then, finds
  each of them as it is at the view's epoch.
- Writes to the store are made one after the other under one lock, which also decides what is settled. What was computed
  from columns that are settled meanwhile is thrown away, so an old payload never follows a new one.
- Writing a payload of the backlog is no change of the items: the item epoch counts as if all had been there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from recserve.dtypes import F32, I64
from recserve.errors import ConfigError, DataError, suggest
from recserve.store.ids import ItemIds
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout

_log: Final = logging.getLogger("recserve.store")
_CHUNK_ROWS: Final = 256
_BUSY_SHARE: Final = 0.5
_LOW_BITS: Final = 20
"""Row numbers are kept as two floats of so many bits, which float32 holds exactly."""

MATERIALISE: Final = ("auto", "eager", "lazy")

Write = Callable[[bool], None]
"""Writes prepared payloads to the store; told whether that is a change of the items."""
Make = Callable[[pa.RecordBatch], AbstractContextManager[Write]]
"""Makes the payloads of items. The writer is valid inside of the `with` block.

Raises:
    DataError: a cell cannot be read.
"""


@dataclass(frozen=True)
class Loading:
    """How the items of a bundle are loaded.

    Attributes:
        total: items to come, where that is known.
        materialise: of `MATERIALISE`.
        file: that they come from, for messages.

    Raises:
        ConfigError: an unknown word.
    """

    total: int | None
    materialise: str
    file: str | None

    def __post_init__(self) -> None:
        if self.materialise not in MATERIALISE:
            hint = suggest(str(self.materialise), MATERIALISE) or f"Known: {', '.join(MATERIALISE)}"
            raise ConfigError(
                f"{self.materialise!r} is no way to make payloads",
                code="bad_materialise",
                where="materialise",
                hint=hint,
            )

    def is_over(self, spent_s: float, done: int, max_s: float) -> bool:
        """Whether the rest is left to the backlog, `done` items having taken `spent_s`."""
        if self.materialise == "auto" and done:
            return spent_s * max(1.0, (self.total or 0) / done) > max_s
        return self.materialise == "lazy"


class Backlog:
    """Items that are served, but not in the store yet. All methods may be called from any thread.

    Args:
        store: that receives them.
        batches: the columns of the items, of one schema; of an id that occurs twice, the last counts.
        make: makes payloads.
        id_column: of the batches.
    """

    def __init__(self, store: ItemStore, batches: list[pa.RecordBatch], make: Make, id_column: str) -> None:
        self._store, self._make, self._id_column = store, make, id_column
        self._table: pa.Table | None = pa.Table.from_batches(batches)
        self._rows = ItemStore(PayloadLayout(fixed=(("high", 1), ("low", 1))), store.id_kind, self._table.num_rows)
        first = 0
        for batch in batches:
            places = np.arange(first, first + len(batch))
            parts = np.stack([places >> _LOW_BITS, places & ((1 << _LOW_BITS) - 1)], axis=1).astype(np.float32)
            self._rows.upsert_rows(batch.column(batch.schema.get_field_index(id_column)), parts)
            first += len(batch)
        self._is_open = np.zeros(first, np.bool_)
        with self._rows.read() as view:
            self._is_open[_numbers(view.fixed(view.find(self._rows.ids())))] = True
        self.total: Final = int(self._is_open.sum())
        self._left = self.total
        self._next = 0
        self._refused = 0
        self._writing = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """Items that are left."""
        return self._left

    @property
    def refused(self) -> int:
        """Items that could not be read; the log names them."""
        return self._refused

    def settle(self, ids: ItemIds) -> None:
        """Have the payloads of those of N ids that are left made and written, in one batch.

        Raises:
            DataError: ids that are neither strings nor integers.
        """
        if self._left:
            self._fill(self._open_rows(ids))

    def replace(self, ids: ItemIds, write: Write) -> None:
        """Write a change of items to the store: what the backlog holds of them does not count any more."""
        with self._writing:
            write(True)
            if self._left:
                self._close_rows(self._open_rows(ids))

    def fill_next(self, rows: int = _CHUNK_ROWS) -> bool:
        """Make the payloads of the next items; whether any are left."""
        if self._left:
            chosen = self._next + np.flatnonzero(self._is_open[self._next :])[:rows]
            self._fill(chosen)
            if len(chosen):
                self._next = int(chosen[-1]) + 1
            elif self._left:
                self._next = 0
        return self._left > 0

    def start(self, tell: Callable[[str], None]) -> None:
        """Make the rest on a thread of its own, which leaves half of its core to others.

        Args:
            tell: called with a line now and then, and at the end.
        """
        self._thread = threading.Thread(target=self._run, args=(tell,), name="recserve-backlog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it runs, after the items that it is at."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread; whether all items are settled."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return not self._left

    def _run(self, tell: Callable[[str], None]) -> None:
        begin = told = time.monotonic()
        while not self._stopped.is_set():
            start = time.monotonic()
            if not self.fill_next():
                break
            now = time.monotonic()
            if now - told > 10:
                told = now
                tell(f"items: {self.total - self._left:,} of {self.total:,} made in the background")
            self._stopped.wait((now - start) * (1 / _BUSY_SHARE - 1))
        if not self._left:
            tell(f"items: all {self.total:,} of the backlog made in {time.monotonic() - begin:.1f} s")

    def _open_rows(self, ids: ItemIds) -> I64:
        """The rows of those ids that are left, each once."""
        with self._rows.read() as view:
            slots = view.find(ids)
            rows = np.unique(_numbers(view.fixed(slots[slots >= 0])))
        return rows[self._is_open[rows]]

    def _close_rows(self, rows: I64) -> None:
        """Call under the lock, once the store has the rows."""
        self._is_open[rows] = False
        self._left -= len(rows)
        if not self._left:
            self._table = None

    def _fill(self, rows: I64) -> None:
        while len(rows := rows[self._is_open[rows]]):
            table = self._table
            if table is None:
                return
            batch = table.take(pa.array(rows)).combine_chunks().to_batches()[0]
            try:
                with self._make(batch) as write, self._writing:
                    if self._is_open[rows].all():
                        write(False)
                        self._close_rows(rows)
            except DataError as error:
                self._refuse(rows, batch, error)
                return

    def _refuse(self, rows: I64, batch: pa.RecordBatch, error: DataError) -> None:
        """Find the item that cannot be read by halves, and make the others."""
        if len(rows) > 1:
            half = len(rows) // 2
            self._fill(rows[:half])
            self._fill(rows[half:])
            return
        name = batch.column(batch.schema.get_field_index(self._id_column))[0].as_py()
        _log.error("item %r is left out, because it cannot be read: %s", name, error)
        with self._writing:
            if self._is_open[rows].all():
                self._refused += 1
                self._close_rows(rows)


def _numbers(parts: dict[str, F32]) -> I64:
    """int64[N] row numbers of their two halves."""
    high, low = parts["high"][:, 0].astype(np.int64), parts["low"][:, 0].astype(np.int64)
    return (high << _LOW_BITS) | low
