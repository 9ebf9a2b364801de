from __future__ import annotations

from typing import Any

import pytest

from recserve.scoring.graph import Graph


def run(op: str, text: Any, dtype: str = "string", *more: Any, **params: Any) -> Any:
    graph = Graph()
    graph.output("y", graph.apply(op, graph.input("x", dtype), *more, **params))
    program = graph.build()
    found = program.run({"x": [text]})
    assert str(found) == str(program.run({"x": [text]}, reference=True))
    return found.errors.get(0) or found.outputs["y"].tolist()[0]


@pytest.mark.parametrize(
    ("kind", "text", "number"),
    [
        ("date", "1970-01-03", 2.0),
        ("time", "01:00:01", 3601.0),
        ("dateTime", "1970-01-02T00:00:01", 86401.0),
        ("timeSeconds", "00:01:00", 60.0),
        ("dateDaysSince[1960]", "1960-01-11", 10.0),
        ("dateDaysSince[0]", "0001-01-01", 366.0),
        ("dateTimeSecondsSince[1980]", "1980-01-01T00:00:09", 9.0),
    ],
)
def test_texts_are_numbers_from_their_epoch(kind: str, text: str, number: float) -> None:
    assert run("parse_date", text, data_type=kind) == number
    shown = run("format_date", number, "number", data_type=kind)
    assert shown == (text if kind in ("date", "time", "dateTime") else str(int(number)))


def test_what_is_no_date_is_missing() -> None:
    assert run("parse_date", "2020-13-01", data_type="date") != run("parse_date", "2020-12-01", data_type="date")


def test_patterns_are_written_in_english() -> None:
    pattern = "%A %d %B %Y %H:%M:%S %p %j %%"
    assert (
        run("format_datetime", 0.0, "number", pattern, data_type="dateTime")
        == "Thursday 01 January 1970 00:00:00 AM 001 %"
    )
    assert "has %Q, which is no part of a date" in run("format_datetime", 0.0, "number", "%Q", data_type="date")
    assert "is no date between the years 1 and 9999" in run("format_date", 1e9, "number", data_type="date")


@pytest.mark.parametrize(("left", "right", "order"), [("a", "b", -1.0), ("b", "b", 0.0), ("é", "z", 1.0)])
def test_texts_are_ordered_by_code_points(left: str, right: str, order: float) -> None:
    assert run("compare_text", left, "string", right) == order
