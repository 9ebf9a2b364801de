"""The pieces that a symbolic vector is made of; `vectors` says what can be done with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recserve.scoring.graph import Value

if TYPE_CHECKING:
    from recserve.importers.pipelines.vectors import Vector

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Linear:
    """An element as slope · base + shift, for sums that may take it apart.

    Attributes:
        base: the value it is made of.
        slope: finite.
        shift: finite.
    """

    base: Value
    slope: float
    shift: float


@dataclass(frozen=True)
class Scalars:
    """Elements with a value each.

    Attributes:
        values: one an element.
        parts: the same elements as linear functions of something simpler, or None; as many as `values`.
    """

    values: tuple[Value, ...]
    parts: tuple[Linear | None, ...] = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self.values)


@dataclass(frozen=True)
class Constants:
    """Elements that are the same in every row."""

    values: Array

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self.values)


@dataclass(frozen=True)
class OneHot:
    """Elements of which one at most is at its `on` value, chosen by a key.

    Attributes:
        key: a number or a string.
        keys: per element the key that turns it on; unique.
        on: values of elements turned on.
        off: values of the others.
        missing: the element that a missing key turns on, -1 for none; None where a missing key makes all missing.
    """

    key: Value
    keys: tuple[float | str, ...]
    on: Array
    off: Array
    missing: int | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self.keys)


@dataclass(frozen=True)
class Terms:
    """Counts of the terms of texts, by term number: most are zero.

    Attributes:
        texts: the string values that terms are made of.
        spec: how, in the words of `recserve.scoring.ops_terms`.
        width: number of elements.
        scales: factor per element, or None.
    """

    texts: tuple[Value, ...]
    spec: str
    width: int
    scales: Array | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.width


@dataclass(frozen=True)
class Placed:
    """Mostly zeros, with values at some places.

    Attributes:
        width: number of elements.
        entries: (position, value); values at one position add up.
    """

    width: int
    entries: tuple[tuple[int, Value], ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.width


@dataclass(frozen=True)
class Summed:
    """The sum of vectors of one size."""

    vectors: tuple[Vector, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.vectors[0].size


@dataclass(frozen=True)
class Scaled:
    """A vector times one value."""

    vector: Vector
    factor: Value

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.vector.size


Piece = Scalars | Constants | OneHot | Terms | Placed | Summed | Scaled
