"""Ops that look things up: keys, intervals, points, rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from recserve.dtypes import F64, I64
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
    P4,
    P5,
    RESULTS,
    VALID,
    A,
)


@inner
def place_of(values: F64, x: float) -> Any:
    """Place of x in ascending values, or -1."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low if low < len(values) and values[low] == x else -1


@inner
def _not_above(values: F64, x: float) -> Any:
    """How many of ascending values are at most x."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def part_place(part: I64, x: float) -> Any:
    """Place of one key part, or -1. `part`: 1 for codes (else numbers), address, count, factor."""
    if part[0] == 0:
        return place_of(view_f64(part[1], part[2]), x)
    # A code beyond the program's is a text that it does not know.
    return view_i64(part[1], part[2])[int(x)] if x < part[2] else -1


@inner
def lookup(op: I64, run: I64) -> Any:
    """Value of a key.

    P0: parts of the keys, int64[COUNT, 4] (see `part_place`); P1, P2: ascending combined keys and their number, 0 where
    one part is the key; P3: a value a key; P4, P5: bits of the default and of the result for missing. NaN is missing.
    """
    state, data, args = state_of(run, op[OUT]), data_of(run, op[OUT]), view_i64(op[ARGS], op[COUNT])
    is_clean = merge(run, args, state, data)
    parts, default, missing = view_i64(op[P0], 4 * len(args)), as_float(op[P4]), as_float(op[P5])
    combined, values = view_f64(op[P1], op[P2]), view_f64(op[P3], 1)
    for n in range(len(data)):
        if not is_clean and state[n] == FAILED:
            continue
        x = missing
        if is_clean or state[n] == VALID:
            x, place = default, 0
            for k in range(len(args)):
                found = part_place(parts[4 * k : 4 * k + 4], data_of(run, args[k])[n])
                place = place + found * parts[4 * k + 3] if found >= 0 and place >= 0 else -1
            if place >= 0 and op[P1] != 0:
                place = place_of(combined, place)
            if place >= 0:
                x = values[place]
        data[n] = x
        state[n] = MISSING if np.isnan(x) else VALID
    return OK


@inner
def one_hot(op: I64, run: I64) -> Any:
    """1.0 in the result of the argument's value. P0: the part that finds its number (see `part_place`)."""
    state, data, outs = state_of(run, op[OUT]), data_of(run, op[OUT]), view_i64(op[OUTS], op[RESULTS])
    merge(run, view_i64(op[ARGS], 1), state, data)
    source, part = data_of(run, op[A]), view_i64(op[P0], 4)
    for i in range(1, len(outs)):
        other_state, other = state_of(run, outs[i]), data_of(run, outs[i])
        for n in range(len(data)):
            other_state[n] = state[n]
            other[n] = 0.0 if state[n] == VALID else data[n]
    for n in range(len(data)):
        if state[n] == VALID:
            data[n] = 0.0
            place = part_place(part, source[n])
            if place >= 0:
                data_of(run, outs[place])[n] = 1.0
    return OK


@inner
def discretize(op: I64, run: I64) -> Any:
    """Value of an interval. P0, P1: bounds; P2: 1 where low is closed + 2 where high is; P3: count; P4: values; P5."""
    state, data, source = state_of(run, op[OUT]), data_of(run, op[OUT]), data_of(run, op[A])
    merge(run, view_i64(op[ARGS], 1), state, data)
    count, default = op[P3], as_float(op[P5])
    lows, highs, closed = view_f64(op[P0], count), view_f64(op[P1], count), view_i64(op[P2], count)
    values = view_f64(op[P4], count)
    for n in range(len(data)):
        if state[n] != VALID:
            continue
        x, found = source[n], default
        for i in range(count):
            above = x > lows[i] or ((closed[i] & 1) and x == lows[i])
            if above and (x < highs[i] or ((closed[i] & 2) and x == highs[i])):
                found = values[i]
                break
        data[n] = found
        state[n] = MISSING if np.isnan(found) else VALID
    return OK


@inner
def piecewise(op: I64, run: I64) -> Any:
    """Linear between points. P0, P1: xs and ys; P2: count; P3: outside, 0 extrapolate, 1 clamp, 2 missing."""
    state, data, source = state_of(run, op[OUT]), data_of(run, op[OUT]), data_of(run, op[A])
    merge(run, view_i64(op[ARGS], 1), state, data)
    count, outside = op[P2], op[P3]
    xs, ys = view_f64(op[P0], count), view_f64(op[P1], count)
    for n in range(len(data)):
        if state[n] != VALID:
            continue
        x = source[n]
        if np.isnan(x):
            data[n] = x
        elif outside != 0 and (x < xs[0] or x > xs[count - 1]):
            data[n] = ys[0] if x < xs[0] else ys[count - 1]
            if outside == 2:
                state[n], data[n] = MISSING, np.nan
        else:
            i = min(max(_not_above(xs, x) - 1, 0), count - 2)
            if xs[i + 1] == xs[i]:
                data[n] = ys[i + 1]
            else:
                data[n] = ys[i] + (x - xs[i]) / (xs[i + 1] - xs[i]) * (ys[i + 1] - ys[i])
    return OK


@inner
def gather(op: I64, run: I64) -> Any:
    """A row of a table. P0: float64[P1, RESULTS], NaN for missing."""
    state, data, outs = state_of(run, op[OUT]), data_of(run, op[OUT]), view_i64(op[OUTS], op[RESULTS])
    merge(run, view_i64(op[ARGS], 1), state, data)
    source, table = data_of(run, op[A]), view_f64(op[P0], op[P1] * len(outs))
    for i in range(len(outs) - 1, -1, -1):  # the first result is last: its states say which rows are valid
        other_state, other = state_of(run, outs[i]), data_of(run, outs[i])
        for n in range(len(data)):
            x = data[n]
            if state[n] == VALID:
                inside = source[n] >= 0.0 and source[n] < op[P1]
                x = table[int(source[n]) * len(outs) + i] if inside else np.nan
            other_state[n] = MISSING if state[n] == VALID and np.isnan(x) else state[n]
            other[n] = x
    return OK
