"""Tensors of the Open Inference Protocol ↔ NumPy, held to slow twins."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recserve.errors import RequestError
from recserve.wire.infer_tensor import (
    NUMPY,
    datatype_of,
    decode_contents,
    decode_raw,
    encode_contents,
    encode_raw,
    join_bytes,
    split_bytes,
)
from recserve.wire.open_inference import InferTensorContents

FORMATS = {"BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h"}
FORMATS |= {"INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d"}


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    name = draw(st.sampled_from(sorted(FORMATS)))
    return draw(hnp.arrays(NUMPY[name], hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))


@given(tensors())
def test_raw_bytes_are_packed_elements(array: np.ndarray[Any, Any]) -> None:
    raw = encode_raw(array)
    name = datatype_of(array.dtype)
    assert raw == b"".join(struct.pack("<" + FORMATS[name], value) for value in array.ravel().tolist())
    got = decode_raw(raw, name, array.shape)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


@given(tensors())
def test_typed_contents_come_back_as_they_were(array: np.ndarray[Any, Any]) -> None:
    name = datatype_of(array.dtype)
    if name == "FP16":
        with pytest.raises(RequestError, match="FP16 has no typed contents"):
            encode_contents(array)
        with pytest.raises(RequestError, match="FP16 has no typed contents"):
            decode_contents(InferTensorContents(), name, array.shape)
        return
    sent = InferTensorContents.FromString(encode_contents(array).SerializeToString())
    got = decode_contents(sent, name, array.shape)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


@given(st.lists(st.binary(max_size=6), max_size=8))
def test_strings_follow_their_lengths(values: list[bytes]) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    raw = join_bytes(array)
    assert raw == b"".join(struct.pack("<I", len(value)) + value for value in values)
    assert split_bytes(raw, len(values)).tolist() == values
    assert decode_raw(raw, "BYTES", [len(values)]).tolist() == values
    assert decode_contents(encode_contents(array), "BYTES", [len(values)]).tolist() == values


def test_text_is_sent_as_utf8() -> None:
    assert encode_raw(np.array(["é"])) == b"\x02\x00\x00\x00\xc3\xa9"
    assert list(encode_contents(np.array(["é"])).bytes_contents) == [b"\xc3\xa9"]


def test_any_byte_but_0_is_true() -> None:
    assert decode_raw(b"\x00\x01\x02", "BOOL", [3]).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("raw", "datatype", "shape", "problem"),
    [
        (b"1234", "FP32", [2], "4 bytes for a shape [2] of FP32, which takes 8"),
        (b"", "FP32", [-1], "negative axis"),
        (b"", "FP32", [2**62, 8], "63 bits"),
        (b"", "FP33", [0], "Did you mean 'FP32'"),
        (b"", "x", [0], "Datatypes: BOOL"),
        (b"abc", "BYTES", [2**50], "too few for 1125899906842624 strings"),
        (b"\x09\x00\x00\x00a", "BYTES", [1], "string 0 of 1 ends behind the 5 bytes"),
        (b"\x01\x00\x00\x00aa", "BYTES", [1], "1 strings take 5 bytes of 6"),
        (b"\x03\x00\x00\x00aaaa", "BYTES", [2], "string 1 of 2 ends behind"),
    ],
)
def test_bad_raw_tensors_are_refused(raw: bytes, datatype: str, shape: list[int], problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_raw(raw, datatype, shape)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("contents", "datatype", "shape", "problem"),
    [
        (InferTensorContents(fp32_contents=[1]), "FP32", [2], "1 values in fp32_contents for a shape [2]"),
        (InferTensorContents(fp64_contents=[1]), "FP32", [1], "fp64_contents is set, but FP32 comes in fp32_contents"),
        (InferTensorContents(int_contents=[128]), "INT8", [1], "128 does not fit INT8"),
        (InferTensorContents(uint_contents=[65536]), "UINT16", [1], "65536 does not fit UINT16"),
    ],
)
def test_bad_typed_contents_are_refused(contents: Any, datatype: str, shape: list[int], problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_contents(contents, datatype, shape)
    assert problem in str(caught.value)


def test_complex_numbers_have_no_datatype() -> None:
    with pytest.raises(RequestError, match="dtype complex64 has no datatype"):
        datatype_of(np.dtype(np.complex64))


@given(st.binary(max_size=40), st.sampled_from(sorted(NUMPY)), st.lists(st.integers(-2, 2**34), max_size=3))
def test_any_bytes_give_a_tensor_or_a_clear_error(raw: bytes, datatype: str, shape: list[int]) -> None:
    with contextlib.suppress(RequestError):
        assert decode_raw(raw, datatype, shape).shape == tuple(shape)
