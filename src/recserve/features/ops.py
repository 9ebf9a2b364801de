"""The plan's ops: what feature configs are lowered to.

A plan is a list of frozen op dataclasses in SSA form: op i produces value i, and names its inputs by their numbers.
Each op is small, has one meaning (its docstring, which `reference` spells out in Python and `kernels` in Numba), and a
rate that follows from its inputs. Sharing and rates fall out of this: two features that read one column share its
parse, a map is built once per request, a key is hashed once per item version.

Kinds of values. Each is ragged: row n holds zero or more elements; zero elements mean *missing*.

| kind    | elements                                                                                              |
|---------|-------------------------------------------------------------------------------------------------------|
| TOKENS  | byte strings (UTF-8), optionally with a float32 weight each                                           |
| NUMBERS | float64; NaN is a value here, and is dropped or defaulted where a number leaves the plan              |
| IDS     | int64, optionally with a float32 weight each; -1 marks an element that has no id (dropped by FillIds) |
| STEPS   | no elements: row n holds the steps of a sequence. Values *over* those steps have one row a step        |
| MAP     | for each row an index from key hash to element number, of the keys it was built from                   |
| DENSE   | float32[rows, dim], no raggedness                                                                      |

Domains. The rows of a value are the rows of the batch (`domain is None`) or the steps of the STEPS value `domain`.
All inputs of an op have the op's domain; `Broadcast` carries a row value into a step domain.

Element-aligned ops map element to element and keep counts (HashIds, VocabIds, ParseInts, Normalize ...); weights go
along.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

from recserve.rates import Rate


def _value() -> Any:
    """A field that names a value."""
    return field(metadata={"value": True})


class Kind(enum.Enum):
    """Kind of a value; see the module docstring."""

    TOKENS = "tokens"
    NUMBERS = "numbers"
    IDS = "ids"
    STEPS = "steps"
    MAP = "map"
    DENSE = "dense"


MISSING_ID: Final = -1


@dataclass(frozen=True)
class Op:
    """Base of all ops. Fields made with `_value()` hold the number of a value, a tuple of them, or None."""

    kind: ClassVar[Kind]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Numbers of the values that this op reads, the steps it works over among them."""
        found: list[int] = []
        for part in fields(self):
            if part.metadata.get("value"):
                value = getattr(self, part.name)
                found += value if isinstance(value, tuple) else () if value is None else (value,)
        return tuple(found)


@dataclass(frozen=True)
class Value:
    """What is known of a value before anything runs.

    Attributes:
        kind: of its elements.
        rate: how often it changes.
        domain: number of the STEPS value whose steps are its rows; None: rows of the batch.
        is_weighted: its elements carry weights.
        dim: of DENSE, else 0.
    """

    kind: Kind
    rate: Rate
    domain: int | None = None
    is_weighted: bool = False
    dim: int = 0


# ---- reading columns. `column` is the name of a raw column; its side gives the rate. A cell may be missing, text, a
# number, a bool, a list (values, or steps of a sequence), a list of lists (steps of values) or a map.


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


@dataclass(frozen=True)
class ParseTokens(Op):
    """The tokens of each cell (or step): text split at any of `separators`, empty tokens dropped.

    Of a list each element is a token; an element that is text inside a step is split too. A number is its decimal text
    (an integral float without its ".0"; other floats in shortest round-trip form), a bool "true" or "false"; null and
    NaN are dropped.
    """

    kind: ClassVar[Kind] = Kind.TOKENS
    column: str
    side: str
    separators: tuple[str, ...]
    steps: int | None = _value()


@dataclass(frozen=True)
class ParseNumbers(Op):
    """The numbers of each cell (or step), split like tokens. Text that is not a number is a DataError; "nan" is NaN."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    column: str
    side: str
    separators: tuple[str, ...]
    steps: int | None = _value()


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
    steps: int | None = _value()


@dataclass(frozen=True)
class PairTokens(Op):
    """The values of the same pairs as text, aligned with PairKeys; "" where a pair has none."""

    kind: ClassVar[Kind] = Kind.TOKENS
    column: str
    side: str
    separators: tuple[str, ...]
    delimiter: str
    steps: int | None = _value()


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
    steps: int | None = _value()


@dataclass(frozen=True)
class Literal(Op):
    """The same tokens in every row (`const:` inputs)."""

    kind: ClassVar[Kind] = Kind.TOKENS
    tokens: tuple[str, ...]


# ---- moving between domains


@dataclass(frozen=True)
class Broadcast(Op):
    """Each step reads the elements of its row. Kind and weights are those of `source`."""

    source: int = _value()
    steps: int = _value()


@dataclass(frozen=True)
class FlattenSteps(Op):
    """Each row holds the elements of all its steps, in order. Kind and weights are those of `source`."""

    source: int = _value()


# ---- tokens


@dataclass(frozen=True)
class JoinTokens(Op):
    """Every combination of one token of each source, joined with `_`; the first source is the outer loop (combo)."""

    kind: ClassVar[Kind] = Kind.TOKENS
    sources: tuple[int, ...] = _value()


@dataclass(frozen=True)
class SplitTokens(Op):
    """Each token split again at any of `separators`, empty parts dropped."""

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = _value()
    separators: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttachWeights(Op):
    """Tokens or ids with the numbers of the aligned value `weights` as float32 weights."""

    source: int = _value()
    weights: int = _value()


# ---- tokens or numbers → ids, element-aligned


@dataclass(frozen=True)
class HashIds(Op):
    """Hash of a token's bytes: unsigned modulo `buckets`; all 64 bits, as int64, if `buckets` is 0 (keys of maps).

    `algorithm` is "murmur64a" (MurmurHash64A, seed 0xc70f6907) or "farmhash" (FarmHash Fingerprint64).
    """

    kind: ClassVar[Kind] = Kind.IDS
    source: int = _value()
    buckets: int = 0
    algorithm: str = "murmur64a"


@dataclass(frozen=True)
class VocabIds(Op):
    """The id of a token in `vocabulary`, else `unknown`."""

    kind: ClassVar[Kind] = Kind.IDS
    source: int = _value()
    vocabulary: tuple[tuple[str, int], ...] = ()
    unknown: int = MISSING_ID


@dataclass(frozen=True)
class ParseInts(Op):
    """The integer that a token spells, MISSING_ID if outside [0, limit). An integral float ("7.0") counts as integer.

    Other text is a DataError. `limit` None: any non-negative int64.
    """

    kind: ClassVar[Kind] = Kind.IDS
    source: int = _value()
    limit: int | None = None


@dataclass(frozen=True)
class TruncateToIds(Op):
    """A number truncated towards zero to an id, MISSING_ID if NaN or outside [0, limit)."""

    kind: ClassVar[Kind] = Kind.IDS
    source: int = _value()
    limit: int | None = None


@dataclass(frozen=True)
class Bucketize(Op):
    """The count of `boundaries` <= x, both as float32 (left-closed buckets); MISSING_ID for NaN."""

    kind: ClassVar[Kind] = Kind.IDS
    source: int = _value()
    boundaries: tuple[float, ...] = ()


@dataclass(frozen=True)
class FillIds(Op):
    """Drop MISSING_ID elements; then a row without elements gets `defaults`, with weight 1.0."""

    kind: ClassVar[Kind] = Kind.IDS
    source: int = _value()
    defaults: tuple[int, ...] = ()


@dataclass(frozen=True)
class FirstElements(Op):
    """The first `count` elements of each row. Kind and weights are those of `source`."""

    source: int = _value()
    count: int = 1


@dataclass(frozen=True)
class MaskRows(Op):
    """In training, empty each row whose cell of the boolean `column` is true; otherwise nothing changes."""

    source: int = _value()
    column: str = "__SAMPLE_MASK__"


# ---- back from ids and numbers (`feature:` inputs)


@dataclass(frozen=True)
class IdsToTokens(Op):
    """Decimal text of each id."""

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = _value()


@dataclass(frozen=True)
class IdsToNumbers(Op):
    """Each id as float64."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = _value()


@dataclass(frozen=True)
class TokensToNumbers(Op):
    """Each token parsed as ParseNumbers does."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = _value()


@dataclass(frozen=True)
class DenseToNumbers(Op):
    """The elements of each row of a DENSE value."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = _value()


@dataclass(frozen=True)
class NumbersToTokens(Op):
    """Each number as ParseTokens writes it."""

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = _value()


# ---- numbers


@dataclass(frozen=True)
class FillNumbers(Op):
    """A row without elements gets `defaults`."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = _value()
    defaults: tuple[float, ...] = ()


@dataclass(frozen=True)
class Normalize(Op):
    """Element by element, by `method`.

    "log10" (a = threshold, b = default): log10 x if x > a else b; "zscore": (x - a) / b; "minmax": (x - a) / (b - a),
    not clipped.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = _value()
    method: str = "zscore"
    a: float = 0.0
    b: float = 1.0


@dataclass(frozen=True)
class Evaluate(Op):
    """An expression over `sources` by `names` (see `expressions`); a row where any source is empty stays empty.

    Scalars combine with vectors element by element; the result has one element, or one an element of its vectors.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    expression: str
    names: tuple[str, ...]
    sources: tuple[int, ...] = _value()


@dataclass(frozen=True)
class ToDense(Op):
    """float32[rows, len(default)]: the first elements of each row; `default` where elements lack or are NaN."""

    kind: ClassVar[Kind] = Kind.DENSE
    source: int = _value()
    default: tuple[float, ...] = (0.0,)


# ---- maps


@dataclass(frozen=True)
class BuildMap(Op):
    """For each row an index from key hash to element number of `keys` (HashIds with 0 buckets); a later equal key wins.

    Equal 64-bit hashes count as equal keys.
    """

    kind: ClassVar[Kind] = Kind.MAP
    keys: int = _value()


@dataclass(frozen=True)
class LookupNumbers(Op):
    """Numbers of the `values` whose keys are among `keys` (hashes), in the order of `keys`; misses and NaN are skipped.

    `combiner` "sum", "mean", "min", "max", "count" leaves one element if anything hit; "" keeps each hit.
    `map` and `values` may be scalars of the row while `keys` are over steps: then Broadcast comes first.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    map: int = _value()
    values: int = _value()
    keys: int = _value()
    combiner: str = "sum"


@dataclass(frozen=True)
class LookupIds(Op):
    """Ids of the `values` whose keys are among `keys`, in the order of `keys`; misses and MISSING_ID are skipped."""

    kind: ClassVar[Kind] = Kind.IDS
    map: int = _value()
    values: int = _value()
    keys: int = _value()


@dataclass(frozen=True)
class LookupTokens(Op):
    """Tokens of the `values` whose keys are among `keys`, in the order of `keys`; misses are skipped."""

    kind: ClassVar[Kind] = Kind.TOKENS
    map: int = _value()
    values: int = _value()
    keys: int = _value()
