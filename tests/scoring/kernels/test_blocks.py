"""Layers and normalisations with functions that both sides round for themselves."""

from __future__ import annotations

import numpy as np
import pytest

from recserve.scoring.graph import Graph
from recserve.scoring.kernels import blocks
from recserve.scoring.ops_blocks import ACTIVATIONS

COLUMNS = {"x": [0.3, None, -1.5, 20.0, 0.0], "z": [1.0, 2.0, -700.0, 3.0, 0.0]}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_is_its_definition(activation: str) -> None:
    graph = Graph()
    xs = [graph.input("x", "number"), graph.input("z", "number")]
    weights = [[0.5, -1.0], [0.25, 0.125]]
    for i, y in enumerate(graph.apply_many("dense", xs, weights=weights, bias=[0.1, 0.2], activation=activation)):
        graph.output(f"y{i}", y)
    program = graph.build()
    found, wanted = program.run(COLUMNS).outputs, program.run(COLUMNS, reference=True).outputs
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-13, atol=1e-300)


def test_both_sides_know_the_same_activations() -> None:
    assert set(blocks.ACTIVATIONS) == set(ACTIVATIONS)


def test_a_softmax_is_its_definition_and_sums_to_one() -> None:
    graph = Graph()
    xs = [graph.input("x", "number"), graph.input("z", "number"), graph.constant(0.5)]
    for i, y in enumerate(graph.apply_many("softmax", xs)):
        graph.output(f"y{i}", y)
    program = graph.build()
    found, wanted = program.run(COLUMNS).outputs, program.run(COLUMNS, reference=True).outputs
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-13, atol=1e-300)
    total = sum(found.values())
    np.testing.assert_allclose(total, [1.0, np.nan, 1.0, 1.0, 1.0])
