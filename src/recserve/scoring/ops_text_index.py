"""How often a term is in a text, words compared one by one. Runs in Python, once for each distinct text and term."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from recserve.scoring.cells import RowFailure
from recserve.scoring.op import define, numbers
from recserve.scoring.ops_text import compiled_pattern
from recserve.scoring.params import Param

Params = Mapping[str, Any]
WEIGHTS: Final = ("termFrequency", "binary", "logarithmic")
_ROUNDS: Final = 1000  # of a recursive table of replacements


@lru_cache(maxsize=64)
def _read(options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(options)
    return found


def _check(dtypes: Any, params: Params) -> str | None:  # noqa: ARG001
    try:
        options = json.loads(params["options"])
    except ValueError:
        return "'options' is no JSON"
    keys = {"weights", "case_sensitive", "distance", "count_best", "separator", "word", "tables"}
    if not isinstance(options, dict) or set(options) != keys:
        return f"'options' needs exactly {', '.join(sorted(keys))}"
    return None if options["weights"] in WEIGHTS else f"weights {options['weights']!r} is none of {', '.join(WEIGHTS)}"


def _check_terms(dtypes: Any, params: Params) -> str | None:
    wrong = [term for term in params["terms"] if not isinstance(term, str)]
    return f"the term {wrong[0]!r} is no text" if wrong else _check(dtypes, params)


@define("text_index", "string string", "number", params={"options": Param("text")}, check=_check)
def text_index(params: Params, text: str, term: str) -> float:
    """The weight of a term (one word or several in a row) in a text.

    `options` is a JSON object: `weights` (termFrequency, binary: 0 or 1, logarithmic: log10(1 + n)), `case_sensitive`,
    `distance` (Levenshtein distance, over all words of the term, that still is a hit), `count_best` (count the hits of
    the least distance alone), `separator` (pattern between words), `word` (pattern of a word, instead; or null),
    `tables` (of replacements made first: {rows: [[text or pattern, replacement, is pattern]], case_sensitive,
    recursive}).

    Raises:
        RowFailure: a pattern is none, or a recursive table never comes to an end.
    """
    return _weight(params["options"], text, term)


@define(
    "text_indexes",
    "string",
    numbers(lambda params: len(params["terms"])),
    params={"terms": Param("values"), "options": Param("text")},
    has_many=True,
    check=_check_terms,
)
def text_indexes(params: Params, text: str) -> tuple[float, ...]:
    """`text_index` of many terms in one text: one result a term."""
    return tuple(_weight(params["options"], text, term) for term in params["terms"])


def _weight(options: str, text: str, term: str) -> float:
    # Terms are normalised as the text is, so that a rule for "isn't" holds on both sides.
    words, wanted, found = _words(options, text), _words(options, term), _read(options)
    if len(wanted) == 1 and not found["distance"]:
        count = _counts(options, text)[wanted[0] if found["case_sensitive"] else wanted[0].casefold()]
    else:
        count = _count(words, wanted, found)
    if found["weights"] == "binary":
        return float(count > 0)
    return math.log10(1.0 + count) if found["weights"] == "logarithmic" else float(count)


@lru_cache(maxsize=1024)
def _counts(options: str, text: str) -> Counter[str]:
    """How often each word is in a text."""
    words = _words(options, text)
    return Counter(words if _read(options)["case_sensitive"] else [word.casefold() for word in words])


@lru_cache(maxsize=16384)
def _words(options: str, text: str) -> tuple[str, ...]:
    """The words of a text after its replacements."""
    found = _read(options)
    for table in found["tables"]:
        text = _replace(table, text)
    if found["word"] is not None:
        return tuple(match.group() for match in compiled_pattern(found["word"]).finditer(text))
    # Marks around a word are no part of it: (word), word!
    return tuple(word for word in (_trim(w) for w in compiled_pattern(found["separator"]).split(text)) if word)


def _trim(word: str) -> str:
    """A word without the punctuation (Unicode's) around it."""
    marks = [i for i, letter in enumerate(word) if not unicodedata.category(letter).startswith("P")]
    return word[marks[0] : marks[-1] + 1] if marks else ""


def _replace(table: Mapping[str, Any], text: str) -> str:
    flags = "" if table["case_sensitive"] else "(?i)"
    for _ in range(_ROUNDS if table["recursive"] else 1):
        before = text
        for source, target, is_pattern in table["rows"]:
            pattern = compiled_pattern(flags + (source if is_pattern else re.escape(source)))
            try:
                text = pattern.sub(re.sub(r"\$(\d+)", r"\\g<\1>", target), text)
            except (re.error, IndexError) as error:
                raise RowFailure(f"replacement {target!r}: {error}") from None
        if text == before:
            return text
    if table["recursive"]:
        raise RowFailure(f"a table of replacements changes a text more than {_ROUNDS} times")
    return text


def _count(text: tuple[str, ...], term: tuple[str, ...], options: Mapping[str, Any]) -> int:
    """Number of places in the text where the term is, within the distance."""
    if not options["case_sensitive"]:
        text, term = tuple(w.casefold() for w in text), tuple(w.casefold() for w in term)
    if not term:
        return 0
    hits = []
    for start in range(len(text) - len(term) + 1):
        left = int(options["distance"])
        for word, wanted in zip(text[start:], term, strict=False):
            left -= distance(word, wanted, left) if left else int(word != wanted)
            if left < 0:
                break
        else:
            hits.append(int(options["distance"]) - left)
    return hits.count(min(hits)) if hits and options["count_best"] else len(hits)


def distance(left: str, right: str, most: int) -> int:
    """The Levenshtein distance of two words; `most` + 1 for any above `most`."""
    if abs(len(left) - len(right)) > most:
        return most + 1
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return min(row[-1], most + 1)
