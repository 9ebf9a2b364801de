from __future__ import annotations

import numpy as np

from recserve.importers.model import ImportedModel, Output, Report
from recserve.scoring.graph import Graph


def doubled() -> ImportedModel:
    graph = Graph()
    x = graph.input("x", "number")
    graph.output("y", graph.apply("multiply", x, 2.0))
    graph.output("z", x)
    outputs = [Output("y", "float64", ("y",)), Output("both", "float64", ("z", "y"), "vector")]
    return ImportedModel(graph.build(), {"x": "float64", "unused": "string"}, outputs, Report("test"))


def test_scores_have_the_outputs_by_name_and_vectors_as_arrays() -> None:
    for reference in (False, True):
        scores = doubled().score({"x": ["1.5", None, 2], "unused": ["a", "b", "c"]}, reference=reference)
        np.testing.assert_array_equal(scores.outputs["y"], [3.0, np.nan, 4.0])
        np.testing.assert_array_equal(scores.outputs["both"], [[1.5, 3.0], [np.nan, np.nan], [2.0, 4.0]])
        assert scores.errors == {}


def test_columns_that_the_program_does_not_read_still_give_the_rows() -> None:
    scores = doubled().score({"unused": ["a", "b"]})
    assert np.isnan(scores.outputs["y"]).tolist() == [True, True]


def test_a_report_counts_elements() -> None:
    report = Report("pmml")
    report.count("TreeModel")
    report.count("TreeModel")
    assert report.elements == {"TreeModel": 2}
