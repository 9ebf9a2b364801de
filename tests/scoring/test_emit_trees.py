"""Tree ensembles in their fast and general form against the definition."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.scoring.compiled import BLOCK_ROWS
from recserve.scoring.draw import Drawing, draw_columns, draw_tree, draw_trees
from recserve.scoring.emit_trees import DEEP, is_fast
from recserve.scoring.graph import Graph
from recserve.scoring.ops_trees import TESTS, UNKNOWN
from recserve.scoring.program import Program


def kernels_of(program: Program) -> set[str]:
    return {kernel for segment in program.compiled.segments for kernel in segment.kernels}


def assert_alike(program: Program, columns: dict[str, list[Any]]) -> None:
    found, wanted = program.run(columns), program.run(columns, reference=True)
    assert found.errors == wanted.errors
    for name, values in wanted.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], values, err_msg=name)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.booleans())
def test_drawn_trees_score_like_their_definition(seed: int, is_simple: bool) -> None:
    random = Random(seed)
    drawing = Drawing(random)
    bad = drawing.graph.apply("fail", drawing.take("number"), drawing.take("boolean"), message="bad")
    drawing.values["number"].append(bad)
    for i, value in enumerate(draw_trees(drawing, is_simple=is_simple)):
        drawing.graph.output(f"y{i}", value)
    program = drawing.graph.build()
    if is_simple:
        assert "general_trees" not in kernels_of(program)
    assert_alike(program, draw_columns(random, random.choice((1, 7, 8, 9, 40))))


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_drawn_trees_with_siblings_score_like_their_definition(seed: int) -> None:
    random = Random(seed)
    drawing = Drawing(random)
    bad = drawing.graph.apply("fail", drawing.take("number"), drawing.take("boolean"), message="bad")
    drawing.values["number"].append(bad)
    row, levels = draw_tree(drawing)
    drawing.graph.output("row", row)
    drawing.graph.output("levels", levels)
    assert_alike(drawing.graph.build(), draw_columns(random, 20))


def chain(depth: int, **changes: Any) -> dict[str, Any]:
    """One tree: node i tests x < i, the leaf of its true branch is its own, the false branch goes on."""
    inner = range(depth)
    params: dict[str, Any] = {
        "features": [0] * depth + [-1] * (depth + 1),
        "tests": [TESTS["less"]] * (2 * depth + 1),
        "thresholds": [float(i) for i in inner] + [0.0] * (depth + 1),
        "yes": [depth + i for i in inner] + [-1] * (depth + 1),
        "no": [i + 1 if i < depth - 1 else 2 * depth for i in inner] + [-1] * (depth + 1),
        "unknown": [UNKNOWN["yes"]] * (2 * depth + 1),
        "rows": [-1] * depth + list(range(depth + 1)),
        "roots": [0],
        "values": [[float(i)] for i in range(depth + 1)],
    }
    return params | changes


@pytest.mark.parametrize("depth", [1, DEEP - 1, DEEP, 60])
def test_shallow_and_deep_trees_end_at_the_same_leaves(depth: int) -> None:
    graph = Graph()
    graph.output("y", graph.apply("trees", graph.input("x", "number"), **chain(depth)))
    program = graph.build()
    xs = [i - 0.5 for i in range(depth + 1)] * (1 + BLOCK_ROWS // depth)
    assert kernels_of(program) == {"fast_trees"}
    np.testing.assert_array_equal(program.run({"x": xs}).outputs["y"], [x + 0.5 for x in xs])


def test_thresholds_at_the_edge_of_their_tests() -> None:
    graph = Graph()
    x = graph.input("x", "number")
    for name in ("less", "less_equal", "greater", "greater_equal"):
        graph.output(name, graph.apply("trees", x, **chain(1, tests=[TESTS[name]] * 3, thresholds=[0.1, 0.0, 0.0])))
    program = graph.build()
    assert kernels_of(program) == {"fast_trees"}
    assert_alike(program, {"x": [np.nextafter(0.1, 0.0), 0.1, np.nextafter(0.1, 1.0), None, float("inf")]})


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": [UNKNOWN["missing"]] * 3},
        {"thresholds": [float("inf"), 0.0, 0.0]},
        {"rows": [-1, -1, 0]},
        {"tests": [TESTS["equal"]] * 3},
        {"roots": [0, 0]},
    ],
)
def test_what_the_fast_form_cannot_say_takes_the_general_one(changes: dict[str, Any]) -> None:
    graph = Graph()
    graph.output("y", graph.apply("trees", graph.input("x", "number"), **chain(1, **changes)))
    program = graph.build()
    assert not is_fast(program.graph.nodes[-1].params)
    assert kernels_of(program) == {"general_trees"}
    assert_alike(program, {"x": [-1.0, 0.0, 1.0, None, float("inf")]})
