"""Compiled work on a batch of ids before it meets a store. Axes: N ids."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import njit

from recserve.dtypes import I64, U8, Bool
from recserve.store.kernels.records import (
    hash_id,
)


@njit(cache=True, nogil=True)
def find_repeated(data: U8, offsets: I64, is_repeated: Bool, seen: I64) -> int:
    """is_repeated[n] = the same id follows later; `seen` is int64[power of two > N], all -1. Their number."""
    base = np.int64(data.ctypes.data)
    count = 0
    for n in range(len(is_repeated) - 1, -1, -1):
        length = offsets[n + 1] - offsets[n]
        at = hash_id(base + offsets[n], length) & (len(seen) - 1)
        is_repeated[n] = False
        while seen[at] >= 0:
            other = offsets[seen[at]]
            is_same = offsets[seen[at] + 1] - other == length
            for i in range(length if is_same else 0):
                if data[other + i] != data[offsets[n] + i]:
                    is_same = False
                    break
            if is_same:
                is_repeated[n] = True
                count += 1
                break
            at = (at + 1) & (len(seen) - 1)
        if not is_repeated[n]:
            seen[at] = n
    return count


@njit(cache=True, nogil=True)
def _parse_integer(data: U8, start: int, end: int) -> tuple[int, bool]:
    """(number, whether the bytes are a decimal int64 as `str` writes it)."""
    is_negative = start < end and data[start] == ord("-")
    first = start + 1 if is_negative else start
    if not 0 < end - first <= 19 or (data[first] == ord("0") and (end - first > 1 or is_negative)):
        return 0, False
    magnitude = np.uint64(0)
    for at in range(first, end):
        if not ord("0") <= data[at] <= ord("9"):
            return 0, False
        magnitude = magnitude * np.uint64(10) + np.uint64(data[at] - ord("0"))
    if magnitude > np.uint64(2**63 - 1) + np.uint64(is_negative):
        return 0, False
    return (-np.int64(magnitude) if is_negative else np.int64(magnitude)), True  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def parse_integers(data: U8, offsets: I64, numbers: I64, is_number: Bool) -> None:
    """Parse N texts: numbers int64[N], is_number bool[N]."""
    for n in range(len(numbers)):
        numbers[n], is_number[n] = _parse_integer(data, offsets[n], offsets[n + 1])
