from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph


def forest(seed: int) -> dict[str, Any]:
    """Two trees: nodes 0–4 and 5–7."""
    rng = np.random.default_rng(seed)
    return {
        "normals": rng.integers(-2, 3, (8, 2)),
        "points": rng.integers(-2, 3, (8, 2)),
        "yes": [1, -1, 3, -1, -1, 6, -1, -1],
        "no": [2, -1, 4, -1, -1, 7, -1, -1],
        "values": rng.normal(size=8),
        "roots": [0, 5],
    }


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 999),
    st.lists(st.tuples(*[st.one_of(st.none(), st.integers(-3, 3).map(float))] * 2), min_size=1, max_size=9),
)
def test_the_block_equals_the_definition(seed: int, rows: list[tuple[float | None, float | None]]) -> None:
    graph = Graph()
    a, b = graph.input("a", "number"), graph.input("b", "number")
    graph.output("sum", graph.apply("plane_trees", a, b, **forest(seed)))
    program = graph.build()
    columns = {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}
    fast, slow = (program.run(columns, reference=reference).outputs["sum"] for reference in (False, True))
    np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"no": [2]}, "1 'no' for 8 nodes"),
        ({"points": np.zeros((8, 3))}, "'points' of 3 numbers for 2 arguments"),
        ({"yes": [0, -1, 3, -1, -1, 6, -1, -1]}, "node 0: 'yes' is 0; a branch is a later node of 8"),
        ({"roots": [9]}, "a root is no node of 8"),
    ],
)
def test_a_forest_that_is_none_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Graph().apply("plane_trees", 1.0, 2.0, **(forest(0) | change))
