from __future__ import annotations

import json
import math

import numpy as np
import pytest

from recserve.errors import RequestError
from recserve.serving.mlflow.predictions import encode_predictions

A = np.array([1.0, np.nan])
B = np.array([b"x", b"y"], object)


def test_one_output_is_its_values() -> None:
    assert json.loads(encode_predictions({"y": np.array([[1], [2]])}, is_table=True)) == {"predictions": [[1], [2]]}


def test_a_table_gets_a_table() -> None:
    got = json.loads(encode_predictions({"a": A.reshape(2, 1), "b": B}, is_table=True))["predictions"]
    assert [row["b"] for row in got] == ["x", "y"]
    assert got[0]["a"] == 1.0
    assert math.isnan(got[1]["a"])
    assert encode_predictions({"a": np.zeros(0), "b": np.zeros(0)}, is_table=True) == b'{"predictions":[]}'


@pytest.mark.parametrize(
    ("outputs", "is_table"),
    [({"a": A, "b": B}, False), ({"a": A, "b": np.zeros((2, 3))}, True), ({"a": A, "b": np.zeros(3)}, True)],
)
def test_other_outputs_are_an_object(outputs: dict[str, np.ndarray], is_table: bool) -> None:
    got = json.loads(encode_predictions(outputs, is_table=is_table))["predictions"]
    assert got.keys() == {"a", "b"}
    assert len(got["b"]) == len(outputs["b"])


def test_outputs_without_a_form_are_refused() -> None:
    with pytest.raises(RequestError, match="output 'y' holds bytes that are not UTF-8"):
        encode_predictions({"y": np.array([b"\xff"], object)}, is_table=False)
