"""Runs the instructions of a stage: one compiled call, whatever the plan."""

from __future__ import annotations

from typing import Any

from numba import njit

from recserve.dtypes import U8
from recserve.features.kernels.layout import INSTRUCTION, KERNEL
from recserve.memory import call_kernel, view_i64, view_u8


@njit("int64(int64, int64, int64)", cache=True, nogil=True)
def execute(program: int, count: int, run: int) -> Any:
    """Run `count` instructions, int64[count, INSTRUCTION] at `program`, until one fails; its status, or OK."""
    for i in range(count):
        op = program + i * INSTRUCTION * 8
        status = call_kernel(view_i64(op, INSTRUCTION)[KERNEL], op, run)
        if status != 0:
            return status
    return 0


@njit("void(int64, uint8[::1])", cache=True)
def copy_out(address: int, target: U8) -> None:
    """Copy the bytes at `address` over `target`."""
    source = view_u8(address, len(target))
    for i in range(len(target)):
        target[i] = source[i]
