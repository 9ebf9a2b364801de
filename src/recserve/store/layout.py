"""What the item store keeps of one item version: fixed columns of numbers in one row, and ragged parts in typed heaps.

Each fixed column is stored in a precision of `recserve.rows.formats` and read as float32. Columns start at whole words.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from recserve.dtypes import I64
from recserve.errors import InvariantError, suggest
from recserve.rows.formats import PRECISIONS, check_precision, row_bytes

KINDS: Final = ("ids", "weighted_ids", "numbers", "tokens")
"""Kinds of ragged parts: int64, int64 with float32 weights, float64, UTF-8 tokens. A kind's number is its position."""


@dataclass(frozen=True)
class PayloadLayout:
    """The parts of a payload, in order.

    Attributes:
        fixed: (name, width) of float32 columns; they lie in one row in this order.
        ragged: (name, kind) with a kind of `KINDS`.
        precisions: of each fixed column; empty: all are float32.

    Raises:
        InvariantError: a name occurs twice, a width is below 1, a kind is unknown, or there is not one precision for
            each fixed column.
        ConfigError: an unknown precision.
    """

    fixed: tuple[tuple[str, int], ...] = ()
    ragged: tuple[tuple[str, str], ...] = ()
    precisions: tuple[str, ...] = ()

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
        if self.precisions and len(self.precisions) != len(self.fixed):
            raise InvariantError(f"{len(self.precisions)} precisions for {len(self.fixed)} fixed payload parts")
        for (name, _), precision in zip(self.fixed, self.precisions, strict=False):
            check_precision(precision, f"payload part {name!r}")

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

    @cached_property
    def places(self) -> I64:
        """int64[C, 3]: first byte of each fixed part in a stored row, its width, and the code of its precision."""
        places, start = [], 0
        for (_, width), precision in zip(self.fixed, self.precisions or ["fp32"] * len(self.fixed), strict=True):
            places.append((start, width, PRECISIONS.index(precision)))
            start += row_bytes(precision, width)
        return np.array(places, np.int64).reshape(len(places), 3)

    @cached_property
    def fixed_bytes(self) -> int:
        """Bytes of the fixed parts of an item."""
        return sum(row_bytes(PRECISIONS[code], width) for _, width, code in self.places.tolist())

    @cached_property
    def row_stride(self) -> int:
        """Bytes from one stored row to the next: the least with which no row lies in more cache lines than it needs.

        A row that ends r bytes behind a multiple of 64 fits when rows start at multiples of a power of two from r on.
        """
        tail = (self.fixed_bytes - 1) % 64 + 1
        step = 1 << (tail - 1).bit_length()
        return -(-self.fixed_bytes // step) * step
