"""Symbolic vectors: whatever the pieces, products and norms are those of the elements."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.importers.pipelines.pieces import Constants, OneHot, Piece, Placed, Scalars, Summed, Terms
from recserve.importers.pipelines.scalers import binarize, monomials, normalize, products, rescale, standardize
from recserve.importers.pipelines.vectors import Vector, concatenate
from recserve.scoring.graph import Graph

SPEC = json.dumps({"steps": [["blanks"]], "index": {"kind": "words", "words": ["red", "shoe", "toy"]}})
ROWS = {"a": [1.5, -2.0, 0.0], "b": [0.25, 3.0, -1.0], "k": [0.0, 2.0, 7.0], "t": ["red toy red", "", "shoe"]}


def piece(graph: Graph, kind: str) -> Piece:
    a, b, k = (graph.input(name, "number") for name in "abk")
    texts = (graph.input("t", "string"),)
    if kind == "summed":
        placed = Vector(graph, [Placed(3, ((1, a), (1, b)))])
        return Summed((placed, Vector(graph, [Terms(texts, SPEC, 3)])))
    pieces: dict[str, Piece] = {
        "scalars": Scalars((a, b, graph.apply("multiply", a, b))),
        "constants": Constants(np.array([2.0, -1.0])),
        "one-hot": OneHot(k, (0.0, 1.0, 2.0), np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.5, -1.0])),
        "terms": Terms(texts, SPEC, 3, np.array([1.0, 2.0, -0.5])),
        "placed": Placed(4, ((0, a), (2, b), (2, a))),
    }
    return pieces[kind]


KINDS = st.lists(
    st.sampled_from(["scalars", "constants", "one-hot", "terms", "placed", "summed"]), min_size=1, max_size=4
)


def spelt_out(vector: Vector) -> np.ndarray[Any, Any]:
    """[rows, size]: each element computed alone."""
    for i in range(vector.size):
        vector.graph.output(f"e{i}", vector.element(i))
    found = vector.graph.build().run(ROWS).outputs
    return np.stack([found[f"e{i}"] for i in range(vector.size)], axis=1)


def run(graph: Graph, name: str) -> Any:
    return graph.build().run(ROWS).outputs[name]


@settings(max_examples=60, deadline=None)
@given(KINDS, st.sampled_from(["none", "affine", "scale", "times", "squared", "slice", "standardize"]), st.data())
def test_a_product_is_the_sum_over_elements(kinds: list[str], change: str, data: st.DataObject) -> None:
    graph = Graph()
    vector = concatenate(graph, [Vector(graph, [piece(graph, kind)]) for kind in kinds])
    ramp = np.linspace(-1.0, 2.0, vector.size)
    if change == "affine":
        vector = vector.affine(ramp, ramp[::-1])
    elif change == "scale":
        vector = vector.scale(ramp)
    elif change == "times":
        vector = vector.times(graph.input("b", "number"))
    elif change == "squared":
        vector = vector.squared()
    elif change == "slice":
        vector = vector.slice(data.draw(st.lists(st.integers(0, vector.size - 1), min_size=1, max_size=8)))
    elif change == "standardize":
        vector = standardize(vector, ramp, np.where(ramp > 0, ramp, 0.0))
    weights = np.cos(np.arange(vector.size))
    graph.output("dot", vector.dot(weights, 0.5))
    graph.output("many", vector.dots(np.stack([weights, -weights]), [0.0, 1.0])[1])
    elements = spelt_out(vector)
    np.testing.assert_allclose(run(graph, "dot"), elements @ weights + 0.5, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(run(graph, "many"), 1.0 - elements @ weights, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(KINDS, st.sampled_from([1.0, 2.0, 3.0, math.inf]))
def test_a_norm_is_that_of_the_elements(kinds: list[str], power: float) -> None:
    graph = Graph()
    vector = concatenate(graph, [Vector(graph, [piece(graph, kind)]) for kind in kinds])
    plain = spelt_out(vector)
    norms = np.linalg.norm(plain, power, axis=1, keepdims=True)
    other = Graph()
    same = normalize(concatenate(other, [Vector(other, [piece(other, kind)]) for kind in kinds]), power)
    np.testing.assert_allclose(spelt_out(same), plain / np.where(norms == 0.0, 1.0, norms), rtol=1e-9)


def test_functions_of_a_one_hot_code_act_on_its_constants() -> None:
    graph = Graph()
    vector = binarize(Vector(graph, [piece(graph, "one-hot")]), np.full(3, 0.4))
    (code,) = vector.pieces
    assert isinstance(code, OneHot)
    assert code.on.tolist() == [1.0, 1.0, 1.0]
    assert code.off.tolist() == [0.0, 1.0, 0.0]


def test_an_element_of_a_flat_range_goes_to_the_middle_of_the_target() -> None:
    graph = Graph()
    vector = rescale(Vector(graph, [piece(graph, "scalars")]), np.zeros(3), np.array([1.0, 2.0, 0.0]), (-1.0, 3.0))
    assert spelt_out(vector)[0].tolist() == [5.0, -0.5, 1.0]


def test_an_expansion_has_the_order_of_spark() -> None:
    assert monomials(2, 2) == [(1, 0), (2, 0), (0, 1), (1, 1), (0, 2)]
    graph = Graph()
    vector = Vector(graph, [piece(graph, "scalars")]).slice([0, 1])
    assert spelt_out(products(vector, monomials(2, 2)))[0].tolist() == [1.5, 2.25, 0.25, 0.375, 0.0625]
    with pytest.raises(ConfigError, match="at most 16384 terms"):
        monomials(1000, 3)


def test_a_vector_without_that_element_and_one_too_wide_are_refused() -> None:
    graph = Graph()
    vector = Vector(graph, [Placed(1 << 20, ())])
    with pytest.raises(ConfigError, match="has no element 1048576"):
        vector.element(1 << 20)
    with pytest.raises(ConfigError, match="has no element -1"):
        vector.slice([-1])
    with pytest.raises(ConfigError, match="at most 65536 are supported") as caught:
        vector.elements()
    assert caught.value.code == "unsupported_element"
