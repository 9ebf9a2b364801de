"""Ops on numbers, cell by cell: one kernel for all of one number, one for all of two, one for aggregates."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64, I64
from recserve.memory import view_i64
from recserve.scoring.kernels.jit import as_float, data_of, inner, merge, state_of
from recserve.scoring.kernels.layout import ARGS, COUNT, FAILED, MISSING, OK, OUT, P0, P1, VALID, A, B

ONE: Final = (  # noqa: SIM905  (a table that is easier to read)
    "negate abs sqrt square reciprocal floor ceil rint round_half_up truncate sign relu to_float32 boolean_to_number "
    "number_to_boolean not is_nan is_finite is_integer "
    "exp expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh sigmoid logit softplus erf normal_cdf "
    "normal_pdf inverse_cloglog inverse_loglog inverse_cauchit"
).split()
"""Ops of one argument; the place is the opcode."""
TWO: Final = (  # noqa: SIM905
    "add subtract multiply divide less less_equal greater greater_equal equal not_equal xor power modulo remainder "
    "atan2 hypot"
).split()
FOLDS: Final = "sum product min max mean".split()  # noqa: SIM905
_FIRST_SLOW: Final = 19


@inner
def _simple(opcode: int, x: float) -> Any:
    if opcode == 0:
        return -x
    if opcode == 1:
        return abs(x)
    if opcode == 2:
        return np.sqrt(x)
    if opcode == 3:
        return x * x
    if opcode == 4:
        return 1.0 / x
    if opcode == 5:
        return np.floor(x)
    if opcode == 6:
        return np.ceil(x)
    if opcode == 7:
        return np.rint(x)
    if opcode == 8:
        return np.floor(x + 0.5)
    if opcode == 9:
        return np.trunc(x)
    if opcode == 10:
        return np.sign(x)
    if opcode == 11:
        return x if x > 0.0 or x != x else 0.0  # noqa: PLR0124  (NaN stays)
    if opcode == 12:
        return np.float64(np.float32(x))
    if opcode == 13:
        return x
    if opcode == 14:
        return np.float64(x != 0.0)
    if opcode == 15:
        return 1.0 - x
    if opcode == 16:
        return np.float64(x != x)  # noqa: PLR0124  (NaN)
    if opcode == 17:
        return np.float64(np.isfinite(x))
    return np.float64(np.isfinite(x) and x == np.floor(x))


@inner
def _function(opcode: int, x: float) -> Any:
    if opcode == 19:
        return np.exp(x)
    if opcode == 20:
        return np.expm1(x)
    if opcode == 21:
        return np.log(x)
    if opcode == 22:
        return np.log1p(x)
    if opcode == 23:
        return np.log2(x)
    if opcode == 24:
        return np.log10(x)
    if opcode == 25:
        return np.sin(x)
    if opcode == 26:
        return np.cos(x)
    if opcode == 27:
        return np.tan(x)
    if opcode == 28:
        return np.arcsin(x)
    if opcode == 29:
        return np.arccos(x)
    if opcode == 30:
        return np.arctan(x)
    if opcode == 31:
        return np.sinh(x)
    if opcode == 32:
        return np.cosh(x)
    if opcode == 33:
        return np.tanh(x)
    return _link(opcode, x)


@inner
def _link(opcode: int, x: float) -> Any:
    if opcode == 34:
        return 1.0 / (1.0 + np.exp(-x))
    if opcode == 35:
        return np.log(x / (1.0 - x))
    if opcode == 36:
        return np.log1p(np.exp(x))
    if opcode == 37:
        return math.erf(x)
    if opcode == 38:
        return 0.5 * math.erfc(-x / math.sqrt(2.0))
    if opcode == 39:
        return np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    if opcode == 40:
        return 1.0 - np.exp(-np.exp(x))
    if opcode == 41:
        return np.exp(-np.exp(-x))
    return 0.5 + np.arctan(x) / math.pi


@inner
def unary(op: I64, run: I64) -> Any:
    """Ops of `ONE`. P0: opcode."""
    state, data, source = state_of(run, op[OUT]), data_of(run, op[OUT]), data_of(run, op[A])
    is_clean = merge(run, view_i64(op[ARGS], 1), state, data)
    opcode = op[P0]
    for n in range(len(data)):
        if is_clean or state[n] == VALID:
            data[n] = _simple(opcode, source[n]) if opcode < _FIRST_SLOW else _function(opcode, source[n])
    return OK


@inner
def _pair(opcode: int, x: float, y: float) -> Any:
    if opcode == 4:
        return np.float64(x < y)
    if opcode == 5:
        return np.float64(x <= y)
    if opcode == 6:
        return np.float64(x > y)
    if opcode == 7:
        return np.float64(x >= y)
    if opcode == 8:
        return np.float64(x == y)
    if opcode in {9, 10}:
        return np.float64(x != y)
    if opcode == 11:
        return np.power(x, y)
    if opcode == 12:
        return x - np.floor(x / y) * y
    if opcode == 13:
        return np.fmod(x, y)
    if opcode == 14:
        return np.arctan2(x, y)
    return np.hypot(x, y)


@inner
def _arithmetic(opcode: int, x: float, y: float) -> Any:
    if opcode == 0:
        return x + y
    if opcode == 1:
        return x - y
    if opcode == 2:
        return x * y
    return x / y


@inner
def binary(op: I64, run: I64) -> Any:
    """Ops of `TWO`. P0: opcode."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    left, right = data_of(run, op[A]), data_of(run, op[B])
    is_clean = merge(run, view_i64(op[ARGS], 2), state, data)
    opcode = op[P0]
    for n in range(len(data)):
        if is_clean or state[n] == VALID:
            x, y = left[n], right[n]
            data[n] = _arithmetic(opcode, x, y) if opcode < 4 else _pair(opcode, x, y)
    return OK


@inner
def _fold(opcode: int, total: float, x: float) -> Any:
    if opcode in {0, 4}:
        return total + x
    if opcode == 1:
        return total * x
    if opcode == 2:
        return x if x < total else total
    return x if x > total else total


@inner
def fold(op: I64, run: I64) -> Any:
    """Ops of `FOLDS`. P0: opcode; P1: whether missing arguments are left out."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    args, opcode = view_i64(op[ARGS], op[COUNT]), op[P0]
    for n in range(len(data)):
        total, known, worst, message = _start(opcode), 0, VALID, 0.0
        for argument in args:
            found = state_of(run, argument)[n]
            x = data_of(run, argument)[n]
            if found == VALID:
                total = x if known == 0 and opcode in {2, 3} else _fold(opcode, total, x)
                known += 1
            elif found == FAILED:
                if worst != FAILED:
                    worst, message = FAILED, x
            elif worst == VALID and op[P1] == 0:
                worst = MISSING
        if worst == VALID and known == 0:
            worst = MISSING
        state[n] = worst
        if worst == VALID:
            data[n] = total / known if opcode == 4 else total
        else:
            data[n] = message if worst == FAILED else np.nan
    return OK


@inner
def _start(opcode: int) -> Any:
    return 1.0 if opcode == 1 else 0.0


@inner
def constant(op: I64, run: I64) -> Any:
    """A constant or a failure. P0: bits of the data; P1: state."""
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    value: F64 = as_float(op[P0])
    for n in range(len(data)):
        data[n] = value
        state[n] = op[P1]
    return OK
