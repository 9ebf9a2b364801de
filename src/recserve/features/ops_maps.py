"""Ops on maps: built once, probed often.

A map is an index from key hash to element number, kept apart from the values under its keys, so that several features
share it. The map, its values and the keys to look up may change at different rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recserve.features.op import Kind, Op, value_field


@dataclass(frozen=True)
class BuildMap(Op):
    """For each row an index from key hash to element number of `keys` (HashIds with 0 buckets); a later equal key wins.

    With `keeps_all`, an equal key does not replace the earlier one: the lookup yields both, in their order. Equal
    64-bit hashes count as equal keys.
    """

    kind: ClassVar[Kind] = Kind.MAP
    keys: int = value_field()
    keeps_all: bool = False


@dataclass(frozen=True)
class LookupNumbers(Op):
    """Numbers of the `values` whose keys are among `keys` (hashes), in the order of `keys`; misses and NaN are skipped.

    `combiner` "sum", "mean", "min", "max", "count" leaves one element if anything hit; "" keeps each hit.
    `map` and `values` may be scalars of the row while `keys` are over steps: then Broadcast comes first.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    map: int = value_field()
    values: int = value_field()
    keys: int = value_field()
    combiner: str = "sum"


@dataclass(frozen=True)
class LookupIds(Op):
    """Ids of the `values` whose keys are among `keys`, in the order of `keys`; misses and MISSING_ID are skipped."""

    kind: ClassVar[Kind] = Kind.IDS
    map: int = value_field()
    values: int = value_field()
    keys: int = value_field()


@dataclass(frozen=True)
class LookupTokens(Op):
    """Tokens of the `values` whose keys are among `keys`, in the order of `keys`; misses are skipped."""

    kind: ClassVar[Kind] = Kind.TOKENS
    map: int = value_field()
    values: int = value_field()
    keys: int = value_field()


@dataclass(frozen=True)
class DotProduct(Op):
    """The sum over `keys` of `factors` (aligned with them) times the number of `values` under that key.

    Keys that miss, and NaN, add nothing. A row where the map or `keys` is empty stays empty.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    map: int = value_field()
    values: int = value_field()
    keys: int = value_field()
    factors: int = value_field()
