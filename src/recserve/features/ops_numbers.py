"""Ops on numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recserve.features.op import Kind, Op, value_field


@dataclass(frozen=True)
class IdsToNumbers(Op):
    """Each id as float64."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = value_field()


@dataclass(frozen=True)
class DenseToNumbers(Op):
    """The elements of each row of a DENSE value."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = value_field()


@dataclass(frozen=True)
class VocabNumbers(Op):
    """The number of a token in `vocabulary`, else NaN. Element-aligned."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = value_field()
    vocabulary: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class FillNumbers(Op):
    """A row without elements gets `defaults`."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = value_field()
    defaults: tuple[float, ...] = ()


@dataclass(frozen=True)
class Normalize(Op):
    """Element by element, by `method`.

    "log10" (a = threshold, b = default): log10 x if x > a else b; "zscore": (x - a) / b; "minmax": (x - a) / (b - a),
    not clipped.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = value_field()
    method: str = "zscore"
    a: float = 0.0
    b: float = 1.0


@dataclass(frozen=True)
class CombineNumbers(Op):
    """One number of those of each row; NaN are skipped, and a row without a number stays empty.

    With `width` above 1 the numbers of a row are vectors of `width` numbers, side by side, an incomplete last one left
    out; the result is one vector, its components combined one by one, NaN where a component has no number.

    `combiner` is "sum", "mean", "min", "max", "count", "gap_min" or "gap_max": the smallest or largest absolute
    difference of neighbours, 0 of a single number.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = value_field()
    combiner: str = "sum"
    width: int = 1


@dataclass(frozen=True)
class Evaluate(Op):
    """An expression over `sources` by `names` (see `expressions`); a row where any source is empty stays empty.

    Scalars combine with vectors element by element; the result has one element, or one an element of its vectors.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    expression: str
    names: tuple[str, ...]
    sources: tuple[int, ...] = value_field()


@dataclass(frozen=True)
class ToDense(Op):
    """float32[rows, len(default)]: the first elements of each row; `default` where elements lack or are NaN."""

    kind: ClassVar[Kind] = Kind.DENSE
    source: int = value_field()
    default: tuple[float, ...] = (0.0,)
