"""Single rows against whole columns."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import DataError
from recserve.scoring.draw import draw_columns, draw_graph
from recserve.scoring.graph import Graph


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_a_row_scores_like_a_column_of_one_row(seed: int) -> None:
    random = Random(seed)
    program = draw_graph(random).build()
    for _ in range(3):
        columns = draw_columns(random, 1)
        scores = program.run(columns)
        outputs, message = program.score_row({name: values[0] for name, values in columns.items()})
        assert message == scores.errors.get(0)
        assert list(outputs) == list(scores.outputs)
        for name, values in scores.outputs.items():
            want = values[0]
            if isinstance(want, float) and np.isnan(want):
                assert outputs[name] is None or np.isnan(outputs[name])
            else:
                assert repr(outputs[name]) == repr(values.tolist()[0])


def test_a_cell_of_an_unknown_type_names_its_column() -> None:
    graph = Graph()
    graph.output("y", graph.input("x", "number"))
    program = graph.build()
    with pytest.raises(DataError, match="column 'x': a cell is dict, not str, float, int, bool or None"):
        program.score_row({"x": {}})
    assert program.score_row({"x": 2.0}) == ({"y": 2.0}, None)


def test_missing_outputs_are_none() -> None:
    graph = Graph()
    x = graph.input("x", "number")
    graph.output("y", graph.apply("negate", x))
    graph.output("log", graph.apply("log", x))
    assert graph.build().score_row({"x": None}) == ({"y": None, "log": None}, None)
