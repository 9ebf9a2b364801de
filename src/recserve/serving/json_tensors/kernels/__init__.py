"""Numba kernels over the text of JSON: `kernel(op, run) -> status` over the records of `layout`."""

from __future__ import annotations

from typing import Final

KERNELS: Final[dict[str, tuple[str, ...]]] = {
    "exact": ("read_exact",),
    "lift": ("lift_numbers",),
    "write": ("write_rows",),
}
"""{module of this package: its kernels}."""
