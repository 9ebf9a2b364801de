"""Texts as bags of terms: tokenising, counting and hashing as Spark and scikit-learn do, and sums over the counts.

A bag of 2¹⁸ terms is never spelt out: a linear model asks for Σ weight · count, a tree for the counts of the few terms
that it tests. `spec` says in JSON how a text becomes counts:

    {"steps": [[name, argument ...] ...], "index": {...}, "binary": false, "least": 0, "log": false, "square": false}

Steps (first those on the text, then those on the list of tokens):
    lower, upper, accents (unicode | ascii), prefix (text)          text → text
    java_split (pattern), find (pattern), blanks, whole              text → tokens
    characters (from, to), characters_in_words (from, to)            text → tokens: runs of letters of these lengths
    at_least (length), letters_longer (length), stop (words, case counts), ngrams (n), ngram_range (from, to)
Index, of a token: {"kind": "words", "words": [...]} or {"kind": "murmur3", "width", "seed", "tail", "signed"}. The tail
    "words" hashes the last 1–3 bytes one by one, as Spark 2 did; signed counts a negative hash as -1.
`least`: smaller counts are 0; below 1 it is a share of all tokens. `binary`: each count that is left is 1.
`log`: 1 + log(count) instead of the count. `square`: the square of that.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from recserve.scoring.cells import DType
from recserve.scoring.op import define, numbers
from recserve.scoring.params import Param

Params = Mapping[str, Any]
_MASK: Final = 0xFFFFFFFF


def _mix(k: int) -> int:
    k = (k * 0xCC9E2D51) & _MASK
    k = ((k << 15) | (k >> 17)) & _MASK
    return (k * 0x1B873593) & _MASK


def _turn(h: int, k: int) -> int:
    h ^= k
    h = ((h << 13) | (h >> 19)) & _MASK
    return (h * 5 + 0xE6546B64) & _MASK


def murmur3(data: bytes, seed: int, tail: str = "standard") -> int:
    """MurmurHash3 x86 32 as a signed integer; `tail` "words" is the form of Spark 2 (see the module)."""
    h, whole = seed & _MASK, len(data) // 4 * 4
    for at in range(0, whole, 4):
        h = _turn(h, _mix(int.from_bytes(data[at : at + 4], "little")))
    if tail == "words":
        for byte in data[whole:]:
            h = _turn(h, _mix((byte - 256 if byte > 127 else byte) & _MASK))
    else:
        h ^= _mix(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & _MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & _MASK
    h ^= h >> 16
    return h - (1 << 32) if h >= 1 << 31 else h


def java_split(text: str, pattern: re.Pattern[str]) -> list[str]:
    """`String.split`: empty tokens at the end are dropped; a text without a match is one token."""
    parts, at, found = [], 0, False
    for match in pattern.finditer(text):
        if match.end() == 0:  # an empty match at the start makes no token
            continue
        found = True
        parts.append(text[at : match.start()])
        at = match.end()
    if not found:
        return [text]
    parts.append(text[at:])
    while parts and not parts[-1]:
        parts.pop()
    return parts


def _accents(text: str, form: str) -> str:
    normal = unicodedata.normalize("NFKD", text)
    if form == "ascii":
        return normal.encode("ascii", "ignore").decode("ascii")
    return normal if normal == text else "".join(c for c in normal if not unicodedata.combining(c))


def _find(text: str, pattern: str) -> list[str]:
    found = re.compile(pattern).finditer(text)
    return [match.group(1) if match.re.groups else match.group() for match in found]


def _characters(text: str, low: int, high: int) -> list[str]:
    text = re.sub(r"\s\s+", " ", text)
    sizes = range(low, min(high, len(text)) + 1)
    return [text[at : at + size] for size in sizes for at in range(len(text) - size + 1)]


def _characters_in_words(text: str, low: int, high: int) -> list[str]:
    tokens = []
    for word in re.sub(r"\s\s+", " ", text).split():
        padded = f" {word} "
        for size in range(low, high + 1):
            tokens.append(padded[:size])
            tokens += [padded[at : at + size] for at in range(1, len(padded) - size + 1)]
            if size >= len(padded):  # a short word is counted once
                break
    return tokens


def _stop(tokens: Sequence[str], words: Sequence[str], case_counts: bool) -> list[str]:
    if case_counts:
        dropped = set(words)
        return [token for token in tokens if token not in dropped]
    dropped = {word.lower() for word in words}
    return [token for token in tokens if token.lower() not in dropped]


def _ngrams(tokens: Sequence[str], size: int) -> list[str]:
    return [" ".join(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]


def _ngram_range(tokens: Sequence[str], low: int, high: int) -> list[str]:
    return [gram for size in range(low, high + 1) for gram in _ngrams(tokens, size)]


STEPS: Final[dict[str, Callable[..., Any]]] = {
    "lower": str.lower,
    "upper": str.upper,
    "accents": _accents,
    "prefix": lambda text, before: before + text,
    "java_split": lambda text, pattern: java_split(text, re.compile(pattern, re.ASCII)),
    "find": _find,
    "blanks": str.split,
    "whole": lambda text: [text],
    "characters": _characters,
    "characters_in_words": _characters_in_words,
    "at_least": lambda tokens, length: [token for token in tokens if len(token) >= length],
    "letters_longer": lambda tokens, length: [t for t in tokens if len(t) > length and (t.isalpha())],
    "stop": _stop,
    "ngrams": _ngrams,
    "ngram_range": _ngram_range,
}
"""What a step does, by name; the arguments follow what it works on."""


@dataclass(frozen=True)
class Counting:
    """A `spec`, read.

    Attributes:
        steps: (function, arguments).
        number_of: (number, sign) of a token, or None for a token that is not counted.
        binary: counts are 1.
        least: counts below are 0.
        log: counts are 1 + log(count).
        square: and then squared.
    """

    steps: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...]
    number_of: Callable[[str], tuple[int, float] | None]
    binary: bool
    least: float
    log: bool
    square: bool

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text."""
        found: Any = text
        for function, arguments in self.steps:
            found = function(found, *arguments)
        return list(found)

    def counts(self, texts: Sequence[str]) -> tuple[dict[int, float], int]:
        """({term number: count}, number of tokens) of texts."""
        found: dict[int, float] = {}
        total = 0
        for token in (token for text in texts for token in self.tokens(text)):
            total += 1
            place = self.number_of(token)
            if place is not None:
                found[place[0]] = found.get(place[0], 0.0) + place[1]
        least = self.least if self.least >= 1.0 else self.least * total
        if least > 0.0:
            found = {number: count for number, count in found.items() if count >= least}
        if self.binary:
            found = dict.fromkeys(found, 1.0)
        if self.log:
            found = {number: 1.0 + math.log(count) for number, count in found.items()}
        if self.square:
            found = {number: count * count for number, count in found.items()}
        return found, total


def _hashed(index: Mapping[str, Any]) -> Callable[[str], tuple[int, float]]:
    width, seed, tail, signed = index["width"], index.get("seed", 0), index.get("tail", "standard"), index.get("signed")

    def number_of(token: str) -> tuple[int, float]:
        value = murmur3(token.encode("utf-8", "surrogatepass"), seed, tail)
        if signed is None:
            return value % width, 1.0
        place = (2**31 - width) % width if value == -(2**31) else abs(value) % width
        return place, -1.0 if signed and value < 0 else 1.0

    return number_of


@lru_cache(maxsize=256)
def counting(spec: str) -> Counting:
    """What a spec says.

    Raises:
        ValueError, KeyError, TypeError: it says nothing that can be done.
    """
    content = json.loads(spec)
    steps = tuple((STEPS[name], tuple(arguments)) for name, *arguments in content["steps"])
    for name, *arguments in content["steps"]:
        if name in {"java_split", "find"}:
            re.compile(arguments[0])
    index = content["index"]
    number_of: Callable[[str], tuple[int, float] | None]
    if index["kind"] == "words":
        number_of = {word: (i, 1.0) for i, word in enumerate(index["words"]) if word is not None}.get
    elif index["kind"] == "murmur3" and index["width"] > 0:
        number_of = _hashed(index)
    else:
        raise ValueError(f"index {index['kind']!r} is neither 'words' nor 'murmur3' of some width")
    flags = [bool(content.get(name)) for name in ("binary", "log", "square")]
    return Counting(steps, number_of, flags[0], float(content.get("least", 0.0)), flags[1], flags[2])


def _wrong_spec(dtypes: Sequence[DType], params: Params) -> str | None:  # noqa: ARG001
    try:
        counting(params["spec"])
    except (ValueError, KeyError, TypeError, AttributeError, re.error) as error:
        return f"'spec' cannot be read: {type(error).__name__} {error}"
    return None


@define(
    "terms_at",
    "string string*",
    numbers(lambda params: len(params["positions"])),
    params={"spec": Param("text"), "positions": Param("integers")},
    has_many=True,
    check=_wrong_spec,
)
def terms_at(params: Params, *texts: str) -> tuple[float, ...]:
    """The counts of some terms, by number: one result a position."""
    counts, _ = counting(params["spec"]).counts(texts)
    return tuple(counts.get(position, 0.0) for position in params["positions"].tolist())


@define(
    "terms_dots",
    "string string*",
    numbers(lambda params: params["weights"].shape[1]),
    params={
        "spec": Param("text"),
        "weights": Param("matrix"),
        "of": Param("text", "count", ("count", "square", "absolute")),
        "mean": Param("flag", False),
    },
    has_many=True,
    check=_wrong_spec,
)
def terms_dots(params: Params, *texts: str) -> tuple[float, ...]:
    """Σ weight · f(count) for each column of `weights` [terms, results], in the order in which terms are met.

    `of`: f is the count, its square or its absolute value. `mean` divides by the number of all tokens; a text without
    tokens gives 0.
    """
    counts, total = counting(params["spec"]).counts(texts)
    weights = params["weights"]
    kind = params["of"]
    sums = np.zeros(weights.shape[1])
    for number, count in counts.items():
        amount = count * count if kind == "square" else abs(count) if kind == "absolute" else count
        if 0 <= number < len(weights):
            sums += weights[number] * amount
    if params["mean"] and total:
        sums /= total
    return tuple(sums.tolist())
