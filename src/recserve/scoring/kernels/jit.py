"""How kernels are compiled, and how they look at slots."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from recserve.dtypes import F64, I64, U8
from recserve.memory import view_f64, view_u8
from recserve.scoring.kernels.layout import DATA, FAILED, MISSING, ROWS, STATE, STRIDE, VALID

inner: Final = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")
"""Decorator of functions that only compiled code calls. Divisions follow IEEE 754 rather than raise."""


@intrinsic
def as_float(typingctx: Any, word: Any) -> Any:  # noqa: ARG001  (numba passes the typing context)
    """The float64 with the bits of an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.int64), codegen


def _loader(element: Any) -> Any:
    """The intrinsic that reads an `element` at an address: no view, and no look at the sign of an index."""

    @intrinsic
    def load_element(typingctx: Any, address: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            kind = context.get_value_type(element)
            return builder.load(builder.inttoptr(args[0], kind.as_pointer()), typ=kind)

        return element(types.int64), codegen

    return load_element


load_i64 = _loader(types.int64)
load_f64 = _loader(types.float64)


@inner
def data_of(run: I64, slot: int) -> Any:
    """float64[rows] of a slot."""
    return view_f64(run[DATA] + slot * run[STRIDE] * 8, run[ROWS])


@inner
def state_of(run: I64, slot: int) -> Any:
    """uint8[rows] of a slot."""
    return view_u8(run[STATE] + slot * run[STRIDE], run[ROWS])


@inner
def merge(run: I64, args: I64, state: U8, data: F64) -> Any:
    """What strict ops give where an argument is not valid: the first failure, else missing. Whether all are valid.

    Writes `state` in each row, and `data` where that is not VALID.
    """
    state[:] = VALID
    is_clean = True
    for argument in args:
        found = state_of(run, argument)
        dirty = 0
        for n in range(len(state)):
            dirty |= found[n]
        if dirty == 0:
            continue
        is_clean = False
        source = data_of(run, argument)
        for n in range(len(state)):
            if found[n] == FAILED and state[n] != FAILED:
                state[n] = FAILED
                data[n] = source[n]
            elif found[n] == MISSING and state[n] == VALID:
                state[n] = MISSING
                data[n] = np.nan
    return is_clean
