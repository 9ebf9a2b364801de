"""Tensors and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.errors import RequestError
from recserve.importers.model import Output
from recserve.scored_model.tensors import input_specs, output_specs, texts_tensor, to_columns, to_tensor


def texts(*cells: bytes) -> np.ndarray[Any, Any]:
    array = np.empty(len(cells), object)
    array[:] = cells
    return array


def test_inputs_are_one_value_a_row_and_optional() -> None:
    specs = input_specs({"a": "float64", "b": "string"})
    assert [(s.name, s.dtype, s.shape, s.is_optional) for s in specs.values()] == [
        ("a", "float64", (None,), True),
        ("b", "string", (None,), True),
    ]


def test_outputs_that_are_no_numbers_go_out_as_text() -> None:
    outputs = (
        Output("y", "float64", ("y",)),
        Output("v", "float64", ("a", "b"), "vector"),
        Output("rules", "object", ("r",)),
    )
    specs = output_specs(outputs, "error")
    assert {name: (s.dtype, s.shape) for name, s in specs.items()} == {
        "y": ("float64", (None,)),
        "v": ("float64", (None, 2)),
        "rules": ("string", (None,)),
        "error": ("string", (None,)),
    }
    assert list(output_specs(outputs, None)) == ["y", "v", "rules"]


def test_the_empty_text_is_missing_unless_the_model_names_it() -> None:
    given = {"s": texts(b"a", b"", "é".encode()), "x": np.array([[1.0], [2.0], [np.nan]])}
    columns, rows = to_columns(given, keeps_empty=False)
    assert rows == 3
    assert columns["s"] == ["a", None, "é"]
    assert columns["x"].shape == (3,)
    assert to_columns(given, keeps_empty=True)[0]["s"] == ["a", "", "é"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "no input is given, so the number of rows is unknown"),
        ({"x": np.zeros((2, 2))}, r"input 'x': has the shape \[2, 2\], not \[rows\] or \[rows, 1\]"),
        ({"x": np.zeros(())}, r"input 'x': has the shape \[\]"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, "input 'y': has 3 rows, others have 2"),
        ({"s": texts(b"\xff")}, "input 's': holds bytes that are no UTF-8"),
    ],
)
def test_tensors_that_are_no_columns_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        to_columns(inputs, keeps_empty=False)


def test_values_become_text() -> None:
    assert texts_tensor([None, True, False, "é", ["a", 1]]).tolist() == [
        b"",
        b"true",
        b"false",
        "é".encode(),
        b'["a",1]',
    ]
    assert to_tensor(Output("y", "float64", ("y",)), np.array([1.0, np.nan])).dtype == np.float64
    labels = np.array([["a", None], ["b", "c"]], object)
    assert to_tensor(Output("l", "string", ("a", "b"), "vector"), labels).tolist() == [[b"a", b""], [b"b", b"c"]]
