"""The compiled kernels, callable from Python without the GIL."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

from recserve.kernel_cache import KernelLibrary
from recserve.serving.json_tensors.kernels import KERNELS, exact_layout, layout

LIBRARY: Final = KernelLibrary(
    "recserve.serving.json_tensors.kernels", KERNELS, max(layout.OP, exact_layout.OP), exact_layout.RUN
)

_ENTRY: Final = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def load_kernel(kernel: str) -> Callable[[int, int], int]:
    """A kernel as a function of the addresses of its two records; compiled once a machine."""
    LIBRARY.prepare([kernel for kernels in KERNELS.values() for kernel in kernels])
    entry: Callable[[int, int], int] = _ENTRY(LIBRARY.address_of(kernel))
    return entry
