from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from recserve.serving.json_tensors.written import write_rows
from recserve.serving.tfs.float_text import exact_texts


def slow_text(value: Any) -> str:
    """One value after the other, as the C library writes it."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"[{', '.join(map(slow_text, value))}]"
    if value.dtype.kind == "b":
        return "true" if value else "false"
    return exact_texts(np.array([value]))[0] if value.dtype.kind == "f" else str(int(value))


SHAPES = nps.array_shapes(min_dims=1, max_dims=5, max_side=3)
DTYPES = st.sampled_from(["float32", "float64", "int8", "uint8", "int64", "uint32", "bool"])
TENSORS = DTYPES.flatmap(lambda dtype: nps.arrays(dtype, SHAPES))


@settings(max_examples=100)
@given(TENSORS)
def test_a_tensor_is_written_value_by_value(tensor: Any) -> None:
    text = write_rows({b"": tensor})
    assert text is not None
    assert f"[{text.decode()}]" == slow_text(tensor)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50), st.sampled_from(["float32", "float64"]))
def test_every_bit_pattern_has_the_text_of_the_c_library(bits: list[int], dtype: str) -> None:
    values = np.array(bits, np.uint64).view(dtype)
    text = write_rows({b"": values}, separator="\n")
    assert text is not None
    assert text.decode().split("\n") == exact_texts(values)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(-(10**17), 10**17), st.integers(-330, 300)), min_size=1, max_size=20))
def test_decimals_have_the_text_of_the_c_library(parts: list[tuple[int, int]]) -> None:
    values = np.array([float(f"{digits}e{exponent}") for digits, exponent in parts])
    text = write_rows({b"": values}, separator="\n")
    assert text is not None
    assert text.decode().split("\n") == exact_texts(values)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 2**53), st.integers(-80, 80)), min_size=1, max_size=20))
def test_exact_halves_are_rounded_to_even(parts: list[tuple[int, int]]) -> None:
    values = np.array([mantissa * 2.0**exponent for mantissa, exponent in parts])
    with np.errstate(over="ignore"):
        singles = values.astype(np.float32)
    for typed in (values, singles, np.floor(values * 1e9) + 0.5):
        text = write_rows({b"": typed}, separator="\n")
        assert text is not None
        assert text.decode().split("\n") == exact_texts(typed)


def test_rows_of_several_tensors_are_objects() -> None:
    parts = {b'{"a": ': np.array([[1, 2], [3, 4]]), b', "b": ': np.array([0.5, 1], np.float32)}
    text = write_rows(parts, are_objects=True)
    assert text == b'{"a": [1, 2], "b": 0.5}, {"a": [3, 4], "b": 1.0}'
    assert json.loads(b"[" + text + b"]") == [{"a": [1, 2], "b": 0.5}, {"a": [3, 4], "b": 1.0}]


@pytest.mark.parametrize(
    "tensor",
    [
        np.array(1.0),
        np.zeros((0, 2)),
        np.zeros((2, 0)),
        np.array([b"a"], object),
        np.array([1], np.uint64),
        np.array([1], np.float16),
        np.zeros((1,) * 18),
    ],
)
def test_other_tensors_are_left_to_the_caller(tensor: Any) -> None:
    assert write_rows({b"": tensor}) is None


@pytest.mark.parametrize(("parts", "rows"), [(9, 1), (40, 3), (1, 5000), (12, 900)])
def test_many_parts_and_long_texts_are_written_whole(parts: int, rows: int) -> None:
    tensors = {b"%d:" % n: np.arange(rows, dtype=np.int64) + n for n in range(parts)}
    lines = ["".join(f"{n}:{row + n}" for n in range(parts)) for row in range(rows)]
    for _ in range(2):
        assert write_rows(tensors, separator="\n") == "\n".join(lines).encode()
