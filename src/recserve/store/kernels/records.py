"""How the item store's memory is laid out, and the primitives that read and write it.

Where things are is one `int64[WHERE_FIELDS]` (addresses and sizes of a state's arrays), heaps are `int64[R + 1,
HEAP_FIELDS]` for R ragged parts; the last heap holds the bytes of long ids. Kernels unpack them to tuples, for numba
counts references to arrays also in innermost loops.

An index entry is one word: 0 empty, 1 removed, else a tag (23 bits of the id's hash) and a slot + 2 (40 bits). It leads
to the newest version of an id, and that to the one before. Version `slot` is visible at epoch e where
`created <= e < ended`. A writer completes a record before it stores the entry (one aligned word), so a reader sees
either version whole.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from recserve.memory import view_i64, view_u8
from recserve.tables.kernels import load_i64, mix

# Where the arrays of a state are.
ENTRIES: Final = 0
LAST_ENTRY: Final = 1
RECORDS: Final = 2
RECORD_WORDS: Final = 3
ROWS: Final = 4
ROW_STRIDE: Final = 5
ID_BYTES: Final = 6
CAPACITY: Final = 7
WHERE_FIELDS: Final = 8

# A record, int64[RECORD_WORDS] by slot: then start and end of each ragged part.
CREATED: Final = 0
ENDED: Final = 1
PREVIOUS: Final = 2
ID: Final = 3
"""An id of at most 8 bytes itself, little-endian; else where it starts in the id heap."""
ID_LENGTH: Final = 4
HEADER: Final = 5

# A heap.
HEAP_VALUES: Final = 0
HEAP_TOKEN_OFFSETS: Final = 1
HEAP_WEIGHTS: Final = 2
HEAP_USED: Final = 3
HEAP_USED_BYTES: Final = 4
"""Of tokens, and of ids."""
HEAP_KIND: Final = 5
HEAP_FIELDS: Final = 6

WEIGHTED_IDS: Final = 1
NUMBERS: Final = 2
TOKENS: Final = 3

NEVER: Final = 2**62
EMPTY: Final = 0
REMOVED: Final = 1
SLOT_BITS: Final = 40
SLOT_MASK: Final = (1 << SLOT_BITS) - 1

Fields = tuple[int, ...]


@intrinsic
def release(typingctx: Any) -> Any:  # noqa: ARG001  (numba passes the typing context)
    """Make all stores before visible before any store after."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        builder.fence("release")
        return context.get_dummy_value()

    return types.none(), codegen


@njit(cache=True, inline="always")
def store_i64(address: int, value: int) -> None:
    """Store an int64 at `address`, a multiple of 8, in one piece."""
    view_i64(address, 1)[0] = value


@njit(cache=True, nogil=True)
def load_word(address: int, length: int) -> int:
    """Up to 8 bytes at any address, little-endian."""
    source = view_u8(address, 8)
    word = np.int64(0)
    for i in range(min(length, 8)):
        word |= np.int64(source[i]) << np.int64(8 * i)
    return word  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def copy_bytes(target: int, source: int, count: int) -> None:
    """Copy bytes that do not overlap."""
    to, of = view_u8(target, count), view_u8(source, count)
    for i in range(count):
        to[i] = of[i]


@njit(cache=True, nogil=True)
def hash_id(address: int, length: int) -> int:
    """63 bits of a hash of an id."""
    h = mix(length)
    for at in range(0, length, 8):
        h = mix(h ^ load_word(address + at, length - at))
    return int(h)


@njit(cache=True, nogil=True)
def is_same_id(where: Fields, record: int, address: int, length: int) -> bool:
    """The id of the record at an address is the id given, byte for byte."""
    if load_i64(record + 8 * ID_LENGTH) != length:
        return False
    stored = load_i64(record + 8 * ID)
    if length <= 8:
        return bool(stored == load_word(address, length))
    for at in range(0, length, 8):
        if load_word(where[ID_BYTES] + stored + at, length - at) != load_word(address + at, length - at):
            return False
    return True


@njit(cache=True, nogil=True)
def visible(where: Fields, slot: int, epoch: int) -> int:
    """The version of the chain from `slot` that is visible at an epoch, or -1."""
    while slot >= 0:
        record = where[RECORDS] + 8 * where[RECORD_WORDS] * slot
        if load_i64(record + 8 * CREATED) <= epoch:
            return slot if load_i64(record + 8 * ENDED) > epoch else -1
        slot = load_i64(record + 8 * PREVIOUS)
    return -1
