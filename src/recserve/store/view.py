"""A reader's view of the item store, pinned to one state.

Axes: N ids, C fixed parts, R ragged parts.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import numpy as np

from recserve import memory
from recserve.columns import Ragged, offsets_of
from recserve.dtypes import F32, I64, U8
from recserve.errors import InvariantError
from recserve.store.ids import IdColumn, ItemIds, decode_ids, encode_ids
from recserve.store.kernels import read
from recserve.store.layout import PayloadLayout
from recserve.store.payload import copy_ragged
from recserve.store.state import State


class StoreView:
    """The items as they were when the view was made, whatever is written meanwhile.

    Slots and addresses that it hands out are valid until it is closed. A context manager; for one thread at a time.
    """

    def __init__(self, state: State, id_kind: str, on_close: Callable[[int], None]) -> None:
        self._state: State | None = state
        self._id_kind = id_kind
        self._on_close = on_close

    def __enter__(self) -> StoreView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the store reuse what only this view could see. More than once is fine."""
        if self._state is not None:
            self._on_close(self._state.epoch)
            self._state = None

    @property
    def _pinned(self) -> State:
        if self._state is None:
            raise InvariantError("the view of the item store is closed")
        return self._state

    @property
    def item_epoch(self) -> int:
        """Changes applied before the view was made."""
        return self._pinned.changes

    @property
    def layout(self) -> PayloadLayout:
        """Of the payloads."""
        return self._pinned.layout

    def __len__(self) -> int:
        """Number of items."""
        return self._pinned.count

    def find(self, ids: ItemIds) -> I64:
        """Slots of N ids, int64[N]; -1 where there is no such item.

        Raises:
            DataError: ids that are neither strings nor integers.
        """
        state = self._pinned
        column = encode_ids(ids, self._id_kind, is_write=False)
        slots = np.empty(len(column), np.int64)
        read.find_slots(state.place, column.data, column.offsets, state.epoch, slots)
        return slots

    def gather_fixed(self, slots: I64, buffers: I64) -> None:
        """Read the fixed parts of N slots as float32 into a buffer each, in one call that releases the GIL.

        Args:
            slots: int64[N] from `find`; zeros are written for -1.
            buffers: int64[C, 2], address and row stride (in floats) of float32[N, width]; address 0 leaves a part out.
        """
        state = self._pinned
        if buffers.shape != (len(state.layout.fixed), 2):
            raise InvariantError(f"{len(buffers)} buffers for {len(state.layout.fixed)} fixed payload parts")
        read.gather_fixed(state.place, slots, state.layout.places, buffers)

    def fixed(self, slots: I64) -> dict[str, F32]:
        """The fixed parts of N slots, float32[N, width] each; zeros for -1."""
        parts = {name: np.empty((len(slots), width), np.float32) for name, width in self.layout.fixed}
        buffers = [(part.ctypes.data, part.shape[1]) for part in parts.values()]
        self.gather_fixed(slots, np.array(buffers, np.int64).reshape(len(buffers), 2))
        return parts

    def gather_ragged(self, slots: I64, starts: I64, ends: I64, *, first: int = 0) -> I64:
        """Value-table rows of R ragged parts for N slots, in one call that releases the GIL.

        Args:
            slots: int64[N] from `find`; -1 has an empty row.
            starts: int64[R, N], C-contiguous. Written; the rows point into it.
            ends: int64[R, N], C-contiguous. Written; the rows point into it.
            first: number of the first of these parts in the layout.

        Returns:
            int64[R, FIELDS] in order of the layout, row n of each value is that of slot n. COUNT is 0.
        """
        state = self._pinned
        parts = state.ragged[first : first + len(starts)]
        shape = (len(parts), len(slots))
        for array in (starts, ends):
            if array.shape != shape or array.dtype != np.int64 or not array.flags.c_contiguous:
                raise InvariantError(f"ranges are {array.dtype}{list(array.shape)}, expected int64{list(shape)}")
        read.gather_ranges(state.place, slots, first, starts, ends)
        values = parts.copy()
        offsets = np.arange(shape[0]) * (8 * shape[1])
        values[:, memory.STARTS] = starts.ctypes.data + offsets
        values[:, memory.ENDS] = ends.ctypes.data + offsets
        values[:, memory.ROWS] = shape[1]
        read.prefetch_elements(parts, starts)
        return values

    def ragged(self, slots: I64) -> dict[str, Ragged]:
        """Copies of the ragged parts of N slots, for people; a request uses `gather_ragged`."""
        starts, ends = np.empty((2, len(self._pinned.ragged), len(slots)), np.int64)
        self.gather_ragged(slots, starts, ends)
        return copy_ragged(self._pinned, starts, ends)

    def ids(self) -> list[str] | list[int]:
        """All item ids, in no particular order."""
        state = self._pinned
        slots = state.live()
        lengths = np.empty(len(slots), np.int64)
        read.id_lengths(state.place, slots, lengths)
        offsets = offsets_of(lengths)
        data: U8 = np.empty(int(offsets[-1]), np.uint8)
        read.copy_ids(state.place, slots, offsets, data)
        return decode_ids(IdColumn(data, offsets), self._id_kind)
