"""What exports know of graphs."""

from __future__ import annotations

import pytest

from recserve.errors import ConfigError
from recserve.importers.export.graph import Checks, branches, live_nodes, refuse, scalars
from recserve.importers.model import ImportedModel, Output, Report
from recserve.scoring.graph import Graph


def test_checks_of_raw_cells_are_told_from_arithmetic() -> None:
    g = Graph()
    x, truth = g.input("x", "number"), g.input("x", "boolean")
    number = g.apply("coalesce", x, g.apply("boolean_to_number", truth))
    is_bad = g.apply("and", x.unparsed, truth.unparsed)
    g.output("y", g.apply("fail", number, is_bad, message="no number"))
    city = g.input("city", "string")
    is_new = g.apply("not", g.apply("isin", city, values=["a", "b"]))
    g.output("city", g.apply("fail", city, is_new, message="unknown"))
    graph = g.build().graph
    checks = Checks(graph)
    assert checks.columns == {"x": "number", "city": "string"}
    void = [node.op for node in graph.nodes if node.results and checks.is_void(node.results[0])]
    assert void == ["input", "boolean_to_number"]
    fails = [node for node in graph.nodes if node.op == "fail"]
    assert [checks.allowed(node) for node in fails] == [None, ("city", ("a", "b"))]
    assert checks.is_false(fails[0].args[1])
    assert not checks.is_false(fails[1].args[1])


def test_only_what_an_output_needs_is_live() -> None:
    g = Graph()
    x = g.input("x", "number")
    g.guard(g.apply("fail", x, x.unparsed, message="no"))
    g.output("y", g.apply("negate", x))
    assert [node.op for node in live_nodes(g.build().graph)] == ["input", "negate"]


def test_trees_with_other_rules_are_refused() -> None:
    g = Graph()
    params = {
        "features": [0, -1, -1],
        "tests": [0, 0, 0],
        "thresholds": [1.0, 0.0, 0.0],
        "yes": [1, -1, -1],
        "no": [2, -1, -1],
        "rows": [-1, 0, 1],
        "roots": [0],
        "values": [[1.0], [2.0]],
    }
    x = g.input("x", "number")
    for name, unknown in (("good", 1), ("bad", 2)):
        g.output(name, g.apply("trees", x, unknown=[unknown, 0, 0], output="sum", **params))
    good, bad = (node for node in g.build().graph.nodes if node.op == "trees")
    assert [(b.feature, b.test, b.threshold, b.default, b.row) for b in branches(good)][:2] == [
        (0, "less", 1.0, 1, -1),
        (-1, "less", 0.0, -1, 0),
    ]
    with pytest.raises(ConfigError, match="op 'trees' with sets or other rules for missing values has no exact"):
        branches(bad)
    assert refuse(bad).code == "not_exportable"


def test_outputs_leave_as_scalars() -> None:
    g = Graph()
    x = g.input("x", "number")
    g.output("a", x)
    g.output("b", g.apply("negate", x))
    outputs = [Output("y", "float64", ("a",)), Output("v", "float64", ("a", "b"), "vector")]
    model = ImportedModel(g.build(), {"x": "float64"}, outputs, Report("test"))
    assert scalars(model) == {"y": "a", "v[0]": "a", "v[1]": "b"}
    with pytest.raises(ConfigError, match="output 'l' is a list"):
        scalars(ImportedModel(g.build(), {"x": "float64"}, [Output("l", "object", ("a",))], Report("test")))
