"""Ops with many arguments or results: sums, layers, normalisations, votes."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64, I64, U8
from recserve.memory import view_f64, view_i64
from recserve.scoring.kernels.jit import as_float, data_of, inner, merge, state_of
from recserve.scoring.kernels.layout import (
    ARGS,
    COUNT,
    FAILED,
    MISSING,
    OK,
    OUT,
    OUTS,
    P0,
    P1,
    P2,
    P3,
    RESULTS,
    VALID,
)

ACTIVATIONS: Final = (  # noqa: SIM905  (a table that is easier to read)
    "identity logistic tanh exponential rectifier reciprocal square gauss sine cosine elliott arctan softplus elu"
).split()


@inner
def _add_products(  # noqa: PLR0917  (compiled functions pass their state one by one)
    run: I64, slot: int, weight: float, data: F64, state: U8, is_clean: bool, single: bool
) -> None:
    """Data += weight · x in each valid row, in float32 where `single`."""
    source = data_of(run, slot)
    if single:
        factor = np.float32(weight)
        for n in range(len(data)):
            if is_clean or state[n] == VALID:
                data[n] = np.float32(data[n]) + factor * np.float32(source[n])
    elif is_clean:
        for n in range(len(data)):
            data[n] = data[n] + weight * source[n]
    else:
        for n in range(len(data)):
            if state[n] == VALID:
                data[n] = data[n] + weight * source[n]


@inner
def _set(data: F64, state: U8, value: float) -> None:
    for n in range(len(data)):
        if state[n] == VALID:
            data[n] = value


@inner
def linear(op: I64, run: I64) -> Any:
    """A linear sum. P0: weights; P1: bits of the bias; P2: whether in float32; P3: whether the bias comes last."""
    state, data, args = state_of(run, op[OUT]), data_of(run, op[OUT]), view_i64(op[ARGS], op[COUNT])
    is_clean = merge(run, args, state, data)
    weights, bias, single = view_f64(op[P0], len(args)), as_float(op[P1]), op[P2] != 0
    start = -0.0 if op[P3] else bias
    _set(data, state, np.float64(np.float32(start)) if single else start)
    for i in range(len(args)):
        _add_products(run, args[i], weights[i], data, state, is_clean, single)
    if op[P3]:
        for n in range(len(data)):
            if state[n] == VALID:
                data[n] = np.float32(data[n]) + np.float32(bias) if single else data[n] + bias
    return OK


@inner
def _activation(code: int, x: float) -> Any:
    if code == 1:
        return 1.0 / (1.0 + np.exp(-x))
    if code == 2:
        return np.tanh(x)
    if code == 3:
        return np.exp(x)
    if code == 4:
        return x if x > 0.0 or np.isnan(x) else 0.0
    if code == 5:
        return 1.0 / x
    if code == 6:
        return x * x
    if code == 7:
        return np.exp(-(x * x))
    if code == 8:
        return np.sin(x)
    if code == 9:
        return np.cos(x)
    if code == 10:
        return x / (1.0 + abs(x))
    if code == 11:
        return 2.0 * np.arctan(x) / math.pi
    if code == 12:
        return np.log1p(np.exp(x))
    return x if x >= 0.0 else np.exp(x) - 1.0


@inner
def dense(op: I64, run: I64) -> Any:
    """A layer. P0: weights float64[COUNT, RESULTS]; P1: biases; P2: activation; P3: whether in float32."""
    args, outs = view_i64(op[ARGS], op[COUNT]), view_i64(op[OUTS], op[RESULTS])
    weights, biases, single = view_f64(op[P0], len(args) * len(outs)), view_f64(op[P1], len(outs)), op[P3] != 0
    is_clean = True
    for unit in range(len(outs)):
        state, data = state_of(run, outs[unit]), data_of(run, outs[unit])
        if unit == 0 or not is_clean:
            is_clean = merge(run, args, state, data)
        else:
            state[:] = VALID
        bias = biases[unit]
        _set(data, state, np.float64(np.float32(bias)) if single else bias)
        for i in range(len(args)):
            _add_products(run, args[i], weights[i * len(outs) + unit], data, state, is_clean, single)
        if op[P2] != 0:
            for n in range(len(data)):
                if state[n] == VALID:
                    data[n] = _activation(op[P2], data[n])
    return OK


@inner
def normalize(op: I64, run: I64) -> Any:
    """Softmax (P0 1) or simplemax (P0 0)."""
    args, outs = view_i64(op[ARGS], op[COUNT]), view_i64(op[OUTS], op[RESULTS])
    state, data = state_of(run, op[OUT]), data_of(run, op[OUT])
    is_clean = merge(run, args, state, data)
    for i in range(1, len(outs)):
        other_state, other = state_of(run, outs[i]), data_of(run, outs[i])
        for n in range(len(data)):
            other_state[n] = state[n]
            if not is_clean:
                other[n] = data[n]
    for n in range(len(data)):
        if state[n] != VALID:
            continue
        top, total = data_of(run, args[0])[n], 0.0
        for argument in args:
            x = data_of(run, argument)[n]
            top = max(top, x)
        for i in range(len(args)):
            x = data_of(run, args[i])[n]
            power = np.exp(x - top) if op[P0] else x
            data_of(run, outs[i])[n] = power
            total += power
        for out in outs:
            found = data_of(run, out)
            found[n] = found[n] / total
    return OK


@inner
def _merged_row(run: I64, args: I64, n: int, skips: bool) -> Any:
    """State and data that decide a row: the first failure, else missing unless that is skipped, else VALID."""
    state = VALID
    for argument in args:
        found = state_of(run, argument)[n]
        if found == FAILED:
            return FAILED, data_of(run, argument)[n]
        if found == MISSING and not skips:
            state = MISSING
    return state, np.nan


@inner
def argument_of(op: I64, run: I64) -> Any:
    """Number of the largest argument (P0 1) or the smallest (P0 -1). P1: whether missing ones are left out."""
    state, data, args = state_of(run, op[OUT]), data_of(run, op[OUT]), view_i64(op[ARGS], op[COUNT])
    sign = np.float64(op[P0])
    for n in range(len(data)):
        state[n], data[n] = _merged_row(run, args, n, op[P1] != 0)
        if state[n] != VALID:
            continue
        best, top = -1, 0.0
        for i in range(len(args)):
            x = sign * data_of(run, args[i])[n]  # NaN where it is missing
            if not np.isnan(x) and (best < 0 or x > top):
                best, top = i, x
        data[n] = float(best) if best >= 0 else np.nan
        state[n] = VALID if best >= 0 else MISSING
    return OK


@inner
def weighted_mean(op: I64, run: I64) -> Any:
    """Σ weight · x / Σ weight. P0: weights; P1: whether missing ones are left out."""
    state, data, args = state_of(run, op[OUT]), data_of(run, op[OUT]), view_i64(op[ARGS], op[COUNT])
    weights = view_f64(op[P0], len(args))
    for n in range(len(data)):
        state[n], data[n] = _merged_row(run, args, n, op[P1] != 0)
        if state[n] != VALID:
            continue
        total, weight, known = 0.0, 0.0, 0
        for i in range(len(args)):
            if state_of(run, args[i])[n] == VALID:
                total = total + weights[i] * data_of(run, args[i])[n]
                weight = weight + weights[i]
                known += 1
        data[n] = total / weight if known else np.nan
        state[n] = VALID if known else MISSING
    return OK


@inner
def vote(op: I64, run: I64) -> Any:
    """Weights by class. P0: weights; P1: whether missing ones are left out; P2: classes, float64[RESULTS]."""
    args, outs = view_i64(op[ARGS], op[COUNT]), view_i64(op[OUTS], op[RESULTS])
    weights, classes = view_f64(op[P0], len(args)), view_f64(op[P2], len(outs))
    for n in range(len(data_of(run, op[OUT]))):
        state, x = _merged_row(run, args, n, op[P1] != 0)
        for i in range(len(outs)):
            if state == VALID:
                x = 0.0
                for j in range(len(args)):
                    if data_of(run, args[j])[n] == classes[i]:  # NaN, which equals nothing, where it is missing
                        x = x + weights[j]
            state_of(run, outs[i])[n], data_of(run, outs[i])[n] = state, x
    return OK
