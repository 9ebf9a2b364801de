"""Tokens written one after the other, their number unknown before.

A writer is int64[WRITER] in the arena. Bytes go to a block of known bound; offsets go to the rest of the arena, of
which `finish` keeps what was used. Nothing else may be taken from the arena between `open_writer` and `finish`.
"""

from __future__ import annotations

from typing import Any, Final

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import OK
from recserve.features.kernels.rows import copy_bytes, give_back, set_elements, take, take_rest
from recserve.memory import OUT_OF_MEMORY, view_i64

TOKENS_WRITTEN: Final = 0
BYTES_WRITTEN: Final = 1
BYTES_AT: Final = 2
OFFSETS_AT: Final = 3
MOST_TOKENS: Final = 4
IS_FULL: Final = 5
WRITER: Final = 6


@inner
def open_writer(run: I64, size_bytes: int) -> Any:
    """Address of a writer of at most `size_bytes` bytes of tokens, or OUT_OF_MEMORY."""
    address = take(run, WRITER * 8)
    block = take(run, size_bytes)
    if block < 0:
        return OUT_OF_MEMORY
    writer = view_i64(address, WRITER)
    offsets, room = take_rest(run)
    writer[TOKENS_WRITTEN], writer[BYTES_WRITTEN], writer[BYTES_AT] = 0, 0, block
    writer[OFFSETS_AT], writer[MOST_TOKENS], writer[IS_FULL] = offsets, room // 8 - 1, 0
    if room < 8:
        return OUT_OF_MEMORY
    view_i64(offsets, 1)[0] = 0
    return address


@inner
def next_address(writer: I64) -> Any:
    """Where the bytes of the next token go."""
    return writer[BYTES_AT] + writer[BYTES_WRITTEN]


@inner
def end_token(writer: I64, size_bytes: int) -> None:
    """Count a token of `size_bytes`, written at `next_address`."""
    if writer[TOKENS_WRITTEN] >= writer[MOST_TOKENS]:
        writer[IS_FULL] = 1
        return
    writer[BYTES_WRITTEN] += size_bytes
    writer[TOKENS_WRITTEN] += 1
    view_i64(writer[OFFSETS_AT] + 8 * writer[TOKENS_WRITTEN], 1)[0] = writer[BYTES_WRITTEN]


@inner
def add_token(writer: I64, source: int, size_bytes: int) -> None:
    """Write the token at `source`."""
    if size_bytes:
        copy_bytes(next_address(writer), source, size_bytes)
    end_token(writer, size_bytes)


@inner
def finish(run: I64, writer: I64, target: I64) -> Any:
    """Give the tokens to `target`, unweighted; its rows are the caller's. OK or OUT_OF_MEMORY."""
    if writer[IS_FULL]:
        return OUT_OF_MEMORY
    give_back(run, writer[OFFSETS_AT], 8 * (writer[TOKENS_WRITTEN] + 1))
    set_elements(target, writer[BYTES_AT], writer[OFFSETS_AT], 0, writer[TOKENS_WRITTEN])
    return OK
