"""Ops on the order of their arguments: both engines agree on drawn rows with each other and with plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph

CELLS = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0]), st.floats(-3, 3))


def run_both(graph: Graph, columns: dict[str, list[Any]]) -> dict[str, Any]:
    program = graph.build()
    fast, slow = program.run(columns), program.run(columns, reference=True)
    assert fast.errors == slow.errors
    for name, want in slow.outputs.items():
        np.testing.assert_array_equal(fast.outputs[name], want)
    return slow.outputs


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8), descending=st.booleans())
def test_ranks_are_those_of_a_stable_sort_without_the_missing(rows: list[Any], descending: bool) -> None:
    graph = Graph()
    inputs = [graph.input(f"x{i}", "number") for i in range(3)]
    for i, value in enumerate(graph.apply_many("rank_order", inputs, descending=descending)):
        graph.output(f"r{i}", value)
    found = run_both(graph, {f"x{i}": [row[i] for row in rows] for i in range(3)})
    for n, row in enumerate(rows):
        known = [i for i in range(3) if row[i] is not None]
        want = sorted(known, key=lambda i: -row[i] if descending else row[i])
        got = [found[f"r{i}"][n] for i in range(3)]
        assert got[: len(want)] == want
        assert all(np.isnan(x) for x in got[len(want) :])


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_tallies_are_sums_by_place(rows: list[Any]) -> None:
    graph = Graph()
    inputs = [graph.input(f"x{i}", "number") for i in range(4)]
    for i, value in enumerate(graph.apply_many("tally", inputs, size=2)):
        graph.output(f"t{i}", value)
    found = run_both(graph, {f"x{i}": [row[i] for row in rows] for i in range(4)})
    for n, row in enumerate(rows):
        sums = [0.0, 0.0]
        for place, weight in ((row[0], row[2]), (row[1], row[3])):
            if place is not None and weight is not None and 0 <= place < 2:
                sums[int(place)] += weight
        assert [found["t0"][n], found["t1"][n]] == sums


def test_the_nth_true_argument_passes_over_missing_ones() -> None:
    graph = Graph()
    inputs = [graph.input(f"x{i}", "boolean") for i in range(3)]
    graph.output("second", graph.apply("nth_true", *inputs, nth=2))
    columns = {"x0": ["true", None, "false"], "x1": [None, "true", "true"], "x2": ["true", "true", "false"]}
    np.testing.assert_array_equal(run_both(graph, columns)["second"], [2.0, 2.0, np.nan])


@pytest.mark.parametrize(("count", "size", "message"), [(3, 1, "3 arguments; it takes"), (2, -1, "'size' is -1")])
def test_tallies_check_their_arguments(count: int, size: int, message: str) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match=message):
        graph.apply_many("tally", [graph.input(f"x{i}", "number") for i in range(count)], size=size)
