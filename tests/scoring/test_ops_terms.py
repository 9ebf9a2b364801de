"""Bags of terms: hashes, splitting, counting, and sums that equal those over all counts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph
from recserve.scoring.ops_terms import counting, java_split, murmur3


def spec(*steps: list[Any], width: int = 16, **options: Any) -> str:
    return json.dumps({"steps": steps, "index": {"kind": "murmur3", "width": width, "seed": 42}, **options})


@pytest.mark.parametrize(
    ("text", "tail", "want"),
    [
        # Published answers of MurmurHash3 x86 32 with seed 0.
        ("hello", "standard", 613153351),
        ("", "standard", 0),
    ],
)
def test_murmur3_gives_published_hashes(text: str, tail: str, want: int) -> None:
    assert murmur3(text.encode(), 0, tail) == want


def test_the_two_tails_differ_only_where_bytes_are_left_over() -> None:
    assert murmur3(b"abcd", 42, "words") == murmur3(b"abcd", 42)
    assert murmur3(b"abcde", 42, "words") != murmur3(b"abcde", 42)


@pytest.mark.parametrize(
    ("text", "want"),
    [("a b", ["a", "b"]), (" a", ["", "a"]), ("a  ", ["a"]), ("", [""]), ("  ", []), ("a  b", ["a", "", "b"])],
)
def test_splitting_keeps_and_drops_empty_tokens_as_java_does(text: str, want: list[str]) -> None:
    import re

    assert java_split(text, re.compile(r"\s")) == want


@pytest.mark.parametrize(
    ("steps", "text", "want"),
    [
        ([["lower"], ["find", r"\b\w\w+\b"]], "A Red shoe", ["red", "shoe"]),
        ([["blanks"], ["ngrams", 2]], "a b c", ["a b", "b c"]),
        ([["blanks"], ["ngram_range", 1, 2]], "a b", ["a", "b", "a b"]),
        ([["blanks"], ["stop", ["THE"], False]], "the shoe", ["shoe"]),
        ([["blanks"], ["stop", ["THE"], True]], "the shoe", ["the", "shoe"]),
        ([["blanks"], ["at_least", 2]], "a bc", ["bc"]),
        ([["blanks"], ["letters_longer", 2]], "abc ab abc1", ["abc"]),
        ([["accents", "unicode"], ["whole"]], "crème", ["creme"]),
        ([["prefix", "city="], ["whole"]], "ams", ["city=ams"]),
        ([["characters", 2, 3]], "abc", ["ab", "bc", "abc"]),
        ([["characters_in_words", 3, 3]], "ab", [" ab", "ab "]),
    ],
)
def test_a_text_becomes_tokens_step_by_step(steps: list[list[Any]], text: str, want: list[str]) -> None:
    assert counting(spec(*steps)).tokens(text) == want


@given(
    st.lists(st.sampled_from(["red", "shoe", "toy", "é"]), max_size=6),
    st.sampled_from([{}, {"binary": True}, {"least": 2}, {"least": 0.5}, {"log": True}, {"square": True}]),
)
def test_sums_over_terms_equal_those_over_all_counts(words: list[str], options: dict[str, Any]) -> None:
    width, text = 16, " ".join(words)
    counts = np.zeros(width)
    for word in words:
        counts[murmur3(word.encode(), 42) % width] += 1.0
    least = options.get("least", 0) if options.get("least", 0) >= 1 else options.get("least", 0) * len(words)
    counts[counts < least] = 0.0
    if options.get("binary"):
        counts = np.sign(counts)
    if options.get("log"):
        counts[counts > 0] = 1.0 + np.log(counts[counts > 0])
    counts = counts**2 if options.get("square") else counts
    weights = np.arange(2.0 * width).reshape(width, 2)
    graph = Graph()
    value = graph.input("text", "string")
    said = spec(["blanks"], width=width, **options)
    for i, result in enumerate(graph.apply_many("terms_dots", [value], spec=said, weights=weights)):
        graph.output(f"dot{i}", result)
    for i, result in enumerate(graph.apply_many("terms_at", [value], spec=said, positions=list(range(width)))):
        graph.output(f"at{i}", result)
    program = graph.build()
    for reference in (True, False):
        found = program.run({"text": [text]}, reference=reference).outputs
        np.testing.assert_allclose([found["dot0"][0], found["dot1"][0]], counts @ weights)
        np.testing.assert_allclose([found[f"at{i}"][0] for i in range(width)], counts)


def test_a_mean_counts_unknown_words_and_an_empty_text_is_zero() -> None:
    graph = Graph()
    said = json.dumps({"steps": [["blanks"]], "index": {"kind": "words", "words": ["red"]}})
    value = graph.input("text", "string")
    (mean,) = graph.apply_many("terms_dots", [value], spec=said, weights=[[6.0]], mean=True)
    graph.output("mean", mean)
    assert graph.build().run({"text": ["red shoe toy", ""]}).outputs["mean"].tolist() == [2.0, 0.0]


@pytest.mark.parametrize(
    "said",
    ["{", "{}", '{"steps": [["fly"]], "index": {}}', spec(["find", "("]), spec(width=0), '{"steps": [], "index": 3}'],
)
def test_a_spec_that_says_nothing_is_refused(said: str) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match="'spec' cannot be read"):
        graph.apply_many("terms_at", [graph.input("text", "string")], spec=said, positions=[0])
