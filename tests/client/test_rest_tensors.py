"""Tensors ↔ TensorFlow Serving's JSON."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recserve.client.failures import CallFailedError
from recserve.client.rest_tensors import read_json, to_array, write_json

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@given(
    st.one_of(
        hnp.arrays(np.float32, SHAPES),
        hnp.arrays(np.int64, SHAPES),
        hnp.arrays(np.bool_, SHAPES),
        hnp.arrays(np.float16, SHAPES),
    )
)
def test_arrays_come_back_as_they_were(array: np.ndarray[Any, Any]) -> None:
    got = to_array(read_json(write_json({"a": array}), "x")["a"])
    if array.size:
        assert got.shape == array.shape
        np.testing.assert_array_equal(got, array)


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=4))
def test_bytes_travel_as_base64(values: list[bytes]) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    got = to_array(read_json(write_json({"a": array}), "x")["a"])
    assert got.dtype == object
    assert got.tolist() == values


def test_every_other_kind_is_written() -> None:
    document = {
        "text": np.array(["a", "ü"]),
        "bytes": np.array([b"a"]),
        "bf16": np.array([1.5], ml_dtypes.bfloat16),
        "one": np.float32(0.5),
        "keys": {7: 1},
        "nan": [np.nan],
    }
    got = json.loads(write_json(document))
    assert got["text"] == ["a", "ü"]
    assert got["bytes"] == [{"b64": "YQ=="}]
    assert got["bf16"] == [1.5]
    assert got["one"] == 0.5
    assert got["keys"] == {"7": 1}
    assert np.isnan(got["nan"][0])
    del document["nan"]
    assert json.loads(write_json(document))["keys"] == {"7": 1}


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="JSON"):
        write_json({"a": object()})
    with pytest.raises(CallFailedError, match="x: the answer is no JSON"):
        read_json(b"{", "x")


def test_matrices_of_bytes_come_back() -> None:
    got = to_array([[{"b64": "YQ=="}, {"b64": "AA=="}]])
    assert got.shape == (1, 2)
    assert got.tolist() == [[b"a", b"\0"]]
