"""What tree ops refuse, and what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph
from recserve.scoring.ops_trees import TESTS, UNKNOWN

STUMP: dict[str, Any] = {
    "features": [0, -1, -1],
    "tests": [0, 0, 0],
    "thresholds": [1.0, 0.0, 0.0],
    "yes": [1, -1, -1],
    "no": [2, -1, -1],
    "unknown": [0, 0, 0],
    "rows": [2, 0, 1],
    "roots": [0],
    "values": [[10.0], [20.0], [30.0]],
}
SIBLINGS: dict[str, Any] = {
    "features": [-1, 0, 0],
    "tests": [TESTS["always"], 0, 3],
    "thresholds": [0.0, 1.0, 1.0],
    "rows": [2, 0, 1],
    "child": [1, -1, -1],
    "sibling": [-1, 2, -1],
    "default": [2, -1, -1],
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tests": [0]}, "1 'tests' for 3 nodes"),
        ({"rows": [2, 0, 3]}, "node 2 has row 3 of 3"),
        ({"yes": [0, -1, -1]}, "node 0: 'yes' is 0; a branch is a later node of 3"),
        ({"no": [3, -1, -1]}, "node 0: 'no' is 3; a branch is a later node of 3"),
        ({"unknown": [4, 0, 0]}, "node 0: 'unknown' is 4, not 0 to 3"),
        ({"roots": [3]}, "a root is no node of 3"),
        ({"base": [1.0, 2.0]}, "2 numbers in 'base' for values of width 1"),
        ({"values": [[1.0, 2.0]] * 3, "output": "each"}, "output 'each' needs values of width 1"),
        ({"tests": [13, 0, 0]}, "node 0 has test 13, which is none"),
        ({"features": [5, -1, -1]}, "node 0 tests argument 5 of 2"),
        ({"features": [1, -1, -1]}, "node 0 compares argument 1, a string, with a number"),
        ({"tests": [TESTS["true"], 0, 0]}, "node 0 takes argument 0, a number, for a boolean"),
        ({"tests": [TESTS["in"], 0, 0]}, "node 0 tests set 1.0 of 0"),
        ({"tests": [TESTS["in"], 0, 0], "sets": [[], ["a"]]}, "set 1 of node 0 holds what is no number"),
    ],
)
def test_trees_that_do_not_hang_together_are_refused(changes: dict[str, Any], problem: str) -> None:
    graph = Graph()
    args = [graph.input("x", "number"), graph.input("s", "string")]
    with pytest.raises(ConfigError, match=f"op 'trees': {problem}"):
        graph.apply_many("trees", args, **(STUMP | changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"child": [0, -1, -1]}, "node 0: 'child' is 0; it is a later node of 3, or -1"),
        ({"sibling": [-1, 9, -1]}, "node 1: 'sibling' is 9; it is a later node of 3, or -1"),
        ({name: [] for name in SIBLINGS}, "a tree has one node at least"),
    ],
)
def test_a_tree_of_siblings_that_does_not_hang_together_is_refused(changes: dict[str, Any], problem: str) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match=f"op 'tree': {problem}"):
        graph.apply_many("tree", [graph.input("x", "number")], **(SIBLINGS | changes))


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(("way", "wanted"), [("no", 20.0), ("yes", 10.0), ("missing", np.nan), ("stop", 30.0)])
def test_a_missing_argument_takes_the_way_of_its_node(way: str, wanted: float, reference: bool) -> None:
    graph = Graph()
    x = graph.input("x", "number")
    nan = graph.apply("missing_to_nan", x)
    unknown = [UNKNOWN[way]] * 3
    graph.output("missing", graph.apply("trees", x, **(STUMP | {"unknown": unknown})))
    graph.output("nan", graph.apply("trees", nan, **(STUMP | {"unknown": unknown})))
    outputs = graph.build().run({"x": [None, 0.0, 5.0]}, reference=reference).outputs
    np.testing.assert_array_equal(outputs["missing"], [wanted, 10.0, 20.0])
    np.testing.assert_array_equal(outputs["nan"], [wanted, 10.0, 20.0])


@pytest.mark.parametrize("reference", [False, True])
def test_a_failed_argument_fails_the_rows_in_which_a_tree_tests_it(reference: bool) -> None:
    graph = Graph()
    x, z = graph.input("x", "number"), graph.input("z", "number")
    bad = graph.apply("fail", z, graph.apply("less", z, 0.0), message="z is negative")
    inner = {"features": [0, 1, -1, -1, -1], "yes": [1, 2, -1, -1, -1], "no": [4, 3, -1, -1, -1]}
    same = {"tests": [0] * 5, "thresholds": [1.0] * 5, "unknown": [0] * 5, "rows": [-1, -1, 0, 1, 2], "roots": [0]}
    graph.output("y", graph.apply("trees", x, bad, **inner, **same, values=[[10.0], [20.0], [30.0]]))
    scores = graph.build().run({"x": [0.0, 5.0, 0.0], "z": [-1.0, -1.0, 3.0]}, reference=reference)
    assert scores.errors == {0: "z is negative"}
    np.testing.assert_array_equal(scores.outputs["y"], [np.nan, 30.0, 20.0])


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(
    ("missing", "wanted"),
    [("none", (np.nan, np.nan)), ("null", (np.nan, np.nan)), ("last", (2, 0)), ("default", (1, 1))],
)
def test_an_unknown_test_follows_the_strategy(missing: str, wanted: tuple[float, float], reference: bool) -> None:
    graph = Graph()
    row, levels = graph.apply_many("tree", [graph.input("x", "number")], **SIBLINGS, missing=missing)
    graph.output("row", row)
    graph.output("levels", levels)
    outputs = graph.build().run({"x": [None, 0.0, 5.0]}, reference=reference).outputs
    np.testing.assert_array_equal(outputs["row"], [wanted[0], 0, 1])
    np.testing.assert_array_equal(outputs["levels"], [wanted[1], 0, 0])


@pytest.mark.parametrize("reference", [False, True])
def test_a_sum_in_float32_rounds_after_each_tree(reference: bool) -> None:
    graph = Graph()
    trees = STUMP | {"values": [[0.1], [0.2], [0.3]], "roots": [0, 0, 0], "base": [0.7], "precision": "float"}
    graph.output("y", graph.apply("trees", graph.input("x", "number"), **trees))
    total = np.float32(0.7)
    for _ in range(3):
        total += np.float32(0.1)
    assert graph.build().run({"x": [0.0]}, reference=reference).outputs["y"][0] == float(total)
