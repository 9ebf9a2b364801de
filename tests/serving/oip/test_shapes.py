from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.errors import RequestError
from recserve.serving.oip.shapes import (
    check_shape,
    count_rows,
    is_batching,
    parse_raw_input,
    shape_list,
)
from recserve.signatures import Signature, TensorSpec

Shape = tuple[int | None, ...] | None


def signature(*shapes: Shape, dtype: str = "float32", output: Shape = (None,)) -> Signature:
    inputs = {f"x{i}": TensorSpec(f"x{i}", dtype, shape) for i, shape in enumerate(shapes)}
    return Signature("serving_default", inputs, {"y": TensorSpec("y", dtype, output)})


def test_a_model_batches_when_every_tensor_begins_with_a_size_that_varies() -> None:
    assert is_batching(signature((None, 16), (None,)))
    assert not is_batching(signature((None, 16), (4, 16)))
    assert not is_batching(signature((None, 16), output=()))
    assert not is_batching(signature(None))


def test_rows_are_those_of_the_batch() -> None:
    tensors: dict[str, Any] = {"x0": np.zeros((5, 2)), "x1": np.zeros((1, 2))}
    assert count_rows(signature((None, 2), (None, 2)), tensors) == 5
    assert count_rows(signature((5, 2)), tensors) == 1


def test_a_shape_is_held_to_its_specification() -> None:
    spec = TensorSpec("x", "float32", (None, 16))
    check_shape(spec, (7, 16), "m")
    check_shape(TensorSpec("x", "float32"), (1, 2, 3), "m")
    for shape in ((7, 8), (16,), (1, 1, 16)):
        with pytest.raises(RequestError, match=r"unexpected shape for input 'x' for model 'm'\. Expected \[-1,16\]"):
            check_shape(spec, shape, "m")


def test_a_shape_is_listed_with_minus_one_where_it_varies() -> None:
    assert shape_list(TensorSpec("x", "float32", (None, 16))) == [-1, 16]
    assert shape_list(TensorSpec("x", "float32")) == [-1]


@pytest.mark.parametrize(
    ("shape", "got"), [((None, None), (1, 2)), ((None, 2), (1, 2)), ((None,), (2,)), ((2, 1), (2, 1)), (None, (2,))]
)
def test_the_bytes_of_a_raw_request_give_the_size_that_varies(shape: Shape, got: tuple[int, ...]) -> None:
    tensors = parse_raw_input(signature(shape), np.array([3, 4], "<f4").tobytes(), "m")
    assert tensors["x0"].shape == got
    assert tensors["x0"].ravel().tolist() == [3, 4]


@pytest.mark.parametrize(("shape", "got"), [((1,), (1,)), ((None, 1), (1, 1)), ((), ())])
def test_raw_bytes_are_one_element(shape: Shape, got: tuple[int, ...]) -> None:
    tensor = parse_raw_input(signature(shape, dtype="string"), b"427", "m")["x0"]
    assert tensor.shape == got
    assert tensor.ravel().tolist() == [b"427"]


@pytest.mark.parametrize(
    ("shapes", "dtype", "body", "problem"),
    [
        ([(1,), (1,)], "float32", b"", "Raw request must only have 1 input (found 1) to be deduced but got 2 inputs"),
        ([(None, None, None)], "float32", b"", "more than one variable-sized dimension"),
        ([(None,)], "string", b"427", "For BYTE datatype raw input 'x0', the model must have input shape [1]"),
        ([(2,)], "string", b"427", "For BYTE datatype raw input 'x0', the model must have input shape [1]"),
        ([(3,)], "float32", b"1234", "input byte size mismatch for input 'x0' for model 'm'. Expected 12, got 4"),
        ([(None,)], "float32", b"12345", "Expected 4, got 5"),
        ([(None, 0, None)], "float32", b"12345", "Expected 0, got 5"),
    ],
)
def test_raw_requests_that_no_shape_fits_are_refused(
    shapes: list[Shape], dtype: str, body: bytes, problem: str
) -> None:
    with pytest.raises(RequestError) as caught:
        parse_raw_input(signature(*shapes, dtype=dtype), body, "m")
    assert problem in str(caught.value)
