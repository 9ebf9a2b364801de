"""Encoders of Spark and MLeap: indices, one-hot codes, buckets, interactions, and what they do with invalid values."""

from __future__ import annotations

import math
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.importers.pipelines import encoders
from recserve.importers.pipelines.pieces import OneHot
from recserve.importers.pipelines.vectors import Vector
from recserve.scoring.graph import Graph, Value


def run(graph: Graph, value: Value | Vector, **columns: list[Any]) -> tuple[list[Any], dict[int, str]]:
    values = value.elements() if isinstance(value, Vector) else [value]
    for i, one in enumerate(values):
        graph.output(str(i), one)
    scores = graph.build().run(columns)
    rows = list(zip(*[scores.outputs[str(i)].tolist() for i in range(len(values))], strict=True))
    return [row if isinstance(value, Vector) else row[0] for row in rows], scores.errors


@pytest.mark.parametrize(("handle", "unseen"), [("keep", 2.0), ("error", None), ("skip", None)])
def test_an_unknown_text_is_kept_or_fails_its_row(handle: str, unseen: float | None) -> None:
    graph = Graph()
    index = encoders.index_strings(graph, graph.input("c", "string"), ["x", "y"], handle, "c")
    found, errors = run(graph, index, c=["y", "z", None])
    assert found[0] == 1.0
    if unseen is None:
        assert errors == dict.fromkeys((1, 2), "column 'c' has a value that the model has not seen")
    else:
        assert found[1:] == [unseen, unseen]


@pytest.mark.parametrize(
    ("handle", "drops", "want"),
    [
        ("error", True, [(1, 0), (0, 0)]),
        ("error", False, [(1, 0, 0), (0, 0, 1)]),
        ("keep", True, [(1, 0, 0), (0, 0, 1), (0, 0, 0)]),
        ("keep", False, [(1, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]),
    ],
)
def test_the_width_of_a_code_depends_on_what_is_kept_and_dropped(handle: str, drops: bool, want: list[Any]) -> None:
    graph = Graph()
    code = encoders.one_hot(graph, graph.input("i", "number"), 3, handle, drop_last=drops, column="i")
    found, errors = run(graph, code, i=[0.0, 2.0, 5.0, 0.5])
    assert found[: len(want)] == want
    assert errors[3] == "column 'i' is no whole number to encode"
    if handle == "error":
        assert errors[2] == "column 'i' has a category out of range"


def test_a_code_of_a_known_index_needs_no_checks() -> None:
    graph = Graph()
    index = encoders.index_strings(graph, graph.input("c", "string"), ["x", "y"], "keep", "c")
    code = encoders.one_hot(graph, index, 3, "keep", drop_last=True, column="c")
    (piece,) = code.pieces
    assert isinstance(piece, OneHot)
    assert piece.key == index


def test_buckets_are_closed_below_and_the_last_one_on_both_sides() -> None:
    graph = Graph()
    bucket = encoders.bucketize(graph, graph.input("x", "number"), [0.0, 1.0, 2.0], "keep", "x")
    found, errors = run(graph, bucket, x=[0.0, 1.0, 2.0, None, 3.0])
    assert found[:4] == [0.0, 1.0, 1.0, 2.0]
    assert errors == {4: "column 'x' is outside the buckets"}
    graph = Graph()
    bucket = encoders.bucketize(graph, graph.input("x", "number"), [-math.inf, 1.0, math.inf], "error", "x")
    found, errors = run(graph, bucket, x=[-1e300, 1.0, None])
    assert found[:2] == [0.0, 1.0]
    assert errors == {2: "column 'x' has no value to put into a bucket"}


@pytest.mark.parametrize("splits", [[1.0], [1.0, 1.0], [2.0, 1.0]])
def test_splits_out_of_order_are_refused(splits: list[float]) -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match="are not in ascending order"):
        encoders.bucketize(graph, graph.input("x", "number"), splits, "error", "x")


def test_a_wrong_way_to_handle_invalid_values_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of error, keep, skip") as caught:
        encoders.check_handle("keeep")
    assert caught.value.hint == "Did you mean 'keep'?"


def test_a_surrogate_stands_for_missing_values_and_for_a_marker() -> None:
    graph = Graph()
    assert run(graph, encoders.impute(graph, graph.input("x", "number"), 9.0, -1.0), x=[1.0, None, -1.0])[0] == [
        1.0,
        9.0,
        9.0,
    ]


def test_interactions_of_codes_are_one_code() -> None:
    graph = Graph()
    a, b = (encoders.nominal(graph, graph.input(name, "number"), 2, name) for name in "ab")
    product = encoders.interact(graph, [a, b])
    assert len(product.pieces) == 1
    found, errors = run(graph, product, a=[0.0, 1.0, 2.0], b=[1.0, 0.0, 0.0])
    assert found[:2] == [(0, 1, 0, 0), (0, 0, 1, 0)]
    assert errors == {2: "column 'a' must hold indices below 2"}


def test_interactions_with_numbers_multiply_elements() -> None:
    graph = Graph()
    code = encoders.nominal(graph, graph.input("a", "number"), 2, "a")
    numbers = Vector.of(graph, [graph.input("x", "number"), graph.input("y", "number")])
    found, _ = run(graph, encoders.interact(graph, [numbers, code]), a=[1.0], x=[3.0], y=[5.0])
    assert found == [(0.0, 3.0, 0.0, 5.0)]


def test_elements_of_a_vector_are_indexed_by_their_maps() -> None:
    maps = {1: {5.0: 1, 7.0: 0}}
    for handle, want in (("keep", (1.0, 2.0, 1.0)), ("error", None)):
        graph = Graph()
        vector = Vector.of(graph, [graph.input(name, "number") for name in "abc"])
        found, errors = run(graph, encoders.index_vector(vector, maps, handle, "v"), a=[1.0, 1], b=[5.0, 6], c=[1.0, 1])
        assert found[0] == (1.0, 1.0, 1.0)
        assert found[1] == want if want else "element 1 of column 'v'" in errors[1]
