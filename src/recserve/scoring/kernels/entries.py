"""The compiled kernels of the scoring ops."""

from __future__ import annotations

from typing import Final

from recserve.kernel_cache import KernelLibrary
from recserve.scoring.kernels import KERNELS, layout

LIBRARY: Final = KernelLibrary("recserve.scoring.kernels", KERNELS, layout.INSTRUCTION, layout.RUN)
