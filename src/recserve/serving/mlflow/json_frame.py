"""The JSON forms of a scoring request → columns.

    {"dataframe_split": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}}
    {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}
    {"instances": [{"a": 1, "b": 2}]}       or values without names
    {"inputs": {"a": [1, 3], "b": [2, 4]}}  or values without names

Errors are worded as MLflow words them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from operator import methodcaller
from typing import Any, Final

from recserve.errors import RequestError
from recserve.serving.json_document import JsonError, read_json
from recserve.serving.mlflow.frame import BareTensor, Frame

FORMS: Final = ("dataframe_records", "dataframe_split", "inputs", "instances")
_REQUIRED: Final = (
    f"The input must be a JSON dictionary with exactly one of the input fields {{{', '.join(map(repr, FORMS))}}}"
)


def parse_json(body: bytes) -> Frame | BareTensor:
    """Read a JSON body; keys beside the form, such as `params`, are dropped.

    Raises:
        RequestError: no JSON, not exactly one of the forms, or not what the form needs.
    """
    try:
        document = read_json(body)
    except JsonError as error:
        raise _invalid(f"Ensure that input is a valid JSON formatted string. Error: '{error.reason}'") from None
    if isinstance(document, list):
        raise _invalid(f"{_REQUIRED}. Received a list.")
    if not isinstance(document, dict):
        raise _invalid(f"{_REQUIRED}. Received unexpected input type '{type(document)}'.")
    given = [form for form in FORMS if form in document]
    if len(given) != 1:
        raise RequestError(f"{_REQUIRED}. Received dictionary with input fields: {given or list(document)[:20]}.")
    value = document[given[0]]
    match given[0]:
        case "dataframe_split":
            return _from_split(value)
        case "dataframe_records":
            return _from_records(value)
        case "instances":
            return _from_instances(value)
    return _from_inputs(value)


def _from_split(value: object) -> Frame:
    if not isinstance(value, dict):
        got = "list" if isinstance(value, list) else f"type {type(value)}"
        raise _invalid(f"Dataframe split format must be a dictionary. Got {got}.")
    if "data" not in value or value.keys() - {"columns", "index", "data"}:
        raise _invalid(
            "Dataframe split format must have 'data' field and optionally 'columns' and 'index' fields. Got "
            f"{sorted(value)[:20]}."
        )
    rows, names, index = value["data"], value.get("columns"), value.get("index")
    if not isinstance(rows, list):
        raise _not_a_table("split", "'data' is no list")
    columns = _transpose(rows)
    if names is not None and (not isinstance(names, list) or len(names) != len(columns)):
        if not (isinstance(names, list) and not rows):
            passed = f"{len(names)} columns" if isinstance(names, list) else "no list of columns"
            raise _not_a_table("split", f"{passed} passed, passed data had {len(columns)} columns")
        columns = [[] for _ in names]
    if index is not None and (not isinstance(index, list) or len(index) != len(rows)):
        raise _not_a_table("split", f"the index does not have one entry for each of {len(rows)} rows")
    labels = range(len(columns)) if names is None else names
    return Frame(dict(zip(map(str, labels), columns, strict=True)), is_table=True)


def _transpose(rows: list[Any]) -> list[list[Any]]:
    """Columns of rows; short rows are filled with None, and rows that are no lists are one column."""
    kinds = set(map(type, rows))
    if kinds == {list}:
        return list(map(list, zip_longest(*rows)))
    if list in kinds or dict in kinds:
        raise _not_a_table("split", "the rows are not lists of one kind")
    return [rows] if rows else []


def _from_records(value: object) -> Frame:
    if not isinstance(value, list):
        got = "dictionary" if isinstance(value, dict) else f"type {type(value)}"
        raise _invalid(f"Dataframe records format must be a list of records. Got {got}.")
    if set(map(type, value)) - {dict}:
        raise _not_a_table("records", "a record is no dictionary")
    return Frame(_columns_of(value), is_table=True)


def _columns_of(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Columns of records; None where a record lacks one."""
    if not records:
        return {}
    names = dict.fromkeys(records[0])
    names |= dict.fromkeys(sorted(set().union(*records) - names.keys()))
    return {name: list(map(methodcaller("get", name), records)) for name in names}


def _from_instances(value: object) -> Frame | BareTensor:
    if isinstance(value, list) and value and set(map(type, value)) == {dict}:
        names = set(map(frozenset, value))
        if len(names) != 1:
            raise _invalid("The length of values for each input/column name are not the same")
        return Frame(_columns_of(value), is_table=False)
    if isinstance(value, dict):
        frame = _from_named(value)
        lengths = {len(column) for column in frame.columns.values() if isinstance(column, list)}
        if len(lengths) > 1:
            raise _invalid("The length of values for each input/column name are not the same")
        return frame
    return BareTensor(value)


def _from_inputs(value: object) -> Frame | BareTensor:
    return _from_named(value) if isinstance(value, dict) else BareTensor(value)


def _from_named(value: Mapping[str, Any]) -> Frame:
    return Frame(dict(value), is_table=False)


def _not_a_table(form: str, reason: str) -> RequestError:
    return _invalid(
        f"Provided dataframe_{form} field is not a valid dataframe representation in '{form}' format. Error: '{reason}'"
    )


def _invalid(problem: str) -> RequestError:
    """In MLflow's words, which its clients may look for."""
    return RequestError(f"Invalid input. {problem}")
