"""States: what is missing, what fails, and who asks."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from recserve.scoring.graph import Graph, Value

BOTH = pytest.mark.parametrize("reference", [False, True])
CELLS = [True, False, None]


def run(make: Any, columns: dict[str, list[Any]], *, reference: bool) -> tuple[list[Any], dict[int, str]]:
    """Outputs and errors of a boolean made of boolean columns; a column `f` is a failure where true."""
    graph = Graph()
    inputs: dict[str, Value] = {name: graph.input(name, "boolean") for name in columns}
    if "f" in inputs:
        inputs["f"] = graph.apply("fail", inputs["f"], inputs["f"], message="failed")
    graph.output("y", make(graph, **inputs))
    scores = graph.build().run(columns, reference=reference)
    return scores.outputs["y"].tolist(), scores.errors


@BOTH
@pytest.mark.parametrize("op", ["and", "or", "xor"])
def test_logic_has_three_values(op: str, reference: bool) -> None:
    pairs = list(product(CELLS, CELLS))
    columns = {"x": [x for x, _ in pairs], "y": [y for _, y in pairs]}
    found, _ = run(lambda g, x, y: g.apply(op, x, y), columns, reference=reference)
    for (x, y), got in zip(pairs, found, strict=True):
        if op == "xor":
            want = None if x is None or y is None else x != y
        else:
            decisive = op == "or"
            want = decisive if decisive in (x, y) else (None if None in (x, y) else not decisive)
        assert got is want


@BOTH
def test_a_failure_counts_only_where_somebody_gets_to_it(reference: bool) -> None:
    columns = {"x": [False, True, None], "f": [True, True, True]}
    assert run(lambda g, x, f: g.apply("and", x, f), columns, reference=reference)[1] == {1: "failed", 2: "failed"}
    assert run(lambda g, x, f: g.apply("and", f, x), columns, reference=reference)[1] == dict.fromkeys(
        range(3), "failed"
    )
    assert run(lambda g, x, f: g.apply("select", x, f, x), columns, reference=reference)[1] == {1: "failed"}
    assert run(lambda g, x, f: g.apply("coalesce", x, f), columns, reference=reference)[1] == {2: "failed"}
    assert run(lambda g, f: g.apply("is_failed", f), {"f": [True] * 3}, reference=reference) == ([True] * 3, {})


@BOTH
def test_a_missing_condition_selects_nothing_unless_there_is_a_third_branch(reference: bool) -> None:
    columns = {"x": [True, False, None]}
    assert run(lambda g, x: g.apply("select", x, True, False), columns, reference=reference)[0] == [True, False, None]
    found, _ = run(lambda g, x: g.apply("select_or", x, False, False, True), columns, reference=reference)
    assert found == [False, False, True]


@BOTH
def test_failures_travel_as_messages(reference: bool) -> None:
    columns = {"f": [True, False, None]}

    def through_text(g: Graph, f: Value) -> Value:
        return g.apply("fail_with", g.apply("replace_failed", f, g.missing("boolean")), g.apply("failure_message", f))

    assert run(through_text, columns, reference=reference) == ([None, False, None], {0: "failed"})


@BOTH
def test_the_first_true_condition_gives_its_number(reference: bool) -> None:
    graph = Graph()
    conditions = [graph.input(name, "boolean") for name in "abc"]
    graph.output("first", graph.apply("first_true", *conditions))
    graph.output("second", graph.apply("nth_true", *conditions, nth=2))
    graph.output("label", graph.apply("choose", graph.apply("first_true", *conditions), "A", "B", "C"))
    columns = {"a": [None, False, True], "b": [True, False, None], "c": [True, False, True]}
    outputs = graph.build().run(columns, reference=reference).outputs
    assert repr(outputs["first"].tolist()) == "[1.0, nan, 0.0]"
    assert repr(outputs["second"].tolist()) == "[2.0, nan, 2.0]"
    assert outputs["label"].tolist() == ["B", None, "A"]
