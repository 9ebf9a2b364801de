"""Numbers to numbers and to dense values."""

from __future__ import annotations

# ruff: noqa: PLR0917  (compiled functions pass their state one by one)
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64, I64
from recserve.features.kernels.ids import align
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import EIGHT_BYTES, OK, OUT, P0, P1, P2, A
from recserve.features.kernels.pointers import load, load_f32, load_f64, store, store_f32
from recserve.features.kernels.read_number import from_bits
from recserve.features.kernels.rows import (
    copy_descriptor,
    copy_elements,
    count_elements,
    distinct_rows,
    end_of,
    first_of,
    room_for,
    set_elements,
    set_offsets,
    take,
    value_at,
)
from recserve.memory import (
    COUNT,
    ENDS,
    EXTRA_COUNT,
    FIELDS,
    OUT_OF_MEMORY,
    ROWS,
    STARTS,
    STRIDE,
    VALUES,
    view_f64,
    view_i64,
)

COMBINERS: Final = {"": 0, "sum": 1, "mean": 2, "min": 3, "max": 4, "count": 5, "gap_min": 6, "gap_max": 7}


@inner
def fill_numbers(op: I64, run: I64) -> Any:
    """FillNumbers. P0, P1: address of the defaults and their number."""
    source, target, defaults = value_at(run, op[A]), value_at(run, op[OUT]), view_f64(op[P0], op[P1])
    rows, empty = distinct_rows(source), 0
    for n in range(rows):
        empty += end_of(source, n) == first_of(source, n)
    copy_descriptor(source, target)
    if empty == 0 or op[P1] == 0:
        return OK
    directory = take(run, 8 * (rows + 1))
    total = count_elements(source, rows) + empty * op[P1]
    if room_for(run, source, target, total, 0, EIGHT_BYTES) != OK:
        return OUT_OF_MEMORY
    offsets, out = view_i64(directory, rows + 1), view_f64(target[VALUES], total)
    offsets[0] = 0
    for n in range(rows):
        first = first_of(source, n)
        count = end_of(source, n) - first
        if count:
            copy_elements(source, first, count, target, offsets[n], EIGHT_BYTES)
        else:
            count = op[P1]
            for j in range(count):
                out[offsets[n] + j] = defaults[j]
        offsets[n + 1] = offsets[n] + count
    set_offsets(target, directory, rows, source[ROWS])
    return OK


@inner
def normalize(op: I64, run: I64) -> Any:
    """Normalize. P0: 1 for log10; P1, P2: bits of a and b."""
    address = align(op, run, EIGHT_BYTES, False)
    if address < 0:
        return OUT_OF_MEMORY
    source = view_i64(address, FIELDS)
    count, a, b = source[COUNT], from_bits(op[P1]), from_bits(op[P2])
    numbers, out = view_f64(source[VALUES], count), view_f64(value_at(run, op[OUT])[VALUES], count)
    if op[P0]:
        for j in range(count):
            x = numbers[j]
            out[j] = np.log10(x) if x > a else x if np.isnan(x) else b
    else:
        for j in range(count):
            out[j] = (numbers[j] - a) / b
    return OK


@inner
def fill_dense(
    starts: int, ends: int, step: int, numbers: int, default: Any, rows: int, directory: int, out: int
) -> None:
    """One float32 a row: the first number of the row, or `default` if it has none or a NaN."""
    store(directory, 0)
    for n in range(rows):
        first = load(starts + n * step)
        x = default
        if load(ends + n * step) > first:
            x = np.float32(load_f64(numbers + 8 * first))
            x = default if np.isnan(x) else x
        store_f32(out + 4 * n, x)
        store(directory + 8 * n + 8, n + 1)


@inner
def make_dense(run: I64, source: I64, target: I64, default_at: int, dim: int) -> Any:
    """Give `target`, which may be `source`, `dim` float32 a row. OK or OUT_OF_MEMORY."""
    rows = distinct_rows(source)
    directory, values = take(run, 8 * (rows + 1)), take(run, 4 * rows * dim)
    if values < 0:
        return OUT_OF_MEMORY
    starts, ends, step, numbers = source[STARTS], source[ENDS], 8 * source[STRIDE], source[VALUES]
    if dim == 1:
        fill_dense(starts, ends, step, numbers, load_f32(default_at), rows, directory, values)
    else:
        store(directory, 0)
        for n in range(rows):
            first, base = load(starts + n * step), values + 4 * n * dim
            count = min(load(ends + n * step) - first, dim)
            for j in range(dim):
                default = load_f32(default_at + 4 * j)
                x = np.float32(load_f64(numbers + 8 * (first + j))) if j < count else default
                store_f32(base + 4 * j, default if np.isnan(x) else x)
            store(directory + 8 * n + 8, (n + 1) * dim)
    set_elements(target, values, 0, 0, rows * dim)
    target[EXTRA_COUNT] = dim
    set_offsets(target, directory, rows, source[ROWS])
    return OK


@inner
def to_dense(op: I64, run: I64) -> Any:
    """ToDense. P0, P1: address of the default, float32, and its size."""
    return make_dense(run, value_at(run, op[A]), value_at(run, op[OUT]), op[P0], op[P1])


@inner
def combine(numbers: F64, count: int, combiner: int) -> Any:
    """One number of `count` > 0 numbers without NaN."""
    if combiner == 5:
        return float(count)
    result = numbers[0]
    if combiner >= 6:
        result = 0.0 if count == 1 else abs(numbers[1] - numbers[0])
        for j in range(2, count):
            gap = abs(numbers[j] - numbers[j - 1])
            result = min(result, gap) if combiner == 6 else max(result, gap)
        return result
    for j in range(1, count):
        x = numbers[j]
        if combiner <= 2:
            result += x
        elif combiner == 3:
            result = min(result, x)
        else:
            result = max(result, x)
    return result / count if combiner == 2 else result


@inner
def combine_numbers(op: I64, run: I64) -> Any:
    """CombineNumbers. P0: combiner. P1: width of the vectors."""
    source, target, width = value_at(run, op[A]), value_at(run, op[OUT]), op[P1]
    rows = distinct_rows(source)
    longest = 0
    for n in range(rows):
        longest = max(longest, end_of(source, n) - first_of(source, n))
    directory, values, scratch = take(run, 8 * (rows + 1)), take(run, 8 * rows * width), take(run, 8 * longest)
    if scratch < 0:
        return OUT_OF_MEMORY
    offsets, out, kept = view_i64(directory, rows + 1), view_f64(values, rows * width), view_f64(scratch, longest)
    offsets[0] = 0
    for n in range(rows):
        first, at = first_of(source, n), offsets[n]
        vectors = (end_of(source, n) - first) // width
        numbers = view_f64(source[VALUES] + 8 * first, vectors * width)
        for component in range(width):
            count = 0
            for v in range(vectors):
                x = numbers[v * width + component]
                if not np.isnan(x):
                    kept[count] = x
                    count += 1
            if count:
                out[at] = combine(kept, count, op[P0])
            elif width > 1 and vectors:
                out[at] = np.nan
            at += count > 0 or (width > 1 and vectors > 0)
        offsets[n + 1] = at
    set_elements(target, values, 0, 0, offsets[rows])
    set_offsets(target, directory, rows, source[ROWS])
    return OK
