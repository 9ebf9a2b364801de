from __future__ import annotations

import pytest

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph


def test_a_list_has_the_values_whose_conditions_are_true() -> None:
    graph = Graph()
    a, b, x, y = (
        graph.input("a", "boolean"),
        graph.input("b", "boolean"),
        graph.input("x", "string"),
        graph.input("y", "number"),
    )
    graph.output("z", graph.apply("list_where", a, x, b, y))
    columns = {"a": [True, None, True], "b": [True, True, False], "x": ["t", "t", None], "y": [1, 2, 3]}
    for reference in (False, True):
        assert list(graph.build().run(columns, reference=reference).outputs["z"]) == [["t", 1.0], [2.0], [None]]


def test_conditions_and_values_come_in_pairs() -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match="they come in pairs"):
        graph.apply("list_where", graph.input("a", "boolean"))
    with pytest.raises(ConfigError, match="condition 0 is no boolean"):
        graph.apply("list_where", graph.input("x", "number"), 1.0)
