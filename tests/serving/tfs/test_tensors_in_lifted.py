"""Bodies whose numbers compiled code reads give the tensors, and the errors, of bodies read as ever."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.tfs.documents import read_document, read_lifted
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.tensors_in import read_inputs, take_inputs
from recserve.signatures import Tensor, TensorSpec

DTYPES = ["float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string", "float16"]
SPECS = st.lists(
    st.builds(TensorSpec, st.sampled_from(["x", "y", "b64"]), st.sampled_from(DTYPES), is_optional=st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda spec: spec.name,
).map(lambda specs: {spec.name: spec for spec in specs})
LEAVES = (
    st.integers(-(2**63), 2**64)
    | st.integers(-200, 300)
    | st.floats(width=32)
    | st.floats()
    | st.sampled_from([True, None, "a", 1e300])
)


@st.composite
def tensors(draw: st.DrawFn, rows: int | None = None) -> Any:
    shape = [*([] if rows is None else [rows]), *draw(st.sampled_from([[], [3], [2, 2]]))]
    leaf = draw(st.sampled_from([st.integers(-3, 9), st.floats(0, 1), LEAVES]))

    def make(axis: int) -> Any:
        return draw(leaf) if axis == len(shape) else [make(axis + 1) for _ in range(shape[axis])]

    return make(0)


@st.composite
def bodies(draw: st.DrawFn) -> str:
    rows = draw(st.integers(1, 6))
    names = draw(st.lists(st.sampled_from(["x", "y", "b64", "z"]), min_size=1, max_size=3, unique=True))
    value = draw(
        st.one_of(
            tensors(rows),
            st.fixed_dictionaries({name: tensors(rows) for name in names}),
            st.lists(st.fixed_dictionaries({name: tensors() for name in names}), min_size=1, max_size=5),
        )
    )
    document: dict[str, Any] = {draw(st.sampled_from(["instances", "inputs", "inputs"])): value}
    document |= draw(
        st.sampled_from([{}, {}, {}, {"signature_name": "s"}, {"signature_name": 1}, {"a": True}, {"instances": [1]}])
    )
    return json.dumps(document)


def outcome(body: bytes, specs: dict[str, TensorSpec]) -> tuple[dict[str, Tensor], bool] | str:
    try:
        return read_inputs(read_document(body), specs)
    except WireError as error:
        return error.message


def check(text: str, specs: dict[str, TensorSpec]) -> bool:
    """Hold what is taken of a body to what is read of it; whether something was."""
    body = text.encode("utf-8", "surrogateescape") + b" " * 512
    lifted = read_lifted(body)
    taken = None if lifted is None else take_inputs(lifted, specs)
    if taken is None:
        return False
    expected = outcome(body, specs)
    assert not isinstance(expected, str), expected
    assert taken[1] == expected[1]
    assert taken[0].keys() == expected[0].keys()
    for name, tensor in taken[0].items():
        other = expected[0][name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape)
        assert tensor.flags.c_contiguous
        assert tensor.dtype == object or tensor.tobytes() == other.tobytes()
        np.testing.assert_array_equal(tensor, other)
    return True


@settings(max_examples=100)
@given(bodies(), SPECS)
def test_what_is_taken_is_what_is_read(text: str, specs: dict[str, TensorSpec]) -> None:
    check(text, specs)


@settings(max_examples=100)
@given(bodies(), SPECS, st.data())
def test_what_is_taken_of_a_damaged_body_is_what_is_read(
    text: str, specs: dict[str, TensorSpec], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(text)))
    change = data.draw(
        st.sampled_from([*',][{}"1.-e x\\+0:', "\x00", "\udcff", '"x":1,', "NaN", "Inf", "1e999", "true"])
    )
    check(text[:place] + change + text[place + data.draw(st.integers(0, 2)) :], specs)
    check(text[:place], specs)


ROWS = 40
X = np.arange(3.0 * ROWS).reshape(ROWS, 3) / 7


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"inputs": X.tolist()}, ["x"]),
        ({"inputs": {"x": X.tolist(), "y": X.tolist()}}, ["x", "y"]),
        ({"inputs": {"x": X.tolist(), "y": 1, "z": X.tolist()}}, ["x", "y"]),
        ({"instances": X.tolist()}, ["x"]),
        ({"instances": X[0].tolist() * 9}, ["x"]),
        ({"instances": [{"x": row, "y": 1} for row in X.tolist()]}, ["x", "y"]),
        ({"signature_name": "s", "inputs": {"x": X.tolist(), "y": "text"}}, ["x", "y"]),
    ],
)
def test_usual_bodies_are_taken(document: dict[str, Any], names: list[str]) -> None:
    kinds = {"y": "string"} if "signature_name" in document else {}
    specs = {name: TensorSpec(name, kinds.get(name, "float32")) for name in names}
    assert check(json.dumps(document), specs)


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"inputs": {"y": X.tolist()}}, "x"),
        ({"inputs": [{"x": row} for row in X.tolist()]}, "x"),
        ({"instances": [{"x": row, "y": 1} for row in X.tolist()]}, "x"),
        ({"inputs": X.tolist(), "instances": X.tolist()}, "x"),
        ({"other": X.tolist()}, "x"),
        ({"inputs": X.tolist(), "other": X.tolist()}, "x"),
        ({"signature_name": X.tolist(), "inputs": X.tolist()}, "x"),
        ({"inputs": {"x": [{"x": row} for row in X.tolist()]}}, "x"),
    ],
)
def test_other_bodies_are_left_to_the_usual_reader(document: dict[str, Any], name: str) -> None:
    assert not check(json.dumps(document), {name: TensorSpec(name, "float32")})
