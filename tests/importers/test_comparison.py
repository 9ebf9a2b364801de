"""Answers held to expected ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError, DataError
from recserve.importers.comparison import compare, read_table, report_lines
from recserve.importers.model import ImportedModel, Output, Report
from recserve.scoring.graph import Graph


@pytest.fixture
def model() -> ImportedModel:
    """y = x / 2, its sign as a truth and a label, and a vector; rows below -5 fail."""
    g = Graph()
    x = g.input("x", "number")
    y = g.apply("multiply", g.apply("fail", x, g.apply("less", x, -5.0), message="too small"), 0.5)
    is_big = g.apply("greater", y, 1.0)
    g.output("y", y)
    g.output("big", is_big)
    g.output("label", g.apply("select", is_big, g.constant("big"), g.constant("small")))
    g.output("twice", g.apply("multiply", y, 2.0))
    outputs = [
        Output("y", "float64", ("y",)),
        Output("big", "bool", ("big",)),
        Output("label", "string", ("label",)),
        Output("v", "float64", ("y", "twice"), "vector"),
    ]
    return ImportedModel(g.build(), {"x": "float64"}, outputs, Report("pmml"))


def test_cells_that_agree_are_told_from_those_that_do_not(model: ImportedModel) -> None:
    rows = {"x": ["1", "3", None, "-9"]}
    expected = {
        "y": ["0.5000000001", "2", None, "-4.5"],
        "big": ["FALSE", "true", None, None],
        "label": ["small", "small", None, None],
        "v[1]": ["1", "3", None, None],
    }
    found = compare(model, rows, expected)
    assert (found.rows, found.columns) == (4, ("y", "big", "label", "v[1]"))
    assert [(d.row, d.column, d.expected, d.got) for d in found.differences] == [
        (1, "label", "small", "big"),
        (1, "y", 2.0, 1.5),
        (3, "y", -4.5, "too small"),
    ]
    assert found.worst == pytest.approx(1e-10)
    assert found.errors == {3: "too small"}
    assert len(compare(model, rows, expected, rtol=0.0, atol=0.6).differences) == 2


def test_columns_may_have_other_names(model: ImportedModel) -> None:
    found = compare(model, {"x": ["4"]}, {"want": ["2"], "x": ["4"]}, columns={"want": "v[0]"})
    assert found.differences == ()


@pytest.mark.parametrize(
    ("expected", "columns", "message"),
    [
        ({"z": ["1"]}, None, "no column has the name of an output. Outputs: 'y', 'big', 'label', 'v'"),
        ({"y": ["1"]}, {"yy": "y"}, "there is no expected column 'yy'"),
        ({"y": ["1"]}, {"y": "v[2]"}, r"the model has no output 'v\[2\]'"),
        ({"y": ["1", "2"]}, None, "there are 1 rows and 2 expected ones"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    model: ImportedModel, expected: Any, columns: dict[str, str] | None, message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        compare(model, {"x": ["1"]}, expected, columns=columns)


def test_a_table_is_read_with_missing_cells(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('﻿x,"a,b"\n1,NA\n,z\n', encoding="utf-8")
    assert read_table(path) == {"x": ["1", None], "a,b": [None, "z"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as CSV: it is empty"),
        ("a,a\n", "rows.csv:1: two columns have one name"),
        ("a,b\n1\n", "row 0: has 1 cells, the header 2"),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(path)
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_table(tmp_path / "absent.csv")


def test_a_report_names_what_was_read() -> None:
    report = Report("pmml", {"TreeModel": 2}, {"x": "double"}, ["y"], ["scaled"], ["an annotation is passed over"])
    assert report_lines(report, {"x": "float64"}, {"y": "float64"}) == [
        "Format: pmml",
        "Read: 2 TreeModel",
        "Transformations: scaled",
        "Targets: y",
        "Inputs:",
        "  x: double",
        "Outputs:",
        "  y: float64",
        "Without effect on scores:",
        "  an annotation is passed over",
    ]
