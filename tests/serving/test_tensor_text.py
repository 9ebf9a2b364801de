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
from recserve.serving.tensor_text import encode_tensor
from recserve.signatures import numpy_dtype


def same(left: Any, right: Any) -> bool:
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or (math.isnan(left) and math.isnan(right))


@given(
    npst.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint64, np.int8, np.bool_]),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_a_tensor_reads_as_the_lists_that_it_is(tensor: np.ndarray[Any, Any]) -> None:
    got = np.array(json.loads(encode_tensor(tensor)), tensor.dtype)
    assert same(got.tolist(), tensor.tolist())


def test_half_floats_are_numbers_too() -> None:
    values = np.array([1.5, np.inf])
    assert encode_tensor(values.astype(np.float16)) == b"[1.5,Infinity]"
    assert encode_tensor(values.astype(numpy_dtype("bfloat16"))) == b"[1.5,Infinity]"


@pytest.mark.parametrize("code", "bBhHiIlLqQ?")
def test_every_integer_type_of_c_is_written_as_scalar_and_as_list(code: str) -> None:
    assert encode_tensor(np.array(1, code)) in (b"1", b"true")
    assert encode_tensor(np.array([1, 0], code)) in (b"[1,0]", b"[true,false]")


def test_text_is_decoded() -> None:
    assert json.loads(encode_tensor(np.array([["é".encode(), b""]], object))) == [["é", ""]]
    assert encode_tensor(np.array(b"x", object)) == b'"x"'


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(RequestError, match="output 'y' holds bytes that are not UTF-8"):
        encode_tensor(np.array([b"\xff"], object), "y")
    with pytest.raises(RequestError, match="output 'y' is complex64, which JSON has no form for"):
        encode_tensor(np.array([1j], np.complex64), "y")
