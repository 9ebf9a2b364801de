"""TensorProto ↔ NumPy, held to a slow twin."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recserve.errors import RequestError
from recserve.wire.tensor_proto import BY_NAME, TYPES, decode_tensor, encode_tensor
from recserve.wire.tensorflow_serving import TensorProto

NUMERIC = [t.name for t in TYPES if t.name not in {"string", "bfloat16"}]


def proto(dtype: str, shape: list[int], **fields: Any) -> Any:
    made = TensorProto(dtype=BY_NAME[dtype].code, **fields)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def slowly(tensor: Any) -> list[Any]:
    """The elements, one after the other, by the rules of TensorFlow."""
    kind = next(t for t in TYPES if t.code == tensor.dtype)
    count = 1
    for dim in tensor.tensor_shape.dim:
        count *= dim.size
    if tensor.tensor_content:
        size = kind.numpy.itemsize
        chunks = [tensor.tensor_content[i * size : (i + 1) * size] for i in range(count)]
        return [np.frombuffer(chunk, kind.numpy)[0] for chunk in chunks]
    sent = list(getattr(tensor, kind.field))
    if kind.field == "half_val":
        sent = [np.frombuffer(struct.pack("<H", value & 0xFFFF), kind.numpy)[0] for value in sent]
    elif "complex" in kind.field:
        sent = [complex(sent[i], sent[i + 1]) for i in range(0, len(sent), 2)]
    zero = b"" if kind.name == "string" else 0
    return [sent[min(i, len(sent) - 1)] if sent else zero for i in range(count)]


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    name = draw(st.sampled_from(NUMERIC))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    return draw(hnp.arrays(BY_NAME[name].numpy, shape))


@given(tensors(), st.booleans())
def test_arrays_come_back_as_they_were(array: np.ndarray[Any, Any], as_content: bool) -> None:
    sent = TensorProto.FromString(encode_tensor(array, as_content=as_content).SerializeToString())
    assert bool(sent.tensor_content) == (as_content and array.size > 0)
    got = decode_tensor(sent)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    np.testing.assert_array_equal(got.ravel(), np.array(slowly(sent), array.dtype))


@given(hnp.arrays(np.uint16, hnp.array_shapes(max_dims=2)), st.booleans())
def test_bits_of_bfloat16_come_back_as_they_were(bits: np.ndarray[Any, Any], as_content: bool) -> None:
    array = bits.view(ml_dtypes.bfloat16)
    got = decode_tensor(encode_tensor(array, as_content=as_content))
    np.testing.assert_array_equal(got.view(np.uint16), bits)


@given(st.lists(st.binary(max_size=5), max_size=6))
def test_strings_come_back_as_they_were(values: list[bytes]) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    got = decode_tensor(encode_tensor(array, as_content=True))
    assert got.dtype == object
    assert got.tolist() == values


def test_text_is_sent_as_utf8() -> None:
    assert list(encode_tensor(np.array(["é", ""])).string_val) == ["é".encode(), b""]
    assert list(encode_tensor(np.array(["é", b"x"], object)).string_val) == ["é".encode(), b"x"]
    assert list(encode_tensor(np.array([b"x"])).string_val) == [b"x"]


@given(st.sampled_from(TYPES), st.integers(0, 3), st.integers(0, 5))
def test_the_last_value_repeats(kind: Any, sent: int, count: int) -> None:
    if sent > count:
        sent, count = count, sent
    parts = 2 if "complex" in kind.field else 1
    blank: Any = b"ab" if kind.name == "string" else 1
    tensor = proto(kind.name, [count], **{kind.field: [blank] * (sent * parts)})
    got = decode_tensor(tensor)
    assert got.shape == (count,)
    assert got.tolist() == np.array(slowly(tensor), kind.numpy).tolist()


def test_strings_in_content_are_read_as_tensorflow_packs_them() -> None:
    long = b"x" * 200
    packed = proto("string", [3], tensor_content=b"\x02\xc8\x01\x00ab" + long)
    assert decode_tensor(packed).tolist() == [b"ab", long, b""]


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (proto("float32", [-1]), "negative axis"),
        (proto("float32", [2**40, 2**40]), "more elements than fit 63 bits"),
        (proto("float32", [2**40], float_val=[1.0]), "1 values would fill 1099511627776 elements"),
        (proto("float32", [2**30]), "0 values would fill"),
        (proto("string", [2**40], string_val=[b"a"]), "1 values would fill"),
        (proto("string", [2**40], tensor_content=b"abc"), "too few for 1099511627776 strings"),
        (proto("string", [2], tensor_content=b"\x01\x05a"), "its 2 strings take 8"),
        (proto("string", [2], tensor_content=b"\xff\xff"), "ends inside the length"),
        (proto("float32", [2], tensor_content=b"1234"), "4 bytes, but the shape [2] of float32 takes 8"),
        (proto("float32", [1], float_val=[1, 2]), "float_val has 2 values, but the shape [1] takes 1"),
        (proto("complex64", [2], scomplex_val=[1, 2, 3]), "scomplex_val has 3 values"),
        (proto("uint8", [1], int_val=[300]), "300 does not fit uint8"),
        (proto("int8", [1], int_val=[-129]), "-129 does not fit int8"),
        (TensorProto(dtype=0), "dtype DT_INVALID is not supported"),
        (TensorProto(dtype=20), "dtype DT_RESOURCE is not supported"),
        (TensorProto(dtype=101), "dtype 101 is not supported"),
    ],
)
def test_bad_tensors_are_refused_before_anything_is_allocated(tensor: Any, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_tensor(tensor)
    assert problem in str(caught.value)


def test_a_shape_of_unknown_rank_is_refused() -> None:
    tensor = proto("float32", [])
    tensor.tensor_shape.unknown_rank = True
    with pytest.raises(RequestError, match="no known rank"):
        decode_tensor(tensor)


def test_a_dtype_without_a_counterpart_is_refused() -> None:
    with pytest.raises(RequestError, match=r"dtype datetime64\[s\] has no counterpart"):
        encode_tensor(np.array(["2020-01-01"], "datetime64[s]"))


@given(st.binary(max_size=60))
def test_any_bytes_give_a_tensor_or_a_clear_error(content: bytes) -> None:
    with contextlib.suppress(RequestError, DecodeError):
        decode_tensor(TensorProto.FromString(content))
