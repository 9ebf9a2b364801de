from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.mlflow.frame import BareTensor, Frame
from recserve.serving.mlflow.model_inputs import bind_inputs, to_tensor
from recserve.signatures import Signature, TensorSpec, numpy_dtype

Shape = tuple[int | None, ...] | None


def signature(**specs: tuple[str, Shape]) -> Signature:
    inputs = {name: TensorSpec(name, dtype, shape) for name, (dtype, shape) in specs.items()}
    return Signature("serving_default", inputs, {})


def spec(dtype: str) -> TensorSpec:
    return TensorSpec("x", dtype)


def test_columns_go_to_the_inputs_of_their_names() -> None:
    frame = Frame({"a": [1, 2], "b": ["x", "y"], "other": [None, {}]}, is_table=True)
    bound = bind_inputs(signature(a=("float32", (None,)), b=("string", (None, 1))), frame)
    assert bound["a"].dtype == np.float32
    assert bound["a"].tolist() == [1, 2]
    assert bound["b"].tolist() == [[b"x"], [b"y"]]
    assert bound.keys() == {"a", "b"}


def test_all_columns_are_the_only_input_of_another_name() -> None:
    frame = Frame({"a": [1, 2], "b": [3, 4]}, is_table=True)
    assert bind_inputs(signature(x=("float32", (None, 2))), frame)["x"].tolist() == [[1, 3], [2, 4]]
    assert bind_inputs(signature(x=("float32", (None,))), Frame({"a": [1]}, is_table=True))["x"].tolist() == [1]
    with pytest.raises(RequestError, match="the columns have different shapes, so that they cannot be the input 'x'"):
        bind_inputs(signature(x=("float32", None)), Frame({"a": [1], "b": [1, 2]}, is_table=False))


def test_values_without_a_name_are_the_only_input() -> None:
    assert bind_inputs(signature(x=("int64", (None, 2))), BareTensor([[1, 2]]))["x"].tolist() == [[1, 2]]
    with pytest.raises(RequestError, match="the model has the inputs 'a', 'b', and values come without a name"):
        bind_inputs(signature(a=("int64", None), b=("int64", None)), BareTensor([1]))


def test_missing_columns_are_told() -> None:
    with pytest.raises(RequestError, match=r"Model is missing inputs \['b'\]. Columns given: 'a'"):
        bind_inputs(signature(a=("int64", None), b=("int64", None)), Frame({"a": [1]}, is_table=True))
    with pytest.raises(RequestError, match=r"Model is missing inputs \['a'\]. Columns given: none"):
        bind_inputs(signature(a=("int64", None)), Frame({}, is_table=True))


@pytest.mark.parametrize(
    ("dtype", "values", "got"),
    [
        ("float32", [1, None, 2.5], [1, np.nan, 2.5]),
        ("float64", True, 1.0),
        ("int32", [1.0, 2], [1, 2]),
        ("bool", [0, 1.0, True], [False, True, True]),
        ("int64", [2**62 + 1], [2**62 + 1]),
        ("int64", [2**53 + 1, 1.0], [2**53 + 1, 1]),
        ("uint64", [2**64 - 1], [2**64 - 1]),
        ("float32", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ("float32", [[], []], [[], []]),
        ("string", [["a"]], [[b"a"]]),
        ("float32", np.array([1, 2], np.int64), [1, 2]),
        ("string", np.array(["a"], object), [b"a"]),
        ("float32", np.array([None, 1.5], object), [np.nan, 1.5]),
    ],
)
def test_values_become_a_tensor(dtype: str, values: Any, got: Any) -> None:
    tensor = to_tensor(spec(dtype), values)
    expected = np.array(got, numpy_dtype(dtype))
    assert tensor.dtype == expected.dtype
    np.testing.assert_array_equal(tensor, expected)


@pytest.mark.parametrize(
    ("dtype", "values", "problem"),
    [
        ("float32", ["1"], "column 'x' holds a value of type str, the model takes float32"),
        ("float32", [{}], "column 'x' holds a value of type dict"),
        ("float32", [[1], [1, 2]], "column 'x' holds lists of different lengths, or is nested too deep"),
        ("float32", [[1], 2], "column 'x' holds lists of different lengths"),
        ("int32", [1.5], "column 'x' holds 1.5, which is no int32"),
        ("int32", [2**31], "column 'x' holds 2147483648, which is no int32"),
        ("int32", [None], "column 'x' holds nan, which is no int32"),
        ("int64", [2.0**63], "column 'x' holds 9223372036854775808, which is no int64"),
        ("uint8", [-1], "column 'x' holds -1, which is no uint8"),
        ("bool", [2], "column 'x' holds 2, which is no bool"),
        ("int64", [2**70], "column 'x' holds a number that is too large for int64"),
        ("float32", [10**400, 0.5], "column 'x' holds a number that is too large for float32"),
        ("string", [1], "column 'x' holds something else than text, the model takes string"),
        ("string", ["\ud800"], "column 'x' holds text that is not valid Unicode"),
        ("string", np.array([1]), "column 'x' holds int64, the model takes string"),
        ("float32", np.array(["a"]), "column 'x' holds <U1, the model takes float32"),
    ],
)
def test_values_that_do_not_fit_are_refused(dtype: str, values: Any, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        to_tensor(spec(dtype), values)
    assert problem in str(caught.value)


def nested(depth: int) -> Any:
    return 1 if depth == 0 else [nested(depth - 1)]


def test_lists_within_one_another_have_a_limit() -> None:
    with pytest.raises(RequestError, match="nested too deep"):
        to_tensor(spec("float32"), nested(40))


@given(
    st.lists(st.integers(-(2**70), 2**70) | st.floats() | st.booleans() | st.none(), max_size=6),
    st.sampled_from(["int8", "int32", "int64", "uint8", "uint64", "bool", "float32", "float64"]),
)
def test_each_number_arrives_or_all_are_refused(values: list[Any], dtype: str) -> None:
    try:
        tensor = to_tensor(spec(dtype), values)
    except RequestError:
        return
    if tensor.dtype.kind in "iub":
        assert tensor.tolist() == values
