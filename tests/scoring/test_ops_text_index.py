from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph
from recserve.scoring.ops_text_index import distance

OPTIONS: dict[str, Any] = {
    "weights": "termFrequency", "case_sensitive": False, "distance": 0, "count_best": False, "separator": r"\s+",
    "word": None, "tables": [],
}  # fmt: skip


def weigh(text: str, term: str, **changes: Any) -> float:
    graph = Graph()
    options = json.dumps(OPTIONS | changes)
    x = graph.input("x", "string")
    graph.output("one", graph.apply("text_index", x, term, options=options))
    graph.output("many", graph.apply_many("text_indexes", [x], terms=[term, "other"], options=options)[0])
    for reference in (False, True):
        found = graph.build().run({"x": [text]}, reference=reference).outputs
        assert found["one"].tolist() == found["many"].tolist()
    return float(found["one"][0])


@pytest.mark.parametrize(
    ("text", "term", "changes", "expected"),
    [
        ("The cat, the hat", "the", {}, 2.0),
        ("The cat, the hat", "the", {"case_sensitive": True}, 1.0),
        ("(cat)! cat", "cat", {}, 2.0),
        ("a b a b", "a b", {}, 2.0),
        ("a a", "a", {"weights": "binary"}, 1.0),
        ("a " * 9, "a", {"weights": "logarithmic"}, 1.0),
        ("cat cart", "cat", {"distance": 1}, 2.0),
        ("cat cart", "cat", {"distance": 1, "count_best": True}, 1.0),
        ("a1b2", "a", {"word": "[a-z]"}, 1.0),
        (
            "doesnt",
            "not",
            {"tables": [{"rows": [["nt$", " not", True]], "case_sensitive": True, "recursive": False}]},
            1.0,
        ),
    ],
)
def test_terms_are_counted_as_the_options_say(text: str, term: str, changes: dict[str, Any], expected: float) -> None:
    assert weigh(text, term, **changes) == pytest.approx(expected)


def test_options_are_checked() -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match="is no JSON"):
        graph.apply("text_index", "a", "b", options="{")
    with pytest.raises(ConfigError, match="'options' needs exactly"):
        graph.apply("text_index", "a", "b", options="{}")
    with pytest.raises(ConfigError, match=r"the term 1\.0 is no text"):
        graph.apply_many("text_indexes", ["a"], terms=[1.0], options=json.dumps(OPTIONS))


def twin(left: str, right: str) -> int:
    if not left or not right:
        return len(left) + len(right)
    same = twin(left[1:], right[1:]) + (left[0] != right[0])
    return min(same, twin(left[1:], right) + 1, twin(left, right[1:]) + 1)


@given(st.text("ab", max_size=4), st.text("ab", max_size=4), st.integers(0, 4))
def test_distances_are_levenshteins_up_to_a_limit(left: str, right: str, most: int) -> None:
    assert distance(left, right, most) == min(twin(left, right), most + 1)
