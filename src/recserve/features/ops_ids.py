"""Ops that make and finish ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recserve.features.op import MISSING_ID, Kind, Op, value_field


@dataclass(frozen=True)
class AttachWeights(Op):
    """Tokens or ids with the numbers of `weights` as float32 weights; a row of other numbers of both is a DataError."""

    source: int = value_field()
    weights: int = value_field()


@dataclass(frozen=True)
class HashIds(Op):
    """Hash of a token's bytes: unsigned modulo `buckets`; all 64 bits, as int64, if `buckets` is 0 (keys of maps).

    `algorithm` is "murmur64a" (MurmurHash64A, seed 0xc70f6907) or "farmhash" (FarmHash Fingerprint64).
    """

    kind: ClassVar[Kind] = Kind.IDS
    source: int = value_field()
    buckets: int = 0
    algorithm: str = "murmur64a"


@dataclass(frozen=True)
class CrossIds(Op):
    """Every combination of one 64-bit hash of each source as one id; the first source is the outer loop.

    The hashes of a combination, as unsigned numbers, are folded with TensorFlow's FingerprintCat64 from its default
    key, as `tf.sparse.cross_hashed` does; the id is the result modulo `buckets`. More than MAX_COMBINATIONS in one row
    are a DataError.
    """

    kind: ClassVar[Kind] = Kind.IDS
    sources: tuple[int, ...] = value_field()
    buckets: int = 0


@dataclass(frozen=True)
class VocabIds(Op):
    """The id of a token in `vocabulary`, else `unknown`."""

    kind: ClassVar[Kind] = Kind.IDS
    source: int = value_field()
    vocabulary: tuple[tuple[str, int], ...] = ()
    unknown: int = MISSING_ID


@dataclass(frozen=True)
class ParseInts(Op):
    """The integer that a token spells, `outside` if not in [0, limit). An integral float ("7.0") counts as integer.

    An empty token is MISSING_ID; other text is a DataError. `limit` None: any non-negative int64.
    """

    kind: ClassVar[Kind] = Kind.IDS
    source: int = value_field()
    limit: int | None = None
    outside: int = MISSING_ID


@dataclass(frozen=True)
class TruncateToIds(Op):
    """A number truncated towards zero to an id, MISSING_ID if NaN or outside [0, limit)."""

    kind: ClassVar[Kind] = Kind.IDS
    source: int = value_field()
    limit: int | None = None


@dataclass(frozen=True)
class Bucketize(Op):
    """The count of `boundaries` <= x, both as float32 (left-closed buckets); MISSING_ID for NaN."""

    kind: ClassVar[Kind] = Kind.IDS
    source: int = value_field()
    boundaries: tuple[float, ...] = ()


@dataclass(frozen=True)
class SemanticIds(Op):
    """Codes of semantic ids, as tokens: element j of a row is a code of level j modulo len(codebook).

    The id is the code plus the sizes of the lower levels. A code that is no integer in [0, size of its level), and a
    row whose elements are not a multiple of len(codebook), are DataErrors. Element-aligned.
    """

    kind: ClassVar[Kind] = Kind.IDS
    source: int = value_field()
    codebook: tuple[int, ...] = ()


@dataclass(frozen=True)
class FillIds(Op):
    """Drop MISSING_ID elements; then a row without elements gets `defaults`, with weight 1.0."""

    kind: ClassVar[Kind] = Kind.IDS
    source: int = value_field()
    defaults: tuple[int, ...] = ()


@dataclass(frozen=True)
class FirstElements(Op):
    """The first `count` elements of each row. Kind and weights are those of `source`."""

    source: int = value_field()
    count: int = 1
