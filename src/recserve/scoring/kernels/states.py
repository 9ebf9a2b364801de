"""Ops that look at the state of cells: missing values, failures, branches, three-valued logic."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recserve.dtypes import F64, I64, U8
from recserve.memory import view_i64
from recserve.scoring.kernels.jit import data_of, inner, state_of
from recserve.scoring.kernels.layout import ARGS, COUNT, FAILED, MISSING, OK, OUT, P0, P1, VALID, A, B, C

CELL_OPS: Final = ("is_missing", "is_known", "is_failed", "missing_to_nan", "nan_to_missing")
PATCH_OPS: Final = ("replace_missing", "replace_failed", "mark_missing", "fail")


@inner
def cell_state(op: I64, run: I64) -> Any:
    """Ops of `CELL_OPS`. P0: opcode."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    found, source, opcode = state_of(run, op[A]), data_of(run, op[A]), op[P0]
    for n in range(len(data)):
        state[n], data[n] = VALID, source[n]
        if opcode == 2:
            data[n] = np.float64(found[n] == FAILED)
        elif found[n] == FAILED:
            state[n] = FAILED
        elif opcode == 0:
            data[n] = np.float64(found[n] == MISSING)
        elif opcode == 1:
            data[n] = np.float64(found[n] == VALID)
        elif opcode == 3:
            if found[n] == MISSING:
                data[n] = np.nan
        elif np.isnan(source[n]):
            state[n] = MISSING
    return OK


@inner
def patch(op: I64, run: I64) -> Any:
    """Ops of `PATCH_OPS`. P0: opcode; P1: number of the message."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    found, source = state_of(run, op[A]), data_of(run, op[A])
    other_state, other, opcode = state_of(run, op[B]), data_of(run, op[B]), op[P0]
    for n in range(len(data)):
        if opcode < 2:
            takes_other = found[n] == (MISSING if opcode == 0 else FAILED)
        else:
            takes_other = other_state[n] == FAILED
        state[n] = other_state[n] if takes_other else found[n]
        data[n] = other[n] if takes_other else source[n]
        if opcode >= 2 and other_state[n] == VALID and other[n] != 0.0:
            state[n] = MISSING if opcode == 2 else FAILED
            data[n] = np.nan if opcode == 2 else float(op[P1])
    return OK


@inner
def select(op: I64, run: I64) -> Any:
    """`select`, and `select_or` with a fourth argument."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    tested, condition = state_of(run, op[A]), data_of(run, op[A])
    args = view_i64(op[ARGS], op[COUNT])
    last = args[op[COUNT] - 1]
    for n in range(len(data)):
        chosen = op[A]
        if tested[n] == VALID:
            chosen = op[B] if condition[n] != 0.0 else op[C]
        elif tested[n] == MISSING and op[COUNT] == 4:
            chosen = last
        state[n], data[n] = state_of(run, chosen)[n], data_of(run, chosen)[n]
    return OK


@inner
def coalesce(op: I64, run: I64) -> Any:
    """The first cell that is not missing."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    _copy(run, op[A], state, data)
    for argument in view_i64(op[ARGS], op[COUNT])[1:]:
        found, source = state_of(run, argument), data_of(run, argument)
        for n in range(len(data)):
            if state[n] == MISSING:
                state[n], data[n] = found[n], source[n]
    return OK


@inner
def _copy(run: I64, slot: int, state: U8, data: F64) -> None:
    found, source = state_of(run, slot), data_of(run, slot)
    for n in range(len(data)):
        state[n], data[n] = found[n], source[n]


@inner
def kleene(op: I64, run: I64) -> Any:
    """`and` and `or`. P0: what decides, 0 (false) or 1 (true)."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    args = view_i64(op[ARGS], op[COUNT])
    decisive = float(op[P0])
    state[:] = VALID
    data[:] = 1.0 - decisive
    for argument in args:
        found, source = state_of(run, argument), data_of(run, argument)
        for n in range(len(data)):
            if state[n] == FAILED or (state[n] == VALID and data[n] == decisive):
                continue
            if found[n] == MISSING:
                state[n], data[n] = MISSING, np.nan
            elif found[n] == FAILED or source[n] == decisive:
                state[n], data[n] = found[n], source[n]
    return OK


@inner
def first_true(op: I64, run: I64) -> Any:
    """Number of the n-th true argument; a failed one before it fails. P0: n, from 1."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    args = view_i64(op[ARGS], op[COUNT])
    for n in range(len(data)):
        state[n], data[n] = MISSING, np.nan
        seen = 0
        for i in range(len(args)):
            found, x = state_of(run, args[i])[n], data_of(run, args[i])[n]
            if found == FAILED:
                state[n], data[n] = FAILED, x
                break
            seen += found == VALID and x != 0.0
            if seen == op[P0]:
                state[n], data[n] = VALID, float(i)
                break
    return OK


@inner
def choose(op: I64, run: I64) -> Any:
    """The argument of a number."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    tested, index = state_of(run, op[A]), data_of(run, op[A])
    args = view_i64(op[ARGS], op[COUNT])
    for n in range(len(data)):
        if tested[n] != VALID:
            state[n], data[n] = tested[n], index[n]
        elif index[n] >= 0.0 and index[n] < len(args) - 1:
            chosen = args[1 + int(index[n])]
            state[n], data[n] = state_of(run, chosen)[n], data_of(run, chosen)[n]
        else:
            state[n], data[n] = MISSING, np.nan
    return OK
