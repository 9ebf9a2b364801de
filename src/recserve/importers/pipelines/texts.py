"""Stages on texts and lists of words, by the rules of Spark and MLeap."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.frame import Tokens
from recserve.importers.pipelines.pieces import Array, Placed, Terms
from recserve.importers.pipelines.vectors import Vector
from recserve.scoring.graph import Graph, Value
from recserve.scoring.ops_terms import murmur3


def java_pattern(pattern: str) -> str:
    """A regular expression of Java in Python's spelling.

    Raises:
        ConfigError: "unsupported_element" where Python's engine cannot read it.
    """
    spelt = pattern.replace("\\p{Punct}", r"[!-/:-@\[-`{-~]").replace("\\p{Alpha}", "[A-Za-z]")
    spelt = spelt.replace("\\p{L}", r"[^\W\d_]").replace("\\z", r"\Z")
    try:
        re.compile(spelt, re.ASCII)
    except re.error as error:
        raise ConfigError(
            f"regular expression {pattern!r} cannot be used: {error}", code="unsupported_element"
        ) from error
    return spelt


def split_words(tokens: Tokens, pattern: str, *, lower: bool, gaps: bool = True, shortest: int = 0) -> Tokens:
    """Words between matches of a pattern, or the matches themselves; those of `shortest` characters at least."""
    words = tokens.then("lower") if lower else tokens
    words = words.then("java_split" if gaps else "find", java_pattern(pattern))
    return words.then("at_least", shortest) if shortest else words


def hash_terms(graph: Graph, tokens: Tokens, width: int, *, binary: bool, tail: str) -> Vector:
    """Counts of terms by their MurmurHash3 with seed 42, as `HashingTF`."""
    index = {"kind": "murmur3", "width": width, "seed": 42, "tail": tail}
    return _counted(graph, tokens, index, width, binary=binary)


def count_terms(graph: Graph, tokens: Tokens, words: Sequence[str], *, binary: bool, least: float) -> Vector:
    """Counts of the words of a vocabulary, as `CountVectorizer`."""
    return _counted(graph, tokens, {"kind": "words", "words": list(words)}, len(words), binary=binary, least=least)


def _counted(
    graph: Graph, tokens: Tokens, index: dict[str, object], width: int, *, binary: bool, least: float = 0.0
) -> Vector:
    return Vector(graph, [Terms((tokens.text,), spec_of(tokens, index, binary=binary, least=least), width)])


def spec_of(tokens: Tokens, index: dict[str, object], **options: object) -> str:
    """Tokens and the index of their terms, as ops of the scoring core want it told."""
    return json.dumps({"steps": tokens.steps, "index": index, **options})


def average_words(graph: Graph, tokens: Tokens, words: Sequence[str], vectors: Array) -> Vector:
    """The sum of the vectors [words, dimension] of known words, divided by the number of all words."""
    spec = spec_of(tokens, {"kind": "words", "words": list(words)})
    return Vector.of(graph, graph.apply_many("terms_dots", [tokens.text], spec=spec, weights=vectors, mean=True))


def unit_words(graph: Graph, tokens: Tokens, words: Sequence[str], vectors: Array) -> Vector:
    """The sum of the vectors of known words, scaled to length 1 (MLeap's kernel `sqrt`)."""
    spec = spec_of(tokens, {"kind": "words", "words": list(words)})
    total = Vector.of(graph, graph.apply_many("terms_dots", [tokens.text], spec=spec, weights=vectors))
    norm = graph.apply("sqrt", total.norm_sum("square"))
    return total.times(graph.apply("reciprocal", norm))


def with_inverse_frequencies(vector: Vector, idf: Array) -> Vector:
    """Each count times its idf."""
    if len(idf) != vector.size:
        raise ConfigError(f"{len(idf)} frequencies for a vector of {vector.size}", code="invalid_model")
    return vector.scale(np.asarray(idf, dtype=np.float64))


def hash_number(graph: Graph, value: Value, label: str, width: int) -> Vector:
    """A number at the place of its column's hash, as `FeatureHasher`; 0 where it is missing."""
    place = murmur3(label.encode(), 42) % width
    return Vector(graph, [Placed(width, ((place, graph.apply("replace_missing", value, 0.0)),))])


def hash_category(graph: Graph, text: Value, label: str, width: int) -> Vector:
    """1 at the hash of `label=text`, as `FeatureHasher`; zeros for a missing text."""
    shown = Tokens(graph.apply("replace_missing", text, "")).then("prefix", f"{label}=").then("whole")
    spec = spec_of(shown, {"kind": "murmur3", "width": width, "seed": 42})
    known = graph.apply("boolean_to_number", graph.apply("is_known", text))
    return Vector(graph, [Terms((shown.text,), spec, width)]).times(known)
