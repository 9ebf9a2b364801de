"""Stages against the whole."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.rates import Rate
from recserve.scoring.draw import Drawing, draw_columns, draw_graph, draw_trees
from recserve.scoring.graph import Graph
from recserve.scoring.program import Program, Scores, Stages

RATES = (Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE)


def run_stages(stages: Stages, columns: dict[str, list[Any]], sides: dict[str, Rate], rows: int) -> Scores:
    """Score a request whose request columns have one row."""
    of_item = {name: values for name, values in columns.items() if sides.get(name) is Rate.ITEM}
    of_request = {name: values[:1] for name, values in columns.items() if sides.get(name) is Rate.REQUEST}
    given: dict[str, Any] = {name: values for name, values in columns.items() if sides.get(name) not in RATES[:2]}
    if stages.item is not None:
        found = stages.item.run(of_item, rows=rows)
        assert not found.errors
        given |= found.outputs
    if stages.request is not None:
        found = stages.request.run(of_request, rows=1)
        assert not found.errors
        given |= {name: np.repeat(values, rows) for name, values in found.outputs.items()}
    return stages.candidate.run(given, rows=rows)


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_stages_score_like_the_whole_bit_for_bit(seed: int) -> None:
    random = Random(seed)
    program = draw_graph(random).build()
    sides = {name: random.choice(RATES) for name in program.inputs}
    rows = random.choice((1, 7))
    columns = draw_columns(random, rows)
    for name, rate in sides.items():
        if rate is Rate.REQUEST and name in columns:
            columns[name] = [columns[name][0]] * rows
    whole = program.run(columns, rows=rows)
    staged = run_stages(program.split(sides), columns, sides, rows)
    assert staged.errors == whole.errors
    for name, values in whole.outputs.items():
        np.testing.assert_array_equal(staged.outputs[name], values, err_msg=name)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_grouped_sums_differ_by_rounding_alone(seed: int) -> None:
    random = Random(seed)
    drawing = Drawing(random)
    for i in range(3):
        for j, value in enumerate(draw_trees(drawing, is_simple=random.random() < 0.5)):
            drawing.graph.output(f"trees {i} {j}", value)
    xs = [drawing.graph.input(name, "number") for name in ("n", "m", "k", "n")]
    drawing.graph.output("linear", drawing.graph.apply("linear", *xs, weights=[0.1, 0.7, -0.3, 0.2], bias=0.3))
    program = drawing.graph.build()
    sides = {"n": Rate.ITEM, "m": Rate.REQUEST}
    columns = draw_columns(random, 7)
    columns["m"] = [columns["m"][0]] * 7
    whole = program.run(columns)
    split = program.split({name: rate for name, rate in sides.items() if name in program.inputs}, exact=False)
    staged = run_stages(split, columns, sides, 7)
    for name, values in whole.outputs.items():
        np.testing.assert_allclose(staged.outputs[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def linear_of_two_sides() -> Program:
    graph = Graph()
    item = [graph.input(f"item{i}", "number") for i in range(3)]
    user = [graph.input(f"user{i}", "number") for i in range(3)]
    graph.output("y", graph.apply("linear", *item, *user, weights=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], bias=0.5))
    return graph.build()


def test_a_grouped_linear_sum_leaves_one_number_a_side_to_the_candidates() -> None:
    program = linear_of_two_sides()
    sides = {name: Rate.ITEM if name.startswith("i") else Rate.REQUEST for name in program.inputs}
    stages = program.split(sides, exact=False)
    assert stages.item is not None
    assert stages.request is not None
    values = [name for name in stages.candidate.inputs if not name.endswith("known")]
    assert len(values) == 2
    columns: dict[str, list[Any]] = {name: [1.0, 1.0] for name in program.inputs}
    assert run_stages(stages, columns, sides, 2).outputs["y"].tolist() == [21.5, 21.5]


def test_a_program_of_one_side_leaves_its_outputs_to_the_candidates() -> None:
    program = linear_of_two_sides()
    stages = program.split(dict.fromkeys(program.inputs, Rate.ITEM))
    assert stages.request is None
    assert [node.op for node in stages.candidate.graph.nodes if node.op == "linear"] == []


def test_a_side_of_an_unknown_column_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"the program reads no column 'item9'\. Did you mean 'item\d'\?"):
        linear_of_two_sides().split({"item9": Rate.ITEM})
