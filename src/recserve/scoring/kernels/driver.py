"""Runs a program: one compiled call, whatever the program and the number of rows."""

from __future__ import annotations

import numpy as np
from numba import njit

from recserve.memory import call_kernel, view_f64, view_i64, view_u8
from recserve.scoring.kernels.layout import (
    COLUMNS,
    DATA,
    INPUTS,
    INSTRUCTION,
    KERNEL,
    LENGTH,
    OUT_DATA,
    OUT_SLOTS,
    OUT_STATE,
    OUTPUTS,
    PROGRAM,
    ROWS,
    RUN,
    STATE,
    STRIDE,
    TOTAL,
)


@njit("void(int64)", cache=True, nogil=True)
def execute(run: int) -> None:
    """Run all instructions over the rows at hand."""
    state = view_i64(run, RUN)
    for i in range(state[LENGTH]):
        op = state[PROGRAM] + i * INSTRUCTION * 8
        call_kernel(view_i64(op, INSTRUCTION)[KERNEL], op, run)


@njit("void(int64, int64)", cache=True, nogil=True)
def load_columns(run: int, first: int) -> None:
    """Copy raw columns from row `first` on into their slots; NaN is missing."""
    state = view_i64(run, RUN)
    columns, stride, rows = view_i64(state[COLUMNS], state[INPUTS]), state[STRIDE], state[ROWS]
    for slot in range(state[INPUTS]):
        source = view_f64(columns[slot] + 8 * first, rows)
        data = view_f64(state[DATA] + slot * stride * 8, rows)
        states = view_u8(state[STATE] + slot * stride, rows)
        for n in range(rows):
            data[n] = source[n]
            states[n] = source[n] != source[n]


@njit("void(int64, int64)", cache=True, nogil=True)
def store_outputs(run: int, first: int) -> None:
    """Copy what leaves to row `first` and on of the outputs; missing is NaN."""
    state = view_i64(run, RUN)
    slots, stride, rows = view_i64(state[OUT_SLOTS], state[OUTPUTS]), state[STRIDE], state[ROWS]
    for i in range(state[OUTPUTS]):
        place = i * state[TOTAL] + first
        data, states = view_f64(state[OUT_DATA] + 8 * place, rows), view_u8(state[OUT_STATE] + place, rows)
        source = view_f64(state[DATA] + slots[i] * stride * 8, rows)
        found = view_u8(state[STATE] + slots[i] * stride, rows)
        for n in range(rows):
            states[n] = found[n]
            data[n] = np.nan if found[n] == 1 else source[n]


@njit("void(int64)", cache=True, nogil=True)
def run_all(run: int) -> None:
    """Load, run and store block after block, until all rows of the call are done."""
    state = view_i64(run, RUN)
    for first in range(0, state[TOTAL], state[STRIDE]):
        state[ROWS] = min(state[STRIDE], state[TOTAL] - first)
        load_columns(run, first)
        execute(run)
        store_outputs(run, first)
