"""Symbolic sizes of axes: products of an integer and of named sizes, such as `N`, `L` or `4·L·N`.

`N`, the number of candidates, has the name `ROWS`. Sums and other functions of sizes get a fresh name where they arise,
so that equality of two sizes here means equality at run time; sizes that differ here may still be equal there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

ROWS: Final = "N"
"""The number of candidates: axis 0 of every input."""


@dataclass(frozen=True)
class Size:
    """`factor` times the product of `names` (sorted; a name may repeat)."""

    factor: int
    names: tuple[str, ...] = ()

    def __mul__(self, other: Size) -> Size:
        if self.factor * other.factor == 0:
            return Size(0)
        return Size(self.factor * other.factor, tuple(sorted(self.names + other.names)))

    def __str__(self) -> str:
        parts = ([] if self.factor == 1 and self.names else [str(self.factor)]) + list(self.names)
        return "·".join(parts)

    @property
    def is_static(self) -> bool:
        """No names: an integer."""
        return not self.names

    @property
    def has_rows(self) -> bool:
        """It depends on the number of candidates."""
        return ROWS in self.names

    def divide(self, other: Size) -> Size | None:
        """The exact quotient, or None where there is none."""
        left, right = Counter(self.names), Counter(other.names)
        if other.factor == 0 or self.factor % other.factor or right - left:
            return None
        return Size(self.factor // other.factor, tuple(sorted((left - right).elements())))


Dims = tuple[Size, ...]

ONE: Final = Size(1)
N: Final = Size(1, (ROWS,))


def named(name: str) -> Size:
    """The size called `name`."""
    return Size(1, (name,))


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; 1 for none."""
    result = ONE
    for size in sizes:
        result = result * size
    return result


def static(dims: Iterable[Size]) -> tuple[int, ...] | None:
    """The sizes as integers, or None where one is symbolic."""
    result = tuple(dims)
    return tuple(d.factor for d in result) if all(d.is_static for d in result) else None


def elements(dims: Iterable[Size], assumed: int) -> int:
    """The number of elements for one row: N counts 1 and every other named size `assumed`."""
    return math.prod(d.factor * assumed ** sum(name != ROWS for name in d.names) for d in dims)
