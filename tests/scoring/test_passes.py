"""What building a program removes and folds."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.scoring.draw import draw_columns, draw_graph
from recserve.scoring.graph import Graph
from recserve.scoring.passes import live_nodes, optimised
from recserve.scoring.reference import run


def ops_of(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_what_no_output_and_no_guard_needs_is_gone() -> None:
    graph = Graph()
    x, z = graph.input("x", "number"), graph.input("z", "number")
    graph.apply("exp", x)
    graph.output("y", graph.apply("negate", x))
    graph.guard(graph.apply("fail", z, True, message="never"))
    assert ops_of(optimised(graph)) == ["input", "input", "negate", "constant", "fail"]


def test_constants_are_folded_with_their_states() -> None:
    graph = Graph()
    graph.output("number", graph.apply("add", graph.apply("multiply", 2.0, 3.0), 1.0))
    graph.output("missing", graph.apply("add", graph.missing("number"), 1.0))
    graph.output("failed", graph.apply("negate", graph.failure("no", "number")))
    found = optimised(graph)
    assert ops_of(found) == ["constant", "constant", "failure"]
    assert found.nodes[0].params["value"] == 7.0


def test_a_constant_that_would_be_nan_stays_an_op() -> None:
    graph = Graph()
    graph.output("y", graph.apply("is_nan", graph.apply("divide", graph.constant(0.0), 0.0)))
    assert ops_of(optimised(graph)) == ["constant", "divide", "is_nan"]


def test_logic_of_one_condition_is_the_condition() -> None:
    graph = Graph()
    x = graph.input("x", "boolean")
    graph.output("y", graph.apply("or", graph.apply("and", graph.apply("coalesce", x))))
    assert ops_of(optimised(graph)) == ["input"]


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_a_drawn_graph_means_the_same_after_all_passes(seed: int) -> None:
    random = Random(seed)
    graph = draw_graph(random)
    columns = draw_columns(random, 4)
    found = optimised(graph)
    assert all(live_nodes(found))
    assert repr(run(graph, columns, 4)) == repr(run(found, columns, 4))
