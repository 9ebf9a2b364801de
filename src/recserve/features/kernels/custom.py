"""Calls of registered functions from compiled code.

A function is called through a pointer with the addresses of the numbers of one row, input after input, and of their
offsets. `entry_of` compiles what stands behind the pointer; `call_compiled` is one kernel for all functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recserve.dtypes import I64
from recserve.features.kernels.jit import inner
from recserve.features.kernels.layout import OK, OUT, P0, P1, P2
from recserve.features.kernels.rows import end_of, first_of, set_elements, set_offsets, take, value_at
from recserve.memory import OUT_OF_MEMORY, ROWS, STRIDE, VALUES, view_f64, view_i64


@intrinsic
def _call(typingctx: Any, function: Any, values: Any, offsets: Any) -> Any:  # noqa: ARG001  (numba passes the context)
    """Call float64(int64, int64) at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        word = cgutils.ir.IntType(64)
        pointer = cgutils.ir.FunctionType(cgutils.ir.DoubleType(), [word, word]).as_pointer()
        return builder.call(builder.inttoptr(args[0], pointer), args[1:])

    return types.float64(types.int64, types.int64, types.int64), codegen


@inner
def call_compiled(op: I64, run: I64) -> Any:
    """CallCompiled. P0: address of the slots of the sources. P1: their number. P2: address of the function."""
    target, slots, inputs = value_at(run, op[OUT]), view_i64(op[P0], op[P1]), op[P1]
    rows, distinct = value_at(run, slots[0])[ROWS], 1
    for slot in slots:
        source = value_at(run, slot)
        rows = max(rows, source[ROWS])
        if source[STRIDE] != 0:
            distinct = rows
    longest = 0
    for n in range(distinct):
        count = 0
        for slot in slots:
            source = value_at(run, slot)
            count += end_of(source, n) - first_of(source, n)
        longest = max(longest, count)
    directory, values = take(run, 8 * (distinct + 1)), take(run, 8 * distinct)
    numbers, cuts = take(run, 8 * longest), take(run, 8 * (inputs + 1))
    if cuts < 0:
        return OUT_OF_MEMORY
    offsets, out = view_i64(directory, distinct + 1), view_f64(values, distinct)
    row, bounds = view_f64(numbers, longest), view_i64(cuts, inputs + 1)
    offsets[0], bounds[0] = 0, 0
    for n in range(distinct):
        is_whole = True
        for i in range(inputs):
            source = value_at(run, slots[i])
            first = first_of(source, n)
            count = end_of(source, n) - first
            given = view_f64(source[VALUES] + 8 * first, count)
            for j in range(count):
                row[bounds[i] + j] = given[j]
            bounds[i + 1] = bounds[i] + count
            is_whole = is_whole and count > 0
        offsets[n + 1] = offsets[n]
        if is_whole:
            result = _call(op[P2], numbers, cuts)
            if not np.isnan(result):
                out[offsets[n]] = result
                offsets[n + 1] += 1
    set_elements(target, values, 0, 0, offsets[distinct])
    set_offsets(target, directory, distinct, rows)
    return OK


def entry_of(function: Callable[..., Any], inputs: int) -> Any:
    """A C function float64(values, offsets) that calls `function` with an array for each of 1 to 4 inputs.

    Keep the result as long as its `address` is in use.

    Raises:
        numba.core.errors.NumbaError: Numba cannot compile the function.
    """
    compiled = function if hasattr(function, "py_func") else numba.njit(error_model="numpy")(function)

    @numba.njit
    def part(values: int, offsets: int, i: int) -> Any:
        bounds = view_i64(offsets, i + 2)
        return view_f64(values + 8 * bounds[i], bounds[i + 1] - bounds[i])

    def one(values: int, offsets: int) -> Any:
        return compiled(part(values, offsets, 0))

    def two(values: int, offsets: int) -> Any:
        return compiled(part(values, offsets, 0), part(values, offsets, 1))

    def three(values: int, offsets: int) -> Any:
        return compiled(part(values, offsets, 0), part(values, offsets, 1), part(values, offsets, 2))

    def four(values: int, offsets: int) -> Any:
        a, b = part(values, offsets, 0), part(values, offsets, 1)
        return compiled(a, b, part(values, offsets, 2), part(values, offsets, 3))

    return numba.cfunc("float64(int64, int64)")((one, two, three, four)[inputs - 1])
