"""Ops that read columns, and ops that carry values from one domain to another.

`column` is the name of a raw column; its side gives the rate. A cell may be missing, text, a number, a bool, a list
(values, or steps of a sequence), a list of lists (steps of values) or a map. With `is_masked`, a cell counts as missing
in training where the boolean column `MASK_COLUMN` is true (`use_mask`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recserve.features.op import Kind, Op, value_field


@dataclass(frozen=True)
class SplitSteps(Op):
    """Cut each cell into the steps of a sequence.

    Text is cut at every `delimiter` (a trailing one leaves an empty last step), a list has one step an element. Only
    the first `limit` steps are kept. A missing or empty cell has one empty step if `fills_empty`, else none.
    """

    kind: ClassVar[Kind] = Kind.STEPS
    column: str
    side: str
    delimiter: str
    limit: int | None
    fills_empty: bool
    is_masked: bool = False


@dataclass(frozen=True)
class ParseTokens(Op):
    """The tokens of each cell (or step): text split at any of `separators`, empty tokens dropped.

    Without separators a text is one token. Of a list each element is a token and is not split; a list in a list counts
    as its elements; a step of a sequence is a cell of its own. A number is its decimal text
    (an integral float without its ".0"; other floats in shortest round-trip form), a bool "true" or "false"; null and
    NaN are dropped. With `keeps_empty`, empty parts, nulls and NaN are empty tokens instead, so that the elements of
    two columns stay aligned; a missing or empty cell has no element all the same. With `rounds`, a float is rounded
    first, half away from zero.
    """

    kind: ClassVar[Kind] = Kind.TOKENS
    column: str
    side: str
    separators: tuple[str, ...]
    steps: int | None = value_field()
    is_masked: bool = False
    keeps_empty: bool = False
    rounds: bool = False


@dataclass(frozen=True)
class ParseNumbers(Op):
    """The numbers of each cell (or step), split like tokens. Text that is not a number is a DataError; "nan" is NaN."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    column: str
    side: str
    separators: tuple[str, ...]
    steps: int | None = value_field()
    is_masked: bool = False


@dataclass(frozen=True)
class PairKeys(Op):
    """The keys of each cell of `key<delimiter>value` pairs, split at any of `separators`; or the keys of a map cell.

    The first `delimiter` ends the key. A pair without one is all key. Integer keys of a map are their decimal text.
    """

    kind: ClassVar[Kind] = Kind.TOKENS
    column: str
    side: str
    separators: tuple[str, ...]
    delimiter: str
    steps: int | None = value_field()
    is_masked: bool = False


@dataclass(frozen=True)
class PairTokens(Op):
    """The values of the same pairs as text, aligned with PairKeys; "" where a pair has none."""

    kind: ClassVar[Kind] = Kind.TOKENS
    column: str
    side: str
    separators: tuple[str, ...]
    delimiter: str
    steps: int | None = value_field()
    is_masked: bool = False


@dataclass(frozen=True)
class PairNumbers(Op):
    """The values of the same pairs as numbers, aligned with PairKeys; `absent` where a pair has none.

    Text that is not a number is a DataError.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    column: str
    side: str
    separators: tuple[str, ...]
    delimiter: str
    absent: float
    steps: int | None = value_field()
    is_masked: bool = False


@dataclass(frozen=True)
class NestedPairs(Op):
    """One part of each innermost pair of a nested map.

    The map is text `outer^inner:value,inner:value|outer^...`, or a map cell {outer: "inner:value,inner:value"}. `part`
    is "outer", "inner" or "value"; the three are aligned. The first `^` and the first `:` split; a value that lacks is
    "". The four separators are fixed. Empty pairs are dropped.
    """

    kind: ClassVar[Kind] = Kind.TOKENS
    column: str
    side: str
    part: str
    steps: int | None = value_field()
    is_masked: bool = False


@dataclass(frozen=True)
class Literal(Op):
    """The same tokens in every row (`const:` inputs)."""

    kind: ClassVar[Kind] = Kind.TOKENS
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Broadcast(Op):
    """Each step reads the elements of its row. Kind and weights are those of `source`."""

    source: int = value_field()
    steps: int = value_field()


@dataclass(frozen=True)
class FlattenSteps(Op):
    """Each row holds the elements of all its steps, in order. Kind and weights are those of `source`."""

    source: int = value_field()


@dataclass(frozen=True)
class LongestSteps(Op):
    """Row n has as many steps as the source with the most steps in row n. The sources are STEPS."""

    kind: ClassVar[Kind] = Kind.STEPS
    sources: tuple[int, ...] = value_field()


@dataclass(frozen=True)
class AlignSteps(Op):
    """The elements of `source`, over the steps of another STEPS value: step s of a row reads step s of the same row.

    Where `source` has one step in the row, every step reads it; where it has fewer steps, the others are empty; steps
    beyond those of `steps` are dropped. Kind and weights are those of `source`.
    """

    source: int = value_field()
    steps: int = value_field()


@dataclass(frozen=True)
class ElementSteps(Op):
    """Row n has a step for each of its elements of `source`, at most `limit`."""

    kind: ClassVar[Kind] = Kind.STEPS
    source: int = value_field()
    limit: int | None = None


@dataclass(frozen=True)
class SpreadElements(Op):
    """The elements of a row of `source`, one a step, over `steps` (its ElementSteps). Kind and weights stay."""

    source: int = value_field()
    steps: int = value_field()
