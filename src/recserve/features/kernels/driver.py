"""Runs the instructions of a stage: one compiled call, whatever the plan."""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from recserve.dtypes import U8
from recserve.features.kernels.layout import INSTRUCTION, KERNEL
from recserve.memory import view_i64, view_u8


@intrinsic
def _call_kernel(typingctx: Any, kernel: Any, op: Any, run: Any) -> Any:  # noqa: ARG001  (numba passes the context)
    """Call the kernel at an address with the addresses of an instruction and of the run."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        word = cgutils.ir.IntType(64)
        pointer = cgutils.ir.FunctionType(word, [word, word]).as_pointer()
        return builder.call(builder.inttoptr(args[0], pointer), args[1:])

    return types.int64(types.int64, types.int64, types.int64), codegen


@njit("int64(int64, int64, int64)", cache=True, nogil=True)
def execute(program: int, count: int, run: int) -> Any:
    """Run `count` instructions, int64[count, INSTRUCTION] at `program`, until one fails; its status, or OK."""
    for i in range(count):
        op = program + i * INSTRUCTION * 8
        status = _call_kernel(view_i64(op, INSTRUCTION)[KERNEL], op, run)
        if status != 0:
            return status
    return 0


@njit("void(int64, uint8[::1])", cache=True)
def copy_out(address: int, target: U8) -> None:
    """Copy the bytes at `address` over `target`."""
    source = view_u8(address, len(target))
    for i in range(len(target)):
        target[i] = source[i]
