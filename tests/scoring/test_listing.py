"""Listings for people."""

from __future__ import annotations

from recserve.scoring.graph import Graph


def test_a_listing_has_a_line_an_op_and_an_output() -> None:
    graph = Graph()
    x = graph.input("x", "number")
    parts = graph.apply_many("dense", [x], weights=[[1.0] * 5], bias=[0.0] * 5)
    graph.output("y", graph.apply("sum", *parts))
    graph.guard(x)
    assert graph.build().listing().splitlines() == [
        "%0 number = input(column='x', dtype='number')",
        "%1 … %5 (5 number) = dense(%0, weights=float64[1, 5], bias=float64[5], activation='identity', "
        "precision='double')",
        "%6 number = sum(%1, %2, %3, %4, %5, skip_missing=False)",
        "'y' = %6",
        "guard %0",
    ]


def test_long_parameters_are_cut() -> None:
    graph = Graph()
    graph.output("y", graph.apply("isin", graph.input("s", "string"), values=[f"word {i}" for i in range(99)]))
    assert max(map(len, graph.build().listing().splitlines())) < 100
