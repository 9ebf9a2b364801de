"""Ops on tokens and text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recserve.features.op import Kind, Op, value_field


@dataclass(frozen=True)
class JoinTokens(Op):
    """Every combination of one token of each source, joined with `joiner`; the first source is the outer loop (combo).

    More than MAX_COMBINATIONS in one row are a DataError.
    """

    kind: ClassVar[Kind] = Kind.TOKENS
    sources: tuple[int, ...] = value_field()
    joiner: str = "_"


@dataclass(frozen=True)
class ConcatTokens(Op):
    """Element by element, the aligned tokens of all sources joined with `joiner`. The result is unweighted."""

    kind: ClassVar[Kind] = Kind.TOKENS
    sources: tuple[int, ...] = value_field()
    joiner: str = "_"


@dataclass(frozen=True)
class PrefixTokens(Op):
    """Each token with `prefix` in front."""

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = value_field()
    prefix: str = ""


@dataclass(frozen=True)
class SplitTokens(Op):
    """Each token split again at any of `separators`, empty parts dropped."""

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = value_field()
    separators: tuple[str, ...] = ()


@dataclass(frozen=True)
class FillTokens(Op):
    """A row without elements gets `defaults`, with weight 1.0."""

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = value_field()
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True)
class MaskTokens(Op):
    """The tokens of `source` that are not empty and whose element of `mask` is true.

    True is "true" in any case, or a number other than 0. Elements beyond the shorter of the two are dropped.
    """

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = value_field()
    mask: int = value_field()


@dataclass(frozen=True)
class RegexReplace(Op):
    r"""In each token, each of `patterns` (RE2 syntax) in turn replaced by `replacement`, where `\1` is a group.

    All matches of a pattern are replaced, or the first only. Characters are UTF-8 characters; a token that is not UTF-8
    stays as it is. The result may be an empty token.
    """

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = value_field()
    patterns: tuple[str, ...] = ()
    replacement: str = ""
    replaces_all: bool = True
    ignores_case: bool = False


@dataclass(frozen=True)
class NormalizeText(Op):
    """Each token as text after `operations`, in the order below, whichever are given.

    "width" full-width forms to ASCII; "upper", "lower" letters; "simplify" traditional to simplified Chinese; "filter"
    drops the characters `stops`; "split" spaces around each Chinese character; "squeeze" drops white space. A text of
    more than `max_length` characters (0: no limit) stays as it is.
    """

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = value_field()
    operations: tuple[str, ...] = ()
    stops: str = ""
    max_length: int = 0


@dataclass(frozen=True)
class Tokenize(Op):
    """The ids of the pieces of each token (a text), one text after the other.

    `model` is "bpe" (a Hugging Face tokenizer.json) or "sentencepiece" (a .model file); `file` its path and `sha256`
    its content.
    """

    kind: ClassVar[Kind] = Kind.IDS
    source: int = value_field()
    model: str = "bpe"
    file: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class EditDistance(Op):
    """Levenshtein distance of the first tokens of two sources, in characters ("utf-8") or bytes ("latin").

    A row where either is empty stays empty. Texts whose lengths multiply to more than MAX_COMPARISONS are a DataError.
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    left: int = value_field()
    right: int = value_field()
    encoding: str = "latin"


@dataclass(frozen=True)
class Overlap(Op):
    """How much of the terms `query` is found in the terms `title`: one number; a row where either is empty stays empty.

    With q and t the numbers of terms, by `method`:

    - "query_common_ratio", "title_common_ratio": terms of query (of title) that the other has, by q (by t)
    - "is_contain": 1 if title has all terms of query in their order, not necessarily side by side; else 0
    - "is_equal": 1 if the terms are the same in the same order, else 0
    - "index_of": first position at which query stands in title as a whole, else -1
    - "proximity_min_cover": length of the shortest stretch of title that has every term of query; 0 if there is none
    - "proximity_min_dist", "proximity_max_dist", "proximity_avg_dist": over all pairs of different query terms, the
      smallest, largest or mean of the smallest distance between positions of the two in title; t + 1 if a term lacks
      or there is no pair. With t different terms in query and n in title, t * (t + n) may be MAX_COMPARISONS
    """

    kind: ClassVar[Kind] = Kind.NUMBERS
    query: int = value_field()
    title: int = value_field()
    method: str = "query_common_ratio"


@dataclass(frozen=True)
class IdsToTokens(Op):
    """Decimal text of each id."""

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = value_field()


@dataclass(frozen=True)
class NumbersToTokens(Op):
    """Each number as ParseTokens writes it."""

    kind: ClassVar[Kind] = Kind.TOKENS
    source: int = value_field()


@dataclass(frozen=True)
class TokensToNumbers(Op):
    """Each token parsed as ParseNumbers does; an empty token is NaN."""

    kind: ClassVar[Kind] = Kind.NUMBERS
    source: int = value_field()
