from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from recserve.errors import RequestError
from recserve.serving.oip.datatypes import BINARY_ONLY, DTYPE_OF
from recserve.serving.oip.tensors import encode_binary, encode_json_data, parse_binary, parse_json_data
from recserve.signatures import numpy_dtype

NUMBERS = {
    datatype: numpy_dtype(dtype) for datatype, dtype in DTYPE_OF.items() if datatype not in {"BYTES", *BINARY_ONLY}
}
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any]]:
    datatype = draw(st.sampled_from([*NUMBERS, "BYTES"]))
    shape = draw(SHAPES)
    if datatype != "BYTES":
        return datatype, draw(npst.arrays(NUMBERS[datatype], shape))
    tensor = np.empty(shape, object)
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    tensor.reshape(-1)[:] = [draw(texts).encode() for _ in range(tensor.size)]
    return datatype, tensor


def same(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))


@given(tensors())
def test_json_data_comes_back(given_tensor: tuple[str, np.ndarray[Any, Any]]) -> None:
    datatype, tensor = given_tensor
    flat = json.loads(encode_json_data("x", tensor))
    assert same(parse_json_data("x", datatype, list(tensor.shape), flat, "m"), tensor)


@given(tensors())
def test_nested_data_are_the_same_as_flat_data(given_tensor: tuple[str, np.ndarray[Any, Any]]) -> None:
    datatype, tensor = given_tensor
    flat = np.array(json.loads(encode_json_data("x", tensor)), object)
    nested = flat.reshape(tensor.shape).tolist() if tensor.ndim and tensor.size else flat.tolist()
    assert same(parse_json_data("x", datatype, list(tensor.shape), nested, "m"), tensor)


@given(tensors(), st.integers(0, 3))
def test_binary_data_come_back_from_any_address(given_tensor: tuple[str, np.ndarray[Any, Any]], before: int) -> None:
    datatype, tensor = given_tensor
    packed = memoryview(bytes(before) + encode_binary(tensor))[before:]
    assert same(parse_binary("x", datatype, list(tensor.shape), packed, "m"), tensor)


@given(st.binary(max_size=40), st.sampled_from(list(DTYPE_OF)), st.lists(st.integers(0, 2**64 - 1), max_size=3))
def test_any_bytes_are_a_tensor_or_refused(packed: bytes, datatype: str, shape: list[int]) -> None:
    try:
        tensor = parse_binary("x", datatype, shape, memoryview(packed), "m")
    except RequestError:
        return
    assert tensor.shape == tuple(shape)


def test_half_floats_travel_in_binary_form() -> None:
    for datatype in sorted(BINARY_ONLY):
        tensor = np.array([1.5, -2], numpy_dtype(DTYPE_OF[datatype]))
        assert same(parse_binary("x", datatype, [2], memoryview(encode_binary(tensor)), "m"), tensor)
        with pytest.raises(RequestError, match=f"receiving {datatype} data via JSON is not supported"):
            parse_json_data("x", datatype, [1], [1.0], "m")
        with pytest.raises(RequestError, match=f"sending {datatype} data via JSON is not supported"):
            encode_json_data("x", tensor)


def test_any_byte_but_zero_is_true() -> None:
    assert parse_binary("x", "BOOL", [3], memoryview(b"\x00\x01\x07"), "m").tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "problem"),
    [
        ("INT32", [1], [1.0], "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer"),
        ("INT32", [1], [True], "attempt to access JSON non-signed-integer as signed-integer"),
        ("UINT8", [1], [-1], "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        ("INT8", [1], [300], "a number for input 'x' is out of range for INT8"),
        ("UINT64", [1], [2**64], "a number for input 'x' is out of range for UINT64"),
        ("BOOL", [1], [1], "attempt to access JSON non-boolean as boolean"),
        ("FP32", [1], ["1"], "attempt to access JSON non-number as double"),
        ("FP32", [1], [None], "attempt to access JSON non-number as double"),
        ("FP64", [1], [10**400], "a number for input 'x' is out of range for FP64"),
        ("BYTES", [1], [1], "Unable to parse JSON bytes array: attempt to access JSON non-string as string"),
        ("BYTES", [1], ["\ud800"], "Unable to parse JSON bytes array: a string is not valid Unicode"),
        ("INT32", [1], 7, "Unable to parse 'data': attempt to access JSON non-array as array"),
        ("INT32", [2], [1], "Failed to parse 'data' field: shape does not match true shape"),
        ("INT32", [1], [1, 2], "Unable to parse 'data': Shape does not match true shape of 'data' field"),
        ("BYTES", [2], ["a"], "expected 2 string elements for inference input 'x' for model 'm', got 1"),
        ("FP8", [1], [1], "invalid datatype for input x"),
        ("FP32", [2**63], [1], "shape [9223372036854775808] contains one or more invalid dimensions"),
        ("FP32", [2**62, 4], [1], "causes total element count to exceed maximum size of 9223372036854775807"),
        ("FP32", [4, 2**60], [1], "byte size overflow for input 'x': element count (4611686018427387904) * data type"),
    ],
)
def test_wrong_data_are_refused(datatype: str, shape: list[int], data: object, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_json_data("x", datatype, shape, data, "m")
    assert problem in str(caught.value)


def test_lists_within_one_another_have_a_limit() -> None:
    def nest(depth: int) -> Any:
        value: Any = 7
        for _ in range(depth):
            value = [value]
        return value

    assert parse_json_data("x", "INT32", [1], nest(99), "m").tolist() == [7]
    with pytest.raises(RequestError, match=r"JSON nesting depth exceeds maximum allowed limit \(100\)"):
        parse_json_data("x", "INT32", [1], nest(100), "m")


def test_elements_may_stand_beside_lists_of_elements() -> None:
    assert parse_json_data("x", "INT32", [3], [1, [2, [3]]], "m").tolist() == [1, 2, 3]


def test_numbers_beyond_float32_are_infinite() -> None:
    assert parse_json_data("x", "FP32", [2], [1e300, -1e300], "m").tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("datatype", "shape", "packed", "problem"),
    [
        ("INT32", [2], b"1234", "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 4"),
        ("BYTES", [1], b"\x05\x00\x00\x00a", "expected 1 string elements for inference input 'x' for model 'm', got 0"),
        ("BYTES", [1], b"\x00\x00\x00\x00zz", "unexpected number of string elements 2 for inference input 'x'"),
        ("FP7", [1], b"", "invalid datatype for input x"),
    ],
)
def test_wrong_binary_data_are_refused(datatype: str, shape: list[int], packed: bytes, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_binary("x", datatype, shape, memoryview(packed), "m")
    assert problem in str(caught.value)


def test_odd_numbers_are_written_as_tokens() -> None:
    values = np.array([0.1, np.nan, np.inf, -np.inf], np.float32)
    assert encode_json_data("y", values) == b"[0.1,NaN,Infinity,-Infinity]"


def test_bytes_that_are_no_text_need_binary_form() -> None:
    with pytest.raises(RequestError, match=r"output 'y' holds bytes that are not UTF-8\. Please use the binary data"):
        encode_json_data("y", np.array([b"\xff"], object))


@pytest.mark.parametrize("shape", [[0, 2**62], [2**31, 0, 2**31]])
@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_an_empty_shape_that_no_array_can_have_is_refused(shape: list[int], datatype: str) -> None:
    problem = "causes total element count to exceed maximum size of 9223372036854775807"
    for read in (
        lambda: parse_json_data("x", datatype, shape, [], "m"),
        lambda: parse_binary("x", datatype, shape, memoryview(b""), "m"),
    ):
        with pytest.raises(RequestError, match=problem):
            read()
    assert parse_json_data("x", datatype, [0, 2**50], [], "m").shape == (0, 2**50)
