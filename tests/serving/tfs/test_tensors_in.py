from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.overload.turn import CallCancelledError, Turn, enter_turn
from recserve.serving.tfs.documents import Document, read_document
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.tensors_in import decode_base64, exact_tensor, fast_tensor, read_inputs
from recserve.signatures import DTYPES, TensorSpec, numpy_dtype

LEAVES = (
    st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, -1, 2**31, -(2**31), 2**32, 2**53 + 1, 1435774380])
    | st.floats()
    | st.booleans()
    | st.none()
    | st.sampled_from(["", "a", "é"])
    | st.sampled_from([{"b64": "aGk"}, {"b64": 5}])
)
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
REGULAR = st.sampled_from([st.integers(-5, 300), st.floats(), st.booleans(), st.text(max_size=2)]).flatmap(
    lambda leaf: st.integers(0, 3).flatmap(lambda n: st.lists(st.lists(leaf, min_size=n, max_size=n), max_size=3))
)


@settings(max_examples=100)
@given(NESTED | REGULAR, st.sampled_from(DTYPES))
def test_what_is_read_fast_is_what_is_read_exactly(value: Any, dtype: str) -> None:
    text = json.dumps(value)
    fast = fast_tensor(value, dtype, "true" in text or "false" in text)
    if fast is not None:
        exact = exact_tensor(value, dtype)
        assert (fast.dtype, fast.shape) == (exact.dtype, exact.shape)
        np.testing.assert_array_equal(fast, exact)


@settings(max_examples=100)
@given(NESTED, st.sampled_from(DTYPES))
def test_any_value_is_a_tensor_or_refused(value: Any, dtype: str) -> None:
    with contextlib.suppress(WireError):
        assert exact_tensor(value, dtype).dtype == numpy_dtype(dtype)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [([[1, 2], [3, 4]], "int32"), ([0.5, 1], "float32"), (3.0, "float64"), ([True], "bool"), (["a"], "string")],
)
def test_usual_values_are_read_fast(value: Any, dtype: str) -> None:
    assert fast_tensor(value, dtype, dtype == "bool") is not None


def test_the_smaller_integers_wrap_around() -> None:
    for read in (lambda v: exact_tensor(v, "int8"), lambda v: fast_tensor(v, "int8", False)):
        assert read([300]).tolist() == [44]


def test_what_floats_cannot_hold_becomes_infinite_or_less_exact() -> None:
    values = [1e300, 1e-300, 1435774380]
    for tensor in (exact_tensor(values, "float32"), fast_tensor(values, "float32", False)):
        assert tensor is not None
        assert tensor.tolist() == [np.inf, 0.0, 1435774336.0]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([[1, 2], [3]], "int32", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([1, [2]], "int32", "Encountered list at unexpected level: 1 expected < 1"),
        ([[1], 2], "int32", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([1.0], "int32", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ([2**31], "int32", "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ([2**63], "int64", "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
        ([-1], "uint64", "JSON Value: -1 Type: Number is not of expected type: uint64"),
        ([1], "bool", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ([True], "float32", "JSON Value: true Type: True is not of expected type: float"),
        ([None], "float64", "JSON Value: null Type: Null is not of expected type: double"),
        (["12"], "int64", 'JSON Value: "12" Type: String is not of expected type: int64'),
        ([1], "string", "JSON Value: 1 Type: Number is not of expected type: string"),
        ([{"a": 1}], "float32", 'JSON Value: {\n    "a": 1\n} Type: Object is not of expected type: float'),
        ([1], "float16", "Conversion of JSON Value: 1 to type: half"),
    ],
)
def test_a_wrong_value_is_shown(value: Any, dtype: str, message: str) -> None:
    assert fast_tensor(value, dtype, True) is None
    with pytest.raises(WireError) as caught:
        exact_tensor(value, dtype)
    assert caught.value.message == message
    assert caught.value.code == ("UNIMPLEMENTED" if dtype == "float16" else "INVALID_ARGUMENT")


def test_a_tensor_has_at_most_64_dimensions() -> None:
    value: Any = 1
    for _ in range(65):
        value = [value]
    with pytest.raises(WireError, match="Tensors have at most 64 dimensions"):
        exact_tensor(value, "int32")


@settings(max_examples=100)
@given(st.binary(max_size=30), st.booleans(), st.booleans())
def test_base64_of_both_alphabets_is_read_with_padding_or_without(data: bytes, is_url: bool, is_padded: bool) -> None:
    text = (base64.urlsafe_b64encode if is_url else base64.b64encode)(data).decode()
    assert decode_base64({"b64": text if is_padded else text.rstrip("=")}) == data


@pytest.mark.parametrize("text", ["###", "a", "aGk=a", "é"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(WireError) as caught:
        decode_base64({"b64": text})
    assert caught.value.message == "Unable to base64 decode"


@pytest.mark.parametrize("place", [0, 1, 255, 256, 257, 511, 600, 699])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([True], "JSON Value: true Type: True is not of expected type: float"),
        ([1, 2], "Expecting tensor size: 1 but got: 2"),
        (["true"], 'JSON Value: "true" Type: String is not of expected type: float'),
    ],
)
def test_the_first_wrong_row_of_many_is_told(place: int, wrong: list[Any], message: str) -> None:
    rows: list[Any] = [[0.5]] * 700
    rows[place] = wrong
    rows[-1] = "later"
    if place == 699:
        rows[-1] = wrong
    if place == 0 and len(wrong) == 2:
        place, message = 1, "Expecting tensor size: 2 but got: 1"
    specs = {"x": TensorSpec("x", "float32")}
    with pytest.raises(WireError) as caught:
        read_inputs(Document({"instances": rows}, has_literals=True), specs)
    assert f"element: {place} of" in caught.value.message
    assert message in caught.value.message


def test_many_rows_beside_a_literal_are_read() -> None:
    rows = [{"x": n, "y": "true"} for n in range(600)]
    specs = {"x": TensorSpec("x", "int64"), "y": TensorSpec("y", "string")}
    tensors, _ = read_inputs(Document({"instances": rows}, has_literals=True), specs)
    assert tensors["x"].tolist() == list(range(600))
    assert tensors["y"].tolist() == [b"true"] * 600


@pytest.mark.parametrize("dtype", ["float32", "string"])
def test_rows_that_are_read_one_by_one_end_with_the_time_of_the_call(dtype: str) -> None:
    rows = b",".join([b'"a", [1]'] * 300)
    turn = Turn()
    turn.cancel()
    enter_turn(turn)
    try:
        with pytest.raises(CallCancelledError):
            read_inputs(read_document(b'{"instances": [' + rows + b"]}"), {"x": TensorSpec("x", dtype)})
    finally:
        enter_turn(None)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([b'"a"', b'"\xff"', b'{"b64": "YQ=="}', b'{"b64": "YQ"}', b'{"b64": "Y"}', b'{"b64": 1}']))
)
def test_texts_of_every_form_are_read_as_one_by_one(entries: list[bytes]) -> None:
    value = read_document(b'{"inputs": [' + b",".join(entries) + b"]}").members["inputs"]
    fast = fast_tensor(value, "string", has_literals=False)
    try:
        exact = exact_tensor(value, "string")
    except WireError:
        assert fast is None
    else:
        assert fast is not None
        assert fast.shape == exact.shape
        assert fast.tolist() == exact.tolist()


def test_rows_without_values_are_booleans_too() -> None:
    tensor = fast_tensor([[], []], "bool", has_literals=False)
    assert tensor is not None
    assert (tensor.dtype, tensor.shape) == (np.bool_, (2, 0))
