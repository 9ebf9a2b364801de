"""Giving memory back to the system after a version has gone.

CPython and ONNX Runtime free their blocks; glibc keeps the pages for later. Without a trim a process that changes
versions seems to grow with each of them.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache


@cache
def _trim() -> Callable[[int], int] | None:
    """Glibc's `malloc_trim`; None where the C library has none."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found


def return_freed_memory() -> bool:
    """Collect cycles and give free pages back; False where the C library has no way to."""
    gc.collect()
    trim = _trim()
    if trim is None:
        return False
    trim(0)
    return True
