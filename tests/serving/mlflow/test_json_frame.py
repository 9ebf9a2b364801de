from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.mlflow.frame import BareTensor, Frame
from recserve.serving.mlflow.json_frame import FORMS, parse_json


def parse(document: object) -> Frame | BareTensor:
    return parse_json(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("document", "columns"),
    [
        ({"dataframe_split": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}}, {"a": [1, 3]}),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1], [3, 4]]}}, {"a": [1, 3], "b": [None, 4]}),
        ({"dataframe_split": {"columns": ["a"], "data": [1, 2]}}, {"a": [1, 2]}),
        ({"dataframe_split": {"columns": ["a", "b"], "data": []}}, {"a": [], "b": []}),
        ({"dataframe_split": {"data": [[1, 2]]}}, {"0": [1], "1": [2]}),
        ({"dataframe_split": {"columns": [7], "data": [["x"]]}}, {"7": ["x"]}),
        ({"dataframe_records": [{"a": 1}, {"b": 2, "a": 3}]}, {"a": [1, 3], "b": [None, 2]}),
        ({"dataframe_records": []}, {}),
    ],
)
def test_dataframes_are_tables(document: object, columns: dict[str, Any]) -> None:
    frame = parse(document)
    assert isinstance(frame, Frame)
    assert frame.is_table
    assert columns.items() <= frame.columns.items()


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [{"a": 1, "b": [2]}, {"a": 3, "b": [4]}]},
        {"instances": {"a": [1, 3], "b": [[2], [4]]}},
        {"inputs": {"a": [1, 3], "b": [[2], [4]]}, "params": {"k": 1}, "signature_name": "x"},
    ],
)
def test_named_tensors_are_columns(document: object) -> None:
    assert parse(document) == Frame({"a": [1, 3], "b": [[2], [4]]}, is_table=False)


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_values_without_names_stay_as_they_are(form: str) -> None:
    assert parse({form: [[1, 2]]}) == BareTensor([[1, 2]])
    assert parse({form: 7}) == BareTensor(7)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "The input must be a JSON dictionary with exactly one of the input fields {'dataframe_records', "),
        ([], "Received a list."),
        (7, "Received unexpected input type '<class 'int'>'."),
        ({}, "Received dictionary with input fields: []."),
        ({"columns": [], "data": []}, "exactly one of the input fields"),
        ({"instances": [], "inputs": []}, "Received dictionary with input fields: ['inputs', 'instances']."),
        ({"dataframe_split": [[1]]}, "Dataframe split format must be a dictionary. Got list."),
        ({"dataframe_split": 7}, "Dataframe split format must be a dictionary. Got type <class 'int'>."),
        ({"dataframe_split": {"columns": ["a"]}}, "Dataframe split format must have 'data' field and optionally"),
        ({"dataframe_split": {"data": [], "x": 1}}, "Dataframe split format must have 'data' field and optionally"),
        (
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0]]}},
            "Provided dataframe_split field is not a valid dataframe representation in 'split' format. Error: "
            "'2 columns passed, passed data had 1 columns'",
        ),
        ({"dataframe_split": {"columns": "ab", "data": [[1, 2]]}}, "no list of columns passed"),
        ({"dataframe_split": {"data": 7}}, "'data' is no list"),
        ({"dataframe_split": {"data": [[1], 2]}}, "the rows are not lists of one kind"),
        ({"dataframe_split": {"index": [1], "data": [[1], [2]]}}, "the index does not have one entry for each of 2"),
        ({"dataframe_records": {"a": 1}}, "Dataframe records format must be a list of records. Got dictionary."),
        ({"dataframe_records": 7}, "Dataframe records format must be a list of records. Got type <class 'int'>."),
        ({"dataframe_records": [1]}, "not a valid dataframe representation in 'records' format"),
        ({"instances": [{"a": 1}, {"b": 1}]}, "The length of values for each input/column name are not the same"),
        ({"instances": {"a": [1], "b": []}}, "The length of values for each input/column name are not the same"),
    ],
)
def test_other_forms_are_refused(document: object, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(document)
    assert problem in str(caught.value)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(RequestError, match="Ensure that input is a valid JSON formatted string"):
        parse_json(b"{bad")


ODD = st.recursive(
    st.none() | st.integers() | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*FORMS, "data", "columns", "index", "a"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(ODD)
def test_any_document_is_read_or_refused(document: object) -> None:
    with contextlib.suppress(RequestError):
        parse(document)


def rows_slowly(columns: list[str], rows: list[list[int]]) -> dict[str, list[int | None]]:
    return {name: [row[at] if at < len(row) else None for row in rows] for at, name in enumerate(columns)}


@given(st.lists(st.lists(st.integers(), max_size=4), min_size=1, max_size=5))
def test_rows_become_columns_as_the_slow_one_has_them(rows: list[list[int]]) -> None:
    names = list("abcd")[: max(map(len, rows))]
    frame = parse({"dataframe_split": {"columns": names, "data": rows}})
    assert frame == Frame(rows_slowly(names, rows), is_table=True)
