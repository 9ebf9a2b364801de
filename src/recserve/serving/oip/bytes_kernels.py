"""Compiled work on BYTES tensors: a 4-byte little-endian length before each element."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import njit, types

from recserve.dtypes import I64, U8

_READ_ONLY = types.Array(types.uint8, 1, "C", readonly=True)
_BYTES = types.uint8[::1]
_OFFSETS = types.int64[::1]

# The signatures are spelled out so that both are compiled before the first request.


@njit([types.int64(_READ_ONLY, _OFFSETS, _BYTES)], cache=True, nogil=True)
def unpack(packed: U8, offsets: I64, data: U8) -> int:
    """Copy the elements of `packed` side by side into `data`; element n is data[offsets[n]:offsets[n + 1]].

    Args:
        packed: lengths and elements in turn.
        offsets: int64[elements + 1], written.
        data: uint8[at least len(packed)], written.

    Returns:
        Where in `packed` it stopped: len(packed) where all is well. Else −1 − n: the length of element n is cut off
        (its 4 bytes, or what it promises, go beyond the end). More bytes than elements: the place of the first such.
    """
    at = np.int64(0)
    written = np.int64(0)
    offsets[0] = 0
    for n in range(len(offsets) - 1):
        if at + 4 > len(packed):
            return -1 - n
        length = (
            np.int64(packed[at])
            | (np.int64(packed[at + 1]) << 8)
            | (np.int64(packed[at + 2]) << 16)
            | (np.int64(packed[at + 3]) << 24)
        )
        at += 4
        if length > len(packed) - at:
            return -1 - n
        data[written : written + length] = packed[at : at + length]
        at += length
        written += length
        offsets[n + 1] = written
    return int(at)


@njit([types.void(_READ_ONLY, _OFFSETS, _BYTES)], cache=True, nogil=True)
def pack(data: U8, lengths: I64, packed: U8) -> None:
    """Write each length and element in turn into `packed`, uint8[len(data) + 4 × elements]."""
    at = 0
    read = 0
    for length in lengths:
        for byte in range(4):
            packed[at + byte] = (length >> (8 * byte)) & 255
        at += 4
        packed[at : at + length] = data[read : read + length]
        at += length
        read += length
