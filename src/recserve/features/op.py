"""What every op of the plan has in common; `ops` tells what a plan is and lists the ops."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Final

from recserve.rates import Rate


def value_field() -> Any:
    """A field that names a value."""
    return field(metadata={"value": True})


class Kind(enum.Enum):
    """Kind of a value; see `ops`."""

    TOKENS = "tokens"
    NUMBERS = "numbers"
    IDS = "ids"
    STEPS = "steps"
    MAP = "map"
    DENSE = "dense"


MISSING_ID: Final = -1
MASK_COLUMN: Final = "__SAMPLE_MASK__"
MAX_COMBINATIONS: Final = 100_000
"""Combinations of one row of JoinTokens; more are a DataError."""
MAX_TEXT_BYTES: Final = 1 << 28
"""Bytes of the combinations, or of the outer keys of the pairs, of one row (JoinTokens, NestedPairs); as above."""
MAX_COMPARISONS: Final = 10_000_000
"""Comparisons of one row of EditDistance, and of Overlap's distances of terms; more are a DataError."""


@dataclass(frozen=True)
class Op:
    """Base of all ops. Fields made with `value_field()` hold the number of a value, a tuple of them, or None."""

    kind: ClassVar[Kind]

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Numbers of the values that this op reads, the steps it works over among them."""
        found: list[int] = []
        for name in value_names(type(self)):
            value = getattr(self, name)
            found += value if isinstance(value, tuple) else () if value is None else (value,)
        return tuple(found)


_VALUE_NAMES: Final[dict[Any, tuple[str, ...]]] = {}


def value_names(op: type[Op]) -> tuple[str, ...]:
    """The fields of a class of ops that name values."""
    if op not in _VALUE_NAMES:
        _VALUE_NAMES[op] = tuple(part.name for part in fields(op) if part.metadata.get("value"))
    return _VALUE_NAMES[op]


@dataclass(frozen=True)
class Value:
    """What is known of a value before anything runs.

    Attributes:
        kind: of its elements.
        rate: how often it changes.
        domain: number of the STEPS value whose steps are its rows; None: rows of the batch.
        is_weighted: its elements carry weights.
        dim: of DENSE, else 0.
        feature: name of the feature that the value was made for; errors in data name it.
    """

    kind: Kind
    rate: Rate
    domain: int | None = None
    is_weighted: bool = False
    dim: int = 0
    feature: str = ""
