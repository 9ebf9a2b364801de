"""Raw memory for kernels: descriptors of ragged values, and a bump allocator.

A stage of the pipeline works on many ragged values at once. They are not Python objects while it runs: each is one row
of a *value table*, `int64[values, FIELDS]`, whose fields are addresses and counts. One compiled kernel can then serve
any number of features, and a stage is one call.

Row n of a value holds the elements `[starts[n * stride], ends[n * stride])` of its arrays. `starts` and `ends` are
int64; stride 1 with `ends = starts + 8` bytes is the usual offsets array, stride 0 gives every row the elements of row
0 (a value of the request, read by each candidate), and any other stride reads a directory (a slot of the item store).

| field         | meaning                                                                              |
|---------------|--------------------------------------------------------------------------------------|
| VALUES        | address of the elements: int64 ids, float64 numbers, or the uint8 bytes of tokens    |
| TOKEN_OFFSETS | tokens only: address of int64; token t is bytes `[offsets[t], offsets[t + 1])`        |
| WEIGHTS       | address of float32, one an element; 0 where unweighted                               |
| STARTS, ENDS  | addresses of int64, see above                                                        |
| STRIDE        | in elements of 8 bytes                                                               |
| ROWS          | number of rows                                                                       |
| COUNT         | number of elements over all rows (of a stored value: 0, unknown)                     |
| EXTRA         | address of what the kind needs besides (the hash index of a map), else 0             |
| EXTRA_COUNT   | its number of elements; of dense rows that lie side by side their width, else 0      |

Fence: this file and kernels are the only places that turn an integer into a pointer.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from recserve.dtypes import I64, U8
from recserve.numba_cache import guard_cache

guard_cache()  # before anything is compiled: all kernels import this file

VALUES: Final = 0
TOKEN_OFFSETS: Final = 1
WEIGHTS: Final = 2
STARTS: Final = 3
ENDS: Final = 4
STRIDE: Final = 5
ROWS: Final = 6
COUNT: Final = 7
EXTRA: Final = 8
EXTRA_COUNT: Final = 9
FIELDS: Final = 10

OUT_OF_MEMORY: Final = -1
"""What `allocate` returns where the arena is full. The caller grows the arena and runs the stage again."""


@intrinsic
def _to_pointer(typingctx: Any, address: Any) -> Any:  # noqa: ARG001  (numba passes the typing context)
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), codegen


@njit(cache=True, inline="always")
def view_i64(address: int, count: int) -> Any:
    """int64[count] at `address`, not owned."""
    return carray(_to_pointer(address), (count,), np.int64)


@njit(cache=True, inline="always")
def view_i32(address: int, count: int) -> Any:
    """int32[count] at `address`, not owned."""
    return carray(_to_pointer(address), (count,), np.int32)


@njit(cache=True, inline="always")
def view_f64(address: int, count: int) -> Any:
    """float64[count] at `address`, not owned."""
    return carray(_to_pointer(address), (count,), np.float64)


@njit(cache=True, inline="always")
def view_f32(address: int, count: int) -> Any:
    """float32[count] at `address`, not owned."""
    return carray(_to_pointer(address), (count,), np.float32)


@njit(cache=True, inline="always")
def view_u8(address: int, count: int) -> Any:
    """uint8[count] at `address`, not owned."""
    return carray(_to_pointer(address), (count,), np.uint8)


@njit(cache=True, inline="always")
def view_i8(address: int, count: int) -> Any:
    """int8[count] at `address`, not owned."""
    return carray(_to_pointer(address), (count,), np.int8)


@njit(cache=True, inline="always")
def view_u16(address: int, count: int) -> Any:
    """uint16[count] at `address`, not owned."""
    return carray(_to_pointer(address), (count,), np.uint16)


@njit(cache=True, inline="always")
def allocate(arena: I64, size_bytes: int) -> int:
    """Take `size_bytes` from the arena; the address, aligned to 64 bytes, or OUT_OF_MEMORY.

    Args:
        arena: int64[2], the next free address and the end of the arena.
        size_bytes: may be 0.
    """
    address = (arena[0] + 63) & ~63
    if address + size_bytes > arena[1]:
        arena[0] = arena[1] + 1  # what follows fails too: one growth is enough
        return OUT_OF_MEMORY
    arena[0] = address + size_bytes
    return address  # type: ignore[no-any-return]  # numba: int64


class Arena:
    """Scratch memory of one running stage. Not for two threads at once; keep one per worker and reuse it."""

    def __init__(self, size_bytes: int = 1 << 20) -> None:
        self.cursor: I64 = np.zeros(2, np.int64)
        self._memory: U8 = np.empty(0, np.uint8)
        self.grow(size_bytes)

    @property
    def size_bytes(self) -> int:
        """Bytes it holds."""
        return len(self._memory)

    def grow(self, size_bytes: int) -> None:
        """Replace the memory by at least `size_bytes`. Everything allocated before is lost."""
        self._memory = np.empty(max(size_bytes, 4096), np.uint8)
        self.reset()

    def reset(self) -> None:
        """Forget all allocations."""
        base = self._memory.ctypes.data
        self.cursor[0] = base
        self.cursor[1] = base + len(self._memory)


@intrinsic
def call_kernel(typingctx: Any, kernel: Any, op: Any, run: Any) -> Any:  # noqa: ARG001  (numba passes the context)
    """Call the kernel at an address with the addresses of an instruction and of what runs; its status."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        word = cgutils.ir.IntType(64)
        pointer = cgutils.ir.FunctionType(word, [word, word]).as_pointer()
        return builder.call(builder.inttoptr(args[0], pointer), args[1:])

    return types.int64(types.int64, types.int64, types.int64), codegen
