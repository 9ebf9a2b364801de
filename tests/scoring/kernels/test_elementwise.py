"""Functions of numbers, compiled, against their definitions: where both round for themselves, to a few last bits."""

from __future__ import annotations

import numpy as np
import pytest

from recserve.scoring.graph import Graph
from recserve.scoring.kernels.elementwise import ONE, TWO
from recserve.scoring.ops_numbers import BINARY, COMPARE, TESTS, UNARY

NUMBERS = [None, 0.0, -0.0, 1.0, -1.0, 0.5, -0.25, 2.5, -3.5, 0.999, 1e-9, 30.0, -30.0, 710.0, -710.0, 1e300, 0.1]
PAIRS = [(x, y) for x in NUMBERS for y in NUMBERS]
SPECIAL = [float("inf"), float("-inf")]


@pytest.mark.parametrize("op", [*UNARY, *TESTS])
def test_a_function_of_one_number_is_its_definition(op: str) -> None:
    graph = Graph()
    result = graph.apply(op, graph.input("x", "number"))
    graph.output("y", result if result.dtype == "number" else graph.apply("boolean_to_number", result))
    columns = {"x": [*NUMBERS, *SPECIAL]}
    program = graph.build()
    found, wanted = program.run(columns).outputs["y"], program.run(columns, reference=True).outputs["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("op", [*BINARY, *COMPARE])
def test_a_function_of_two_numbers_is_its_definition(op: str) -> None:
    graph = Graph()
    result = graph.apply(op, graph.input("x", "number"), graph.input("y", "number"))
    graph.output("y", result if result.dtype == "number" else graph.apply("boolean_to_number", result))
    columns = {"x": [x for x, _ in PAIRS], "y": [y for _, y in PAIRS]}
    program = graph.build()
    found, wanted = program.run(columns).outputs["y"], program.run(columns, reference=True).outputs["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-300)


def test_opcodes_name_known_ops() -> None:
    from recserve.scoring.op import OPS

    assert set(ONE) | set(TWO) <= set(OPS)


@pytest.mark.parametrize(
    ("op", "x", "wanted"),
    [
        ("rint", 2.5, 2.0),
        ("round_half_up", 2.5, 3.0),
        ("round_half_up", -2.5, -2.0),
        ("normal_quantile", 0.5, 0.0),
        ("normal_quantile", 0.0, float("-inf")),
        ("sigmoid", -800.0, 0.0),
        ("to_float32", 0.1, float(np.float32(0.1))),
        ("inverse_cauchit", 0.0, 0.5),
    ],
)
@pytest.mark.parametrize("reference", [False, True])
def test_roundings_and_links_have_known_values(op: str, x: float, wanted: float, reference: bool) -> None:
    graph = Graph()
    graph.output("y", graph.apply(op, graph.input("x", "number")))
    assert graph.build().run({"x": [x]}, reference=reference).outputs["y"][0] == wanted
