"""Tables, intervals, points and casts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph
from recserve.scoring.program import Scores


def score(op: str, columns: dict[str, list[Any]], of: Any = "number", *, reference: bool, **params: Any) -> Scores:
    """The op on the columns, all of one dtype; results are y0, y1 ..."""
    graph = Graph()
    for i, value in enumerate(graph.apply_many(op, [graph.input(name, of) for name in columns], **params)):
        graph.output(f"y{i}", value)
    return graph.build().run(columns, reference=reference)


BOTH = pytest.mark.parametrize("reference", [False, True])


@BOTH
def test_a_key_finds_the_first_value_of_its_own(reference: bool) -> None:
    keys, values = [["a", "x"], ["b", "x"], ["a", "x"]], ["first", "second", "third"]
    columns = {"s": ["a", "b", "b", None, "never"], "t": ["x", "x", "y", "x", "x"]}
    params = {"keys": keys, "values": values, "default": "none", "missing": "absent", "dtype": "string"}
    scores = score("lookup", columns, "string", reference=reference, **params)
    assert scores.outputs["y0"].tolist() == ["first", "second", "none", "absent", "none"]


@BOTH
def test_a_number_is_a_key_too(reference: bool) -> None:
    scores = score("lookup", {"x": [2.5, 1, 3, None]}, reference=reference, keys=[[1], [2.5]], values=[10, None])
    np.testing.assert_array_equal(scores.outputs["y0"], [np.nan, 10.0, np.nan, np.nan])


@BOTH
def test_one_hot_of_numbers_in_any_order(reference: bool) -> None:
    for values in ([1, 2, 3], [3, 1, 2]):
        scores = score("one_hot", {"x": [2, 5, None]}, reference=reference, values=values)
        place = values.index(2)
        np.testing.assert_array_equal(scores.outputs[f"y{place}"], [1.0, 0.0, np.nan])
        np.testing.assert_array_equal(sum(scores.outputs.values()), [1.0, 0.0, np.nan])


@BOTH
def test_intervals_are_open_or_closed_at_each_end(reference: bool) -> None:
    intervals = [(None, 1.0, False, False), (1.0, 2.0, True, False), (2.0, None, False, False)]
    params = {"intervals": intervals, "values": ["low", "middle", "high"], "default": "gap", "dtype": "string"}
    scores = score("discretize", {"x": [0.5, 1.0, 2.0, 2.5, None]}, reference=reference, **params)
    assert scores.outputs["y0"].tolist() == ["low", "middle", "gap", "high", None]


@BOTH
@pytest.mark.parametrize(
    ("outside", "wanted"),
    [("extrapolate", [-10.0, 5.0, 50.0]), ("clamp", [0.0, 5.0, 30.0]), ("missing", [np.nan, 5.0, np.nan])],
)
def test_points_are_joined_by_lines(outside: str, wanted: list[float], reference: bool) -> None:
    params = {"xs": [0.0, 1.0, 2.0], "ys": [0.0, 10.0, 30.0], "outside": outside}
    scores = score("piecewise", {"x": [-1.0, 0.5, 3.0]}, reference=reference, **params)
    np.testing.assert_array_equal(scores.outputs["y0"], wanted)


@BOTH
def test_rows_of_a_table_are_found_by_number(reference: bool) -> None:
    scores = score("gather", {"x": [1, 0, 2, -1, None]}, reference=reference, table=[[1.0, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(scores.outputs["y0"], [2.0, 1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(scores.outputs["y1"], [3.0, np.nan, np.nan, np.nan, np.nan])


@BOTH
def test_a_text_that_is_no_number_is_missing_or_fails(reference: bool) -> None:
    quiet = score("string_to_number", {"s": ["2.5", "x"]}, "string", reference=reference)
    np.testing.assert_array_equal(quiet.outputs["y0"], [2.5, np.nan])
    assert not quiet.errors
    loud = score("string_to_number", {"s": ["2.5", "x"]}, "string", reference=reference, message="no number")
    assert loud.errors == {1: "no number"}


@pytest.mark.parametrize(
    ("op", "params", "problem"),
    [
        ("lookup", {"keys": [[1]], "values": []}, "1 keys for 0 values"),
        ("lookup", {"keys": [[1, 2]], "values": [1]}, r"key \(1.0, 2.0\) has 2 parts for 1 arguments"),
        ("lookup", {"keys": [["a"]], "values": [1]}, "'a' in 'keys' is no number"),
        ("lookup", {"keys": [[1]], "values": ["a"]}, "'a' in 'values' is no number"),
        ("lookup", {"keys": [[1]], "values": [1], "default": True}, "True in 'default' is no number"),
        ("discretize", {"intervals": [(0, 1, True, True)], "values": []}, "1 intervals for 0 values"),
        (
            "discretize",
            {"intervals": [(0, 1, True)], "values": [1]},
            r"interval \(0.0, 1.0, True\) is not \(low or None",
        ),
        ("piecewise", {"xs": [0.0], "ys": [0.0]}, "1 xs and 1 ys; it needs as many of each, and two at least"),
        ("piecewise", {"xs": [1.0, 0.0], "ys": [0.0, 1.0]}, "'xs' is not in ascending order"),
        ("pick", {"values": ["a"]}, "'a' in 'values' is no number"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(op: str, params: dict[str, Any], problem: str) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match=f"op '{op}': {problem}"):
        graph.apply(op, graph.input("x", "number"), **params)
