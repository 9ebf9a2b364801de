"""Ops on text."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.scoring.graph import Graph


def score(op: str, *cells: Any, **params: Any) -> tuple[Any, dict[int, str]]:
    """The op on one row of texts and numbers, in both forms."""
    graph = Graph()
    args = [graph.input(f"x{i}", "string" if isinstance(cell, str) else "number") for i, cell in enumerate(cells)]
    graph.output("y", graph.apply(op, *args, **params))
    program, columns = graph.build(), {f"x{i}": [cell] for i, cell in enumerate(cells)}
    found, wanted = program.run(columns), program.run(columns, reference=True)
    assert repr(found) == repr(wanted)
    return found.outputs["y"].tolist()[0], found.errors


@pytest.mark.parametrize(
    ("op", "cells", "wanted"),
    [
        ("uppercase", ["aß"], "ASS"),
        ("lowercase", ["AB"], "ab"),
        ("trim", ["  a b "], "a b"),
        ("text_length", ["añb"], 3.0),
        ("substring", ["abcdef", 2, 3], "bcd"),
        ("substring", ["ab", 5, 3], ""),
        ("replace_pattern", ["abcabc", "b(.)", "<$1>"], "a<c>a<c>"),
        ("find_pattern", ["abc", "b"], True),
        ("full_match", ["abc", "b"], False),
        ("concat", ["a", "b", "c"], "abc"),
        ("format_number", [3.14159, "%5.2f"], " 3.14"),
        ("format_number", [7.9, "%03d"], "007"),
    ],
)
def test_text_ops_have_known_values(op: str, cells: list[Any], wanted: Any) -> None:
    assert score(op, *cells) == (wanted, {})


@pytest.mark.parametrize(
    ("op", "cells", "message"),
    [
        ("substring", ["abc", 0, 1], "substring from 0 of length 1: it starts at 1"),
        (
            "find_pattern",
            ["abc", "("],
            "'(' is no regular expression: missing ), unterminated subpattern at position 0",
        ),
        ("replace_pattern", ["abc", "a", "$3"], "replacement '$3': invalid group reference 3 at position 3"),
        ("format_number", [1.0, "%s%s"], "'%s%s' is no format of one number"),
        ("format_number", [float("inf"), "%d"], "format '%d' of inf: cannot convert float infinity to integer"),
    ],
)
def test_what_cannot_be_done_fails_the_row(op: str, cells: list[Any], message: str) -> None:
    assert score(op, *cells)[1] == {0: message}


def test_lists_leave_out_what_is_missing() -> None:
    graph = Graph()
    x, s = graph.input("x", "number"), graph.input("s", "string")
    graph.output("some", graph.apply("make_list", x, s))
    graph.output("all", graph.apply("make_list", x, s, skip_missing=False))
    outputs = graph.build().run({"x": [1.0, None], "s": ["a", "b"]}).outputs
    assert outputs["some"].tolist() == [[1.0, "a"], ["b"]]
    assert outputs["all"].tolist() == [[1.0, "a"], None]
