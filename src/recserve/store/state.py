"""One state of the item store: arrays that readers pin, and the means to make the next.

Axes: S slots, C entries of the index, W floats of a row, R ragged parts.

A state is immutable as an object. Its arrays are written by the one writer, at places that no reader of an earlier
epoch looks at; arrays that have to grow are replaced, in a new state, and live as long as a reader holds the old one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve import memory
from recserve.dtypes import F32, I64, U8
from recserve.store.kernels import records
from recserve.store.kernels.read import live_slots
from recserve.store.kernels.repack import measure_slots, repack
from recserve.store.layout import PayloadLayout

_LINE_BYTES: Final = 64
_MIN_ELEMENTS: Final = 64
_ID_HEAP_KIND: Final = -1


@dataclass(frozen=True, eq=False)
class Heap:
    """Elements of one ragged part of all items, or the bytes of long ids; only ever appended to.

    Attributes:
        values: int64, float64, or uint8 of tokens and ids.
        token_offsets: int64[elements + 1] of tokens, else None.
        weights: float32[elements] of weighted ids, else None.
    """

    values: npt.NDArray[Any]
    token_offsets: I64 | None = None
    weights: F32 | None = None

    @classmethod
    def allocate(cls, kind: int, elements: int, size_bytes: int) -> Heap:
        """An empty heap with room for elements, and for bytes where it holds tokens (or ids, kind -1)."""
        if kind == _ID_HEAP_KIND:
            return cls(np.empty(max(size_bytes, 1), np.uint8))
        elements = max(elements, _MIN_ELEMENTS)
        if kind == records.TOKENS:
            return cls(np.empty(max(size_bytes, 1), np.uint8), np.zeros(elements + 1, np.int64))
        values: npt.NDArray[Any] = np.empty(elements, np.float64 if kind == records.NUMBERS else np.int64)
        return cls(values, None, np.empty(elements, np.float32) if kind == records.WEIGHTED_IDS else None)

    @property
    def nbytes(self) -> int:
        """Bytes it holds."""
        return sum(array.nbytes for array in (self.values, self.token_offsets, self.weights) if array is not None)

    @property
    def addresses(self) -> tuple[int, int, int]:
        """Of values, token offsets and weights; 0 for what it has not."""
        arrays = (self.values, self.token_offsets, self.weights)
        values, offsets, weights = (0 if array is None else array.ctypes.data for array in arrays)
        return values, offsets, weights

    def room(self, kind: int) -> tuple[int, int]:
        """(elements, bytes) it can hold."""
        if kind == records.TOKENS and self.token_offsets is not None:
            return len(self.token_offsets) - 1, len(self.values)
        return (0, len(self.values)) if kind == _ID_HEAP_KIND else (len(self.values), 0)

    def grown(self, kind: int, elements: int, size_bytes: int) -> Heap:
        """A copy with more room."""
        heap = Heap.allocate(kind, elements, size_bytes)
        heap.values[: len(self.values)] = self.values
        if self.token_offsets is not None and heap.token_offsets is not None:
            heap.token_offsets[: len(self.token_offsets)] = self.token_offsets
        if self.weights is not None and heap.weights is not None:
            heap.weights[: len(self.weights)] = self.weights
        return heap


@dataclass(frozen=True, eq=False)
class State:
    """What a reader sees.

    Attributes:
        epoch: changes applied so far.
        count: items.
        layout: of the payloads.
        entries: int64[C], the index; C is a power of two.
        records: int64[S, RECORD_WORDS], see `kernels.records`.
        rows: uint8[S, row_stride], fixed parts in the precisions of the layout.
        heaps: R of ragged parts, then that of the ids.
        place: int64[WHERE_FIELDS], for kernels.
        ragged: int64[R, FIELDS], value-table rows without starts and ends.
        fills: epochs that changed no item for readers: see `ItemStore.upsert_rows`.
    """

    epoch: int
    count: int
    layout: PayloadLayout
    entries: I64
    records: I64
    rows: U8
    heaps: tuple[Heap, ...]
    place: I64
    ragged: I64
    fills: int = 0

    @property
    def changes(self) -> int:
        """The item epoch: changes of items so far."""
        return self.epoch - self.fills

    @classmethod
    def allocate(cls, layout: PayloadLayout, capacity: int, sizes: I64) -> State:
        """An empty state.

        Args:
            layout: of the payloads.
            capacity: slots, S.
            sizes: int64[R + 1, 2], elements and bytes that the heaps have room for.
        """
        capacity = max(capacity, 8)
        words = records.HEADER + 2 * len(layout.ragged)
        heaps = [Heap.allocate(kind, *map(int, size)) for kind, size in zip(kinds_of(layout), sizes, strict=True)]
        return cls.of(
            layout,
            np.zeros(1 << (2 * capacity - 1).bit_length(), np.int64),
            _aligned(capacity * words * 8).view(np.int64).reshape(capacity, words),
            _aligned(capacity * layout.row_stride).reshape(capacity, layout.row_stride),
            tuple(heaps),
        )

    @classmethod
    def of(cls, layout: PayloadLayout, entries: I64, record_rows: I64, rows: U8, heaps: tuple[Heap, ...]) -> State:
        """A state of arrays, at epoch 0 and without items."""
        place = np.zeros(records.WHERE_FIELDS, np.int64)
        place[records.ENTRIES] = entries.ctypes.data
        place[records.LAST_ENTRY] = len(entries) - 1
        place[records.RECORDS] = record_rows.ctypes.data
        place[records.RECORD_WORDS] = record_rows.shape[1]
        place[records.ROWS] = rows.ctypes.data
        place[records.ROW_STRIDE] = layout.row_stride
        place[records.ID_BYTES] = heaps[-1].values.ctypes.data
        place[records.CAPACITY] = len(record_rows)
        ragged = np.zeros((len(layout.ragged), memory.FIELDS), np.int64)
        for row, heap in zip(ragged, heaps[:-1], strict=True):
            row[[memory.VALUES, memory.TOKEN_OFFSETS, memory.WEIGHTS]] = heap.addresses
            row[memory.STRIDE] = 1
        return cls(0, 0, layout, entries, record_rows, rows, heaps, place, ragged)

    @property
    def capacity(self) -> int:
        """Slots, S."""
        return len(self.records)

    def with_heaps(self, heaps: tuple[Heap, ...]) -> State:
        """The same state with heaps replaced by larger copies."""
        state = State.of(self.layout, self.entries, self.records, self.rows, heaps)
        return replace(state, epoch=self.epoch, count=self.count, fills=self.fills)

    def live(self) -> I64:
        """int64[count]: the slots of its items, in no particular order."""
        slots = np.empty(self.count, np.int64)
        return slots[: live_slots(self.place, self.epoch, slots)]

    def size_bytes(self) -> dict[str, int]:
        """Bytes by part, free room included."""
        names = [name for name, _ in self.layout.ragged]
        sizes = {"index": self.entries.nbytes, "records": self.records.nbytes, "rows": self.rows.nbytes}
        sizes["ids"] = self.heaps[-1].nbytes
        return sizes | {name: heap.nbytes for name, heap in zip(names, self.heaps[:-1], strict=True)}


def kinds_of(layout: PayloadLayout) -> tuple[int, ...]:
    """Kind of each heap: those of the ragged parts, then that of the ids."""
    return (*layout.kinds, _ID_HEAP_KIND)


def heap_table(state: State) -> I64:
    """int64[R + 1, HEAP_FIELDS] of a state's heaps, with nothing used yet."""
    table = np.zeros((len(state.heaps), records.HEAP_FIELDS), np.int64)
    for row, heap, kind in zip(table, state.heaps, kinds_of(state.layout), strict=True):
        point_to(row, heap)
        row[records.HEAP_KIND] = kind
    return table


def point_to(row: I64, heap: Heap) -> None:
    """Put the addresses of a heap's arrays into its row of the heap table."""
    row[[records.HEAP_VALUES, records.HEAP_TOKEN_OFFSETS, records.HEAP_WEIGHTS]] = heap.addresses


def repacked(state: State, heaps: I64, capacity: int, room: I64) -> tuple[State, I64]:
    """The live items of a state in fresh arrays, slots [0, count), at the same epoch.

    Args:
        state: left as it is.
        heaps: int64[R + 1, HEAP_FIELDS], its heap table.
        capacity: slots of the new state, at least `state.count`.
        room: int64[R + 1, 2], elements and bytes that the new heaps have room for besides what is live.

    Returns:
        the new state and its heap table.
    """
    live = state.live()
    sizes = np.zeros((len(heaps), 2), np.int64)
    measure_slots(state.place, heaps, live, sizes)
    fresh = State.allocate(state.layout, capacity, sizes + room)
    table = heap_table(fresh)
    repack(state.place, heaps, live, fresh.place, table)
    return replace(fresh, epoch=state.epoch, count=len(live), fills=state.fills), table


def _aligned(size_bytes: int) -> U8:
    """uint8[size_bytes] that starts at a cache line."""
    memory_block = np.empty(size_bytes + _LINE_BYTES, np.uint8)
    start = -memory_block.ctypes.data % _LINE_BYTES
    return memory_block[start : start + size_bytes]
