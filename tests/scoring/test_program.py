"""Programs as callers see them."""

from __future__ import annotations

import threading
from random import Random

import numpy as np
import pytest

from recserve.errors import DataError
from recserve.scoring.draw import draw_columns, draw_graph
from recserve.scoring.graph import Graph
from recserve.scoring.program import Program


def age_and_sex() -> Program:
    graph = Graph()
    age, sex = graph.input("age", "number"), graph.input("sex", "string")
    base = graph.apply("lookup", sex, keys=[["m"], ["f"]], values=[1.0, 2.0])
    checked = graph.apply("fail", age, age.unparsed, message="age is no number")
    graph.output("score", graph.apply("add", checked, base))
    graph.output("sex", sex)
    graph.output("adult", graph.apply("greater_equal", age, 18.0))
    graph.output("all", graph.apply("make_list", age, sex))
    return graph.build()


@pytest.mark.parametrize("reference", [False, True])
def test_outputs_and_errors_have_one_entry_a_row(reference: bool) -> None:
    scores = age_and_sex().run({"age": ["12", None, "x", 40], "sex": ["m", "f", "f", "q"]}, reference=reference)
    np.testing.assert_array_equal(scores.outputs["score"], [13.0, np.nan, np.nan, np.nan])
    assert scores.outputs["sex"].tolist() == ["m", "f", None, "q"]
    assert scores.outputs["adult"].tolist() == [False, None, None, True]
    assert scores.outputs["all"].tolist() == [[12.0, "m"], ["f"], None, [40.0, "q"]]
    assert scores.errors == {2: "age is no number"}


@pytest.mark.parametrize("reference", [False, True])
def test_a_guard_fails_a_row_that_its_outputs_do_not(reference: bool) -> None:
    graph = Graph()
    x = graph.input("x", "number")
    graph.output("y", graph.constant(1.0))
    graph.guard(graph.apply("fail", x, graph.apply("is_missing", x), message="x is needed"))
    scores = graph.build().run({"x": [1.0, None]}, reference=reference)
    assert scores.errors == {1: "x is needed"}
    np.testing.assert_array_equal(scores.outputs["y"], [1.0, np.nan])


def test_inputs_and_outputs_are_described() -> None:
    program = age_and_sex()
    assert program.inputs == {"age": ("number",), "sex": ("string",)}
    assert program.outputs == {"score": "number", "sex": "string", "adult": "boolean", "all": "object"}


def test_columns_that_are_absent_are_missing_and_others_are_passed_over() -> None:
    scores = age_and_sex().run({"age": [20.0, 30.0], "colour": ["red", "blue"]})
    assert scores.outputs["adult"].tolist() == [True, True]
    assert scores.outputs["sex"].tolist() == [None, None]


def test_a_program_without_columns_takes_the_number_of_rows() -> None:
    assert len(age_and_sex().run({}, rows=3).outputs["score"]) == 3
    assert len(age_and_sex().run({}).outputs["score"]) == 0


def test_columns_of_different_lengths_are_an_error() -> None:
    with pytest.raises(DataError, match="column 'sex' has 1 rows, not 2"):
        age_and_sex().run({"age": [1, 2], "sex": ["m"]})


def test_threads_share_a_program() -> None:
    random = Random(4)
    program = draw_graph(random).build()
    columns = draw_columns(random, 300)
    wanted = repr(program.run(columns))
    found: list[str] = []

    def score() -> None:
        found.extend(repr(program.run(columns)) for _ in range(5))

    threads = [threading.Thread(target=score) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 20


def test_warming_makes_the_kernels_ready() -> None:
    program = age_and_sex()
    program.warm()
    assert program.compiled.segments[0].kernels
