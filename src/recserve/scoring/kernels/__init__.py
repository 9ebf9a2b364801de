"""Numba kernels of the scoring ops, and what they share.

A kernel is `kernel(op, run) -> OK`: `op` is one instruction, `run` the state of the running program (see `layout`). It
reads the slots of its arguments for the block of rows at hand and writes those of its results. So no kernel knows a
program, and one compilation serves them all. `KERNELS` says where each is.
"""

from __future__ import annotations

from typing import Final

KERNELS: Final[dict[str, tuple[str, ...]]] = {
    "elementwise": ("unary", "binary", "fold", "constant"),
    "states": ("cell_state", "patch", "select", "coalesce", "kleene", "first_true", "choose"),
    "tables": ("lookup", "discretize", "piecewise", "gather", "one_hot"),
    "blocks": ("linear", "dense", "normalize", "argument_of", "weighted_mean", "vote"),
    "trees": ("fast_trees", "general_trees", "tree"),
}
"""{module of this package: its kernels}."""
