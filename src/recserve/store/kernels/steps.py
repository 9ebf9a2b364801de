"""Compiled: the texts that the items of a sequence have in stored columns. Axes: C columns, S steps."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from numba import njit

from recserve.dtypes import I64, U8
from recserve.memory import ENDS, STARTS, TOKEN_OFFSETS, VALUES
from recserve.store.kernels.records import copy_bytes
from recserve.tables.kernels import load_i64


@njit("void(int64[:, ::1], int64[:, ::1])", cache=True, nogil=True)
def measure_steps(values: I64, offsets: I64) -> None:
    """Where the text of each step will be: the columns lie one after another, in each the steps.

    Args:
        values: int64[C, FIELDS], value-table rows of tokens with S rows and stride 1.
        offsets: int64[C, S + 1], written: step s of column c is bytes `[offsets[c, s], offsets[c, s + 1])`.
    """
    at = 0
    for c in range(len(values)):
        offsets[c, 0] = at
        for s in range(offsets.shape[1] - 1):
            start, end = load_i64(values[c, STARTS] + 8 * s), load_i64(values[c, ENDS] + 8 * s)
            if end > start:
                tokens = values[c, TOKEN_OFFSETS]
                at += load_i64(tokens + 8 * end) - load_i64(tokens + 8 * start)
            offsets[c, s + 1] = at


@njit("void(int64[:, ::1], int64[:, ::1], uint8[::1])", cache=True, nogil=True)
def copy_steps(values: I64, offsets: I64, data: U8) -> None:
    """Copy the texts to where `measure_steps` put them."""
    base = data.ctypes.data
    for c in range(len(values)):
        for s in range(offsets.shape[1] - 1):
            size = offsets[c, s + 1] - offsets[c, s]
            if size > 0:
                start = load_i64(values[c, STARTS] + 8 * s)
                source = values[c, VALUES] + load_i64(values[c, TOKEN_OFFSETS] + 8 * start)
                copy_bytes(base + offsets[c, s], source, size)
