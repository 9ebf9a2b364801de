"""Sums, layers, votes: what they mean and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph

BOTH = pytest.mark.parametrize("reference", [False, True])


def score(op: str, columns: dict[str, list[Any]], *, reference: bool, of: Any = "number", **params: Any) -> list[Any]:
    graph = Graph()
    for i, value in enumerate(graph.apply_many(op, [graph.input(name, of) for name in columns], **params)):
        graph.output(f"y{i}", value)
    return [values.tolist() for values in graph.build().run(columns, reference=reference).outputs.values()]


@BOTH
def test_a_linear_sum_is_added_in_the_order_of_its_arguments(reference: bool) -> None:
    columns = {"x": [1e16], "y": [1.0], "z": [-1e16]}
    weights = {"weights": [1.0, 1.0, 1.0]}
    assert score("linear", columns, reference=reference, **weights, bias=1.0) == [[0.0]]
    assert score("linear", columns, reference=reference, **weights, bias=1.0, bias_last=True) == [[1.0]]


@BOTH
def test_a_linear_sum_in_float32_rounds_each_step(reference: bool) -> None:
    wanted = np.float32(0.1) + np.float32(0.3) * np.float32(0.7)
    found = score("linear", {"x": [0.7]}, reference=reference, weights=[0.3], bias=0.1, precision="float")
    assert found == [[float(wanted)]]


@BOTH
def test_the_first_of_equal_arguments_wins(reference: bool) -> None:
    columns = {"x": [1.0, None, None], "y": [2.0, 2.0, None], "z": [2.0, 2.0, None]}
    assert repr(score("argmax", columns, reference=reference)) == "[[1.0, nan, nan]]"
    assert repr(score("argmax", columns, reference=reference, skip_missing=True)) == "[[1.0, 1.0, nan]]"
    assert repr(score("argmin", columns, reference=reference, skip_missing=True)) == "[[0.0, 1.0, nan]]"


@BOTH
def test_votes_are_counted_by_class(reference: bool) -> None:
    columns = {"s": ["a", "b", None], "t": ["a", "q", "a"], "u": ["b", "b", "b"]}
    params: dict[str, Any] = {"weights": [1.0, 2.0, 4.0], "classes": ["a", "b"], "of": "string"}
    assert repr(score("vote", columns, reference=reference, **params)) == "[[3.0, 0.0, nan], [4.0, 5.0, nan]]"
    found = score("vote", columns, reference=reference, **params, skip_missing=True)
    assert found == [[3.0, 0.0, 2.0], [4.0, 5.0, 4.0]]


@BOTH
def test_weighted_means_and_medians_leave_out_what_is_missing(reference: bool) -> None:
    columns = {"x": [1.0, None, None], "y": [2.0, 2.0, None], "z": [6.0, 6.0, None]}
    params: dict[str, Any] = {"weights": [1.0, 1.0, 2.0], "skip_missing": True}
    assert repr(score("weighted_mean", columns, reference=reference, **params)) == f"[[3.75, {14 / 3}, nan]]"
    assert repr(score("weighted_median", columns, reference=reference, **params)) == "[[2.0, 6.0, nan]]"


@pytest.mark.parametrize(
    ("op", "params", "problem"),
    [
        ("linear", {"weights": [1.0, 2.0]}, "2 weights for 1 arguments"),
        ("dense", {"weights": [[1.0], [2.0]], "bias": [0.0]}, "weights of 2 inputs for 1 arguments"),
        ("dense", {"weights": [[1.0]], "bias": [0.0, 1.0]}, "2 biases for 1 units"),
        ("vote", {"weights": [], "classes": [1]}, "0 weights for 1 arguments"),
        ("tally", {"size": 2}, "1 arguments; it takes all numbers of places, and then a weight for each"),
    ],
)
def test_parameters_that_do_not_fit_the_arguments_are_refused(op: str, params: dict[str, Any], problem: str) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match=f"op '{op}': {problem}"):
        graph.apply_many(op, [graph.input("x", "number")], **params)
