"""Kernel machines and radial layers: both engines agree on drawn rows; parameters are checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph
from recserve.scoring.ops_machines import KERNELS

CELLS = st.one_of(st.none(), st.floats(-4, 4))


def compare_engines(graph: Graph, columns: dict[str, list[Any]]) -> dict[str, Any]:
    program = graph.build()
    fast, slow = program.run(columns), program.run(columns, reference=True)
    for name, want in slow.outputs.items():
        np.testing.assert_allclose(fast.outputs[name], want, rtol=1e-9, atol=1e-9)
    return slow.outputs


@settings(max_examples=50, deadline=None)
@given(
    kernel=st.sampled_from(KERNELS),
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    vectors=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=4),
)
def test_machines_on_a_block_are_those_on_its_rows(kernel: str, rows: Any, vectors: Any) -> None:
    graph = Graph()
    inputs = [graph.input("a", "number"), graph.input("b", "number")]
    coefficients = [[0.5 * i - 1.0 for i in range(len(vectors))], [1.0] * len(vectors)]
    found = graph.apply_many(
        "svm", inputs, vectors=vectors, coefficients=coefficients, intercepts=[0.25, -1.0], kernel=kernel, gamma=0.5,
        coef0=0.75, degree=2.0,
    )  # fmt: skip
    for i, value in enumerate(found):
        graph.output(f"m{i}", value)
    centers = [[1.0, -1.0], [0.0, 2.0], [0.5, 0.5]]
    found = graph.apply_many("radial", inputs, centers=centers, widths=[1.0, 0.5, 2.0], offsets=[0.0, 1.0, -1.0])
    for i, value in enumerate(found):
        graph.output(f"r{i}", value)
    compare_engines(graph, {"a": [a for a, _ in rows], "b": [b for _, b in rows]})


def test_log_gamma_is_infinite_at_its_poles() -> None:
    graph = Graph()
    graph.output("y", graph.apply("log_gamma", graph.input("x", "number")))
    found = compare_engines(graph, {"x": [1.0, 5.0, 0.5, 0.0, -3.0, -0.5, math.inf, -math.inf]})["y"]
    want = [0.0, math.log(24), 0.5 * math.log(math.pi), math.inf, math.inf, math.lgamma(-0.5), math.inf, math.inf]
    np.testing.assert_allclose(found, want, atol=1e-12)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"vectors": [[1.0, 2.0]], "coefficients": [[1.0]], "intercepts": [0.0]}, "of 2 columns for 1 arguments"),
        ({"vectors": [[1.0]], "coefficients": [[1.0, 2.0]], "intercepts": [0.0]}, "of 2 columns for 1 vectors"),
        ({"vectors": [[1.0]], "coefficients": [[1.0]], "intercepts": []}, "0 'intercepts' for 1 rows"),
    ],
)
def test_machines_that_do_not_fit_are_refused(params: dict[str, Any], message: str) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match=message):
        graph.apply_many("svm", [graph.input("x", "number")], kernel="linear", **params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"centers": [[1.0, 2.0]], "widths": [1.0], "offsets": [0.0]}, "'centers' of 2 columns for 1 arguments"),
        ({"centers": [[1.0]], "widths": [1.0], "offsets": []}, "1 'widths' and 0 'offsets' for 1 units"),
    ],
)
def test_radial_layers_that_do_not_fit_are_refused(params: dict[str, Any], message: str) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match=message):
        graph.apply_many("radial", [graph.input("x", "number")], **params)
