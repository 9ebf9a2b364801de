"""Ops that compare with stored rows: both engines agree on drawn rows; parameters are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph
from recserve.scoring.ops_neighbours import COMPARISONS, MEASURES, SIMILARITIES

CELLS = st.one_of(st.none(), st.sampled_from([0.0, 1.0, -2.5]), st.floats(-10, 10))
FLAGS = st.sampled_from([None, "true", "false"])


def compare_engines(graph: Graph, columns: dict[str, list[Any]]) -> dict[str, Any]:
    program = graph.build()
    fast, slow = program.run(columns), program.run(columns, reference=True)
    assert fast.errors == slow.errors
    for name, want in slow.outputs.items():
        np.testing.assert_allclose(fast.outputs[name], want, rtol=1e-12, atol=1e-300)
    return slow.outputs


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_distances_of_a_block_are_those_of_its_rows(data: st.DataObject) -> None:
    count, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    numbers = st.floats(0.25, 3)
    row = st.lists(st.floats(-5, 5), min_size=width, max_size=width)
    shares = st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=width, max_size=width)
    per_argument = st.lists(numbers, min_size=width, max_size=width)
    params: dict[str, Any] = {
        "centers": data.draw(st.lists(row, min_size=count, max_size=count)),
        "measure": data.draw(st.sampled_from(MEASURES)),
        "power": 3.0,
        "skip_missing": data.draw(st.booleans()),
        "weights": data.draw(st.none() | per_argument),
        "missing_weights": data.draw(st.none() | shares),
        "compare": data.draw(st.none() | st.lists(st.sampled_from(COMPARISONS), min_size=width, max_size=width)),
        "scales": data.draw(per_argument),
    }  # fmt: skip
    params = {name: value for name, value in params.items() if value is not None}
    graph = Graph()
    inputs = [graph.input(f"x{i}", "number") for i in range(width)]
    for i, value in enumerate(graph.apply_many("distances", inputs, **params)):
        graph.output(f"d{i}", value)
    for i, value in enumerate(graph.apply_many("nearest", inputs, count=2, **params)):
        graph.output(f"n{i}", value)
    rows = data.draw(st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=6))
    compare_engines(graph, {f"x{i}": [row[i] for row in rows] for i in range(width)})


def test_the_nearest_rows_come_in_order_and_ties_by_number() -> None:
    graph = Graph()
    x = graph.input("x", "number")
    found = graph.apply_many("nearest", [x], centers=[[1.0], [3.0], [1.0]], count=4)
    for i, value in enumerate(found):
        graph.output(str(i), value)
    outputs = compare_engines(graph, {"x": [1.5, 9.0, None]})
    rows = np.array([outputs[str(i)] for i in range(8)]).T
    nan = np.nan
    np.testing.assert_array_equal(rows[0], [0, 2, 1, nan, 0.5, 0.5, 1.5, nan])
    np.testing.assert_array_equal(rows[1], [1, 0, 2, nan, 6.0, 8.0, 8.0, nan])
    assert np.isnan(rows[2]).all()


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(SIMILARITIES)),
    centers=st.lists(st.tuples(*[st.sampled_from([0.0, 1.0])] * 3), min_size=1, max_size=3),
    rows=st.lists(st.tuples(FLAGS, FLAGS, FLAGS), min_size=1, max_size=6),
)
def test_similarities_of_a_block_are_those_of_its_rows(kind: str, centers: Any, rows: Any) -> None:
    graph = Graph()
    inputs = [graph.input(f"x{i}", "boolean") for i in range(3)]
    factors = {"factors": [1.0, 0.5, 0.25, 2.0, 1.0, 1.0, 1.0, 0.0]} if kind == "binary" else {}
    for i, value in enumerate(graph.apply_many("similarities", inputs, centers=centers, kind=kind, **factors)):
        graph.output(f"s{i}", value)
    compare_engines(graph, {f"x{i}": [row[i] for row in rows] for i in range(3)})


@pytest.mark.parametrize(
    ("op", "params", "message"),
    [
        ("distances", {"centers": [[1.0, 2.0]]}, "'centers' of 2 columns for 1 arguments"),
        ("distances", {"centers": [[1.0]], "weights": [1.0, 2.0]}, "2 'weights' for 1 arguments"),
        ("distances", {"centers": [[1.0]], "compare": ["near"]}, "'near' in 'compare' is none of absolute"),
        ("distances", {"centers": [[1.0]], "compare": ["gaussian"]}, "'compare' gaussian needs 'scales'"),
        ("nearest", {"centers": [[1.0]], "count": 0}, "'count' is 0"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(op: str, params: dict[str, Any], message: str) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match=message):
        graph.apply_many(op, [graph.input("x", "number")], **params)


def test_similarities_check_their_parameters() -> None:
    graph = Graph()
    x = graph.input("x", "boolean")
    with pytest.raises(ConfigError, match="kind 'binary' needs 'factors'"):
        graph.apply_many("similarities", [x], centers=[[1.0]], kind="binary")
    with pytest.raises(ConfigError, match="'centers' of 2 columns for 1 arguments"):
        graph.apply_many("similarities", [x], centers=[[1.0, 0.0]])
