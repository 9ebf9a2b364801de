"""The compiled kernels of the plan's ops."""

from __future__ import annotations

from typing import Final

from recserve.features.kernels import KERNELS, layout
from recserve.kernel_cache import KernelLibrary

LIBRARY: Final = KernelLibrary("recserve.features.kernels", KERNELS, layout.INSTRUCTION, layout.RUN)
