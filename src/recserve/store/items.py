"""The item store: payloads by item id, one writer, many readers, no reader ever waits.

Axes: N items, W floats of a payload row, R ragged parts.

A write puts the new payload into a free slot, completes it, and leads the id to it by one store. Versions carry the
epochs between which they are visible, so a view sees all items as of one epoch, a bulk whole or not at all. A slot is
reused once no view of an earlier epoch is open. Full arrays are replaced (`State`), never moved under a reader.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from recserve.dtypes import F32, I64
from recserve.errors import ConfigError, suggest
from recserve.store.ids import ID_KINDS, IdColumn, ItemIds, encode_ids
from recserve.store.kernels import records
from recserve.store.kernels.batch import find_repeated
from recserve.store.kernels.repack import measure_slots
from recserve.store.kernels.write import end_items, link, unlink, write_payloads
from recserve.store.layout import PayloadLayout
from recserve.store.payload import Payloads, RaggedParts, read_payloads
from recserve.store.state import State, heap_table, kinds_of, point_to, repacked
from recserve.store.view import StoreView

_MAX_INDEX_LOAD: Final = 0.7
_MAX_GARBAGE_SHARE: Final = 0.5
_MIN_GARBAGE: Final = 4096


@dataclass(frozen=True, eq=False)
class _Retired:
    """Slots that views of an earlier epoch may still see.

    Attributes:
        epoch: views from this one on do not see them.
        slots: int64[n].
        is_linked: the index may still lead to them: they were deleted, not replaced.
    """

    epoch: int
    slots: I64
    is_linked: bool


class ItemStore:
    """Items of one process, in memory.

    Args:
        layout: of the payloads.
        id_kind: "string" or "int64".
        capacity: items to expect; more make the arrays grow.

    Raises:
        ConfigError: unknown kind of ids.
    """

    def __init__(self, layout: PayloadLayout, id_kind: str = "string", capacity: int = 1024) -> None:
        if id_kind not in ID_KINDS:
            hint = suggest(id_kind, ID_KINDS)
            raise ConfigError(f"item id kind {id_kind!r} is not one of string, int64", hint=hint)
        self.layout: Final = layout
        self.id_kind: Final = id_kind
        self._writing = threading.Lock()
        self._pinning = threading.Lock()
        self._pins: Counter[int] = Counter()
        self._state = State.allocate(layout, capacity, np.zeros((len(layout.ragged) + 1, 2), np.int64))
        self._start_over(self._state, heap_table(self._state))

    def _start_over(self, state: State, heaps: I64) -> None:
        """Forget free and retired slots: the writer's side of a fresh state."""
        self._heaps = heaps
        self._garbage = np.zeros((len(heaps), 2), np.int64)
        self._used_entries = state.count
        self._next_slot = state.count
        self._free: list[I64] = []
        self._retired: deque[_Retired] = deque()
        with self._pinning:
            self._state = state

    def __len__(self) -> int:
        """Number of items."""
        return self._state.count

    @property
    def item_epoch(self) -> int:
        """Number of changes so far; a bulk is one, and what changes nothing is none."""
        return self._state.changes

    def count_change(self) -> None:
        """Count a change of items whose payloads follow as fills."""
        with self._writing:
            self._publish(replace(self._state, fills=self._state.fills - 1))

    def read(self) -> StoreView:
        """A view of the items as they are now; close it, or use it in a `with` statement."""
        with self._pinning:
            state = self._state
            self._pins[state.epoch] += 1
        return StoreView(state, self.id_kind, self._unpin)

    def _unpin(self, epoch: int) -> None:
        with self._pinning:
            self._pins[epoch] -= 1
            if not self._pins[epoch]:
                del self._pins[epoch]

    def _oldest_pinned(self) -> int:
        with self._pinning:
            return min(self._pins, default=self._state.epoch)

    def ids(self) -> list[str] | list[int]:
        """All item ids, in no particular order."""
        with self.read() as view:
            return view.ids()

    def bytes_per_item(self) -> dict[str, float]:
        """Bytes for each item by part (index, records, rows, ids, ragged parts), free room included."""
        state = self._state
        return {part: size / max(1, state.count) for part, size in state.size_bytes().items()}

    def upsert_rows(
        self, ids: ItemIds, fixed: F32 | None = None, ragged: RaggedParts = None, *, is_change: bool = True
    ) -> None:
        """Insert items or replace them whole, all at once for readers. Of an id that occurs twice, the last counts.

        Args:
            ids: N ids, strings or integers.
            fixed: float32[N, W] in order of the layout; None where it has no fixed parts.
            ragged: value-table rows int64[R, FIELDS] whose row n is that of item n, or one Ragged for each part.
            is_change: False for payloads of items that readers know already, which the item epoch does not count.

        Raises:
            DataError: an id that the store cannot hold.
            InvariantError: payloads of another layout, or with fixed floats or weights that are not finite.
        """
        column = encode_ids(ids, self.id_kind, is_write=True)
        payloads = read_payloads(self.layout, len(column), fixed, ragged)
        if not len(column):
            return
        with self._writing:
            self._reclaim()
            is_repeated, count = _repeated(column)
            self._make_room(count, column, payloads)
            slots = np.full(len(column), -1, np.int64)
            slots[~is_repeated] = self._take_slots(count)
            self._write(column, payloads, slots, int(not is_change))

    def _write(self, column: IdColumn, payloads: Payloads, slots: I64, fills: int) -> None:
        state = self._state
        epoch = state.epoch + 1
        replaced = np.empty(len(slots), np.int64)
        write_payloads(state.place, self._heaps, slots, payloads.fixed, self.layout.places, payloads.values)
        counts = link(state.place, self._heaps[-1], column.data, column.offsets, slots, epoch, replaced)
        self._used_entries += int(counts[1])
        count = state.count + int(counts[0])
        self._publish(replace(state, epoch=epoch, count=count, fills=state.fills + fills))
        self._retire(replaced[replaced >= 0], is_linked=False)

    def delete(self, ids: ItemIds) -> int:
        """Delete items, all at once for readers.

        Args:
            ids: N ids; unknown ones are ignored.

        Returns:
            the number of items deleted.

        Raises:
            DataError: ids that are neither strings nor integers.
        """
        column = encode_ids(ids, self.id_kind, is_write=False)
        with self._writing:
            self._reclaim()
            state = self._state
            ended = np.empty(len(column), np.int64)
            count = int(end_items(state.place, column.data, column.offsets, state.epoch + 1, ended))
            if count:
                self._publish(replace(state, epoch=state.epoch + 1, count=state.count - count))
                self._retire(ended[ended >= 0], is_linked=True)
        return count

    def compact(self) -> None:
        """Move the items to arrays of the size they need. Needs memory for both until the last old view closes."""
        with self._writing:
            room = np.zeros_like(self._garbage)
            count = self._state.count
            self._start_over(*repacked(self._state, self._heaps, count + count // 8, room))

    def _publish(self, state: State) -> None:
        with self._pinning:
            self._state = state

    def _retire(self, slots: I64, *, is_linked: bool) -> None:
        if len(slots):
            left = np.zeros_like(self._garbage)
            measure_slots(self._state.place, self._heaps, slots, left)
            if not is_linked:
                left[-1] = 0  # the new version goes by the same id
            self._garbage += left
            self._retired.append(_Retired(self._state.epoch, slots, is_linked))

    def _reclaim(self) -> None:
        """Free what no view can see any more.

        A deleted item is reclaimed in two steps: first its entry leaves the index, then, as a view opened before may
        have read that entry just now, its slot waits until such views are closed.
        """
        oldest = self._oldest_pinned()
        unlinked = []
        while self._retired and self._retired[0].epoch <= oldest:
            retired = self._retired.popleft()
            if retired.is_linked:
                unlink(self._state.place, retired.slots)
                unlinked.append(_Retired(self._state.epoch + 1, retired.slots, is_linked=False))
            else:
                self._free.append(retired.slots)
        self._retired.extend(unlinked)

    def _take_slots(self, count: int) -> I64:
        """int64[count] slots nobody uses; there are as many."""
        taken = []
        while count and self._free:
            slots = self._free.pop()
            taken.append(slots[:count])
            if len(slots) > count:
                self._free.append(slots[count:])
            count -= len(taken[-1])
        taken.append(np.arange(self._next_slot, self._next_slot + count))
        self._next_slot += count
        return np.concatenate(taken)

    def _make_room(self, count: int, column: IdColumn, payloads: Payloads) -> None:
        """Replace arrays that cannot take `count` more items; repack where a heap is mostly garbage."""
        state = self._state
        needed = np.vstack([payloads.sizes, [0, column.offsets[-1] - column.offsets[0]]])
        free = sum(map(len, self._free)) + state.capacity - self._next_slot
        is_full = count > free or self._used_entries + count > _MAX_INDEX_LOAD * len(state.entries)
        used = self._heaps[:, [records.HEAP_USED, records.HEAP_USED_BYTES]]
        if is_full or bool(((self._garbage > _MIN_GARBAGE) & (self._garbage > _MAX_GARBAGE_SHARE * used)).any()):
            capacity = max(state.capacity, state.count + count)
            if state.count + count > state.capacity // 2 and is_full:
                capacity = max(2 * state.capacity, state.count + count)
            self._start_over(*repacked(state, self._heaps, capacity, used // 4 + needed))
            return
        self._grow_heaps(needed)

    def _grow_heaps(self, needed: I64) -> None:
        state = self._state
        heaps = list(state.heaps)
        for r, kind in enumerate(kinds_of(self.layout)):
            elements = int(self._heaps[r, records.HEAP_USED] + needed[r, 0])
            size_bytes = int(self._heaps[r, records.HEAP_USED_BYTES] + needed[r, 1])
            room = heaps[r].room(kind)
            if elements <= room[0] and size_bytes <= room[1]:
                continue
            new_elements = 2 * elements if elements > room[0] else room[0]
            heaps[r] = heaps[r].grown(kind, new_elements, 2 * size_bytes if size_bytes > room[1] else room[1])
            point_to(self._heaps[r], heaps[r])
        if tuple(heaps) != state.heaps:
            self._publish(state.with_heaps(tuple(heaps)))


def _repeated(column: IdColumn) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], int]:
    """(bool[N]: the same id follows later, number of distinct ids)."""
    is_repeated = np.empty(len(column), np.bool_)
    seen = np.full(1 << len(column).bit_length() + 1, -1, np.int64)
    return is_repeated, len(column) - int(find_repeated(column.data, column.offsets, is_repeated, seen))
