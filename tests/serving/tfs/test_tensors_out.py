from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.tensors_out import write_classifications, write_columns, write_rows, write_tensor

SHAPES = stn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
ARRAYS = st.sampled_from([np.float32, np.float64, np.int8, np.int64, np.uint64, np.bool_]).flatmap(
    lambda dtype: stn.arrays(dtype, SHAPES)
)


def words(shape: tuple[int, ...]) -> Any:
    array = np.empty(shape, object)
    for place in np.ndindex(shape):
        array[place] = f'"é{place}\n'.encode()
    return array


@settings(max_examples=100)
@given(ARRAYS)
def test_a_tensor_reads_back(array: Any) -> None:
    read = np.array(json.loads(write_tensor("y", array)), array.dtype)
    np.testing.assert_array_equal(read.reshape(array.shape), array)
    if 0 not in array.shape:
        assert read.shape == array.shape


@settings(max_examples=100)
@given(ARRAYS.filter(lambda array: array.ndim > 0))
def test_rows_are_the_lines_of_a_split_tensor(array: Any) -> None:
    lines = write_tensor("y", array, is_split=True).split("\n") if array.shape[0] else []
    assert [json.loads(line) for line in lines] == json.loads(write_tensor("y", array), parse_constant=str) or any(
        token in str(lines) for token in ("NaN", "Infinity")
    )


@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (1, 2, 2)])
def test_strings_are_text_or_base64_by_the_name_of_the_output(shape: tuple[int, ...]) -> None:
    array = words(shape)
    decoded = np.vectorize(bytes.decode, otypes=[object])(array)
    assert json.loads(write_tensor("y", array)) == decoded.tolist()
    flat = np.array(json.loads(write_tensor("y_bytes", array)), object).ravel()
    assert [base64.b64decode(value["b64"]) for value in flat] == array.ravel().tolist()


def test_bytes_that_are_no_text_are_replaced() -> None:
    array = np.empty(1, object)
    array[0] = b"a\xff"
    assert json.loads(write_tensor("y", array)) == ["a\ufffd"]


def test_several_outputs_make_objects() -> None:
    outputs = {"a%": np.array([1, 2]), "b": np.array([[0.5], [np.nan]], np.float32)}
    assert write_rows(outputs) == b'{"predictions": [{"a%": 1, "b": [0.5]}, {"a%": 2, "b": [NaN]}]}'
    assert write_columns(outputs) == b'{"outputs": {"a%": [1, 2], "b": [[0.5], [NaN]]}}'


def test_no_rows_are_an_empty_list() -> None:
    assert write_rows({"a": np.zeros((0, 2)), "b": np.zeros(0, np.complex64)}) == b'{"predictions": []}'


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"y": np.float32(1)[...]}, "Tensor name: y has no shape information "),
        ({"a": np.zeros(2), "b": np.zeros(1)}, "Tensor name: b has inconsistent batch size: 1 expecting: 2"),
        ({"y": np.zeros(1, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
        ({"y": np.zeros(1, np.float16)}, "Failed to write JSON value for tensor type: half"),
        ({"y": np.zeros(1, np.uint16)}, "Failed to write JSON value for tensor type: uint16"),
    ],
)
def test_outputs_without_rows_are_refused(outputs: Any, message: str) -> None:
    with pytest.raises(WireError) as caught:
        write_rows(outputs)
    assert caught.value.message == message


def test_classes_without_labels_have_empty_ones() -> None:
    scores = np.array([[0.5, 1]], np.float32)
    assert write_classifications(scores, None) == b'{"results": [[["", 0.5], ["", 1.0]]]}'
    labels = np.array([[b"a", b"b"]], object)
    assert write_classifications(scores, labels) == b'{"results": [[["a", 0.5], ["b", 1.0]]]}'
