"""Graphs: values, equal ops, and what importers may get wrong."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph


def test_equal_ops_on_equal_arguments_are_one_value() -> None:
    graph = Graph()
    x = graph.input("x", "number")
    assert graph.apply("add", x, 1.0) == graph.apply("add", x, 1)
    assert graph.apply("add", x, 1.0) != graph.apply("subtract", x, 1.0)
    assert graph.constant(1.0) != graph.constant(True)
    assert graph.constant(0.0) != graph.constant(-0.0)
    assert len(graph.nodes) == 7


def test_a_column_is_read_as_several_dtypes() -> None:
    graph = Graph()
    assert graph.input("x", "number") != graph.input("x", "string")


def test_python_values_become_constants() -> None:
    graph = Graph()
    assert graph.apply("equal", "a", graph.input("x", "string")).dtype == "boolean"


def test_an_op_with_several_results_needs_apply_many() -> None:
    graph = Graph()
    x = graph.input("x", "number")
    assert [value.dtype for value in graph.apply_many("softmax", [x, x])] == ["number", "number"]
    with pytest.raises(ConfigError, match=r"op 'softmax' has 2 results here\. Call apply_many"):
        graph.apply("softmax", x, x)


@pytest.mark.parametrize(
    ("op", "args", "params", "problem"),
    [
        ("subtrct", [1.0, 2.0], {}, r"there is no op 'subtrct'\. Did you mean 'subtract'\?"),
        ("add", [1.0], {}, "op 'add' takes 2 arguments, not 1"),
        ("add", [1.0, "a"], {}, "argument 1 of op 'add' is a string, not a number"),
        ("equal", [1.0, "a"], {}, "argument 1 of op 'equal' is a string, not a number"),
        ("sum", [1.0, True], {}, "argument 1 of op 'sum' is a boolean, not a number"),
        ("fail", [1.0, True], {}, "op 'fail' needs parameter 'message'"),
        ("fail", [1.0, True], {"mesage": "x"}, r"op 'fail' has no parameter 'mesage'\. Did you mean 'message'\?"),
        ("fail", [1.0, True], {"message": 3}, "parameter 'message' of op 'fail': 3 is no text"),
        ("sum", [1.0], {"skip_missing": 1}, "parameter 'skip_missing' of op 'sum': 1 is neither True nor False"),
        ("sum", [1.0], {"skip_missing": None}, "parameter 'skip_missing' of op 'sum' must not be None"),
        ("isin", [1.0], {"values": [object]}, "parameter 'values' of op 'isin': .* is no number, boolean or text"),
        ("gather", [1.0], {"table": [1.0]}, "parameter 'table' of op 'gather': has 1 axes, not 2"),
        ("pick", [1.0], {"values": [1], "dtype": "text"}, "'text' is none of number, string, boolean"),
    ],
)
def test_a_wrong_op_is_an_error_that_names_it(op: str, args: list[Any], params: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Graph().apply(op, *args, **params)


def test_a_constant_needs_a_dtype() -> None:
    with pytest.raises(ConfigError, match=r"constant: None has no dtype\. Write missing\(dtype\)"):
        Graph().constant(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="constant: nan has no dtype"):
        Graph().constant(float("nan"))
    with pytest.raises(ConfigError, match=r"constant: \[\] is no number, boolean or text"):
        Graph().constant([])  # type: ignore[arg-type]


def test_values_of_another_graph_are_refused() -> None:
    stranger = Graph().input("x", "number")
    with pytest.raises(ConfigError, match="an argument of op 'negate' belongs to another graph"):
        Graph().apply("negate", stranger)


def test_outputs_have_names_of_their_own() -> None:
    graph = Graph()
    graph.output("y", graph.constant(1.0))
    with pytest.raises(ConfigError, match="there are two outputs 'y'"):
        graph.output("y", graph.constant(2.0))
    with pytest.raises(ConfigError, match="the graph has no output"):
        Graph().build()


def test_only_inputs_tell_what_could_not_be_parsed() -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match="value 0 is no input but a result of 'constant'"):
        _ = graph.constant(1.0).unparsed
