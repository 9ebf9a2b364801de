"""What the item store keeps of one item version: fixed float32 columns in one row, and ragged parts in typed heaps."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from recserve.dtypes import I64
from recserve.errors import InvariantError, suggest

KINDS: Final = ("ids", "weighted_ids", "numbers", "tokens")
"""Kinds of ragged parts: int64, int64 with float32 weights, float64, UTF-8 tokens. A kind's number is its position."""


@dataclass(frozen=True)
class PayloadLayout:
    """The parts of a payload, in order.

    Attributes:
        fixed: (name, width) of float32 columns; they lie in one row in this order.
        ragged: (name, kind) with a kind of `KINDS`.

    Raises:
        InvariantError: a name occurs twice, a width is below 1 or a kind is unknown.
    """

    fixed: tuple[tuple[str, int], ...] = ()
    ragged: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names = [name for name, _ in (*self.fixed, *self.ragged)]
        for name in names:
            if names.count(name) > 1:
                raise InvariantError(f"payload part {name!r} occurs twice")
        for name, width in self.fixed:
            if width < 1:
                raise InvariantError(f"payload part {name!r} has width {width}")
        for name, kind in self.ragged:
            if kind not in KINDS:
                raise InvariantError(f"payload part {name!r} has unknown kind {kind!r}", hint=suggest(kind, KINDS))

    @cached_property
    def width(self) -> int:
        """Columns of a payload row, W."""
        return sum(width for _, width in self.fixed)

    @cached_property
    def columns(self) -> I64:
        """int64[C, 2]: first column and width of each fixed part."""
        widths = [width for _, width in self.fixed]
        starts = [0, *itertools.accumulate(widths)][: len(widths)]
        return np.array([starts, widths], np.int64).reshape(2, len(widths)).T.copy()

    @cached_property
    def kinds(self) -> tuple[int, ...]:
        """The kind of each ragged part, as its position in `KINDS`."""
        return tuple(KINDS.index(kind) for _, kind in self.ragged)

    @property
    def row_stride(self) -> int:
        """Floats from one stored row to the next: whole cache lines, or a power of two within one."""
        if self.width <= 16:
            return 1 << max(0, self.width - 1).bit_length() if self.width else 0
        return (self.width + 15) // 16 * 16
