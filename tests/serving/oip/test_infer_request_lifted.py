"""Requests whose JSON data compiled code reads are read as ever."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.oip import infer_request
from recserve.serving.oip.infer_request import InferRequest, parse_infer_request

LEAVES = st.sampled_from(
    [
        st.integers(-300, 300),
        st.floats(width=32),
        st.floats(),
        st.integers(-(2**63), 2**64),
        st.sampled_from([1, "a", True]),
    ]
)
DATATYPES = ["FP32", "FP64", "INT8", "UINT8", "INT32", "INT64", "UINT64", "BOOL", "BYTES", "FP16", "X"]


@st.composite
def inputs(draw: st.DrawFn, name: str) -> dict[str, Any]:
    data = draw(LEAVES.flatmap(lambda leaf: st.lists(leaf, min_size=6, max_size=24)))
    count = len(data) // 3 * 3
    nested = draw(st.booleans())
    return {
        "name": name,
        "datatype": draw(st.sampled_from(DATATYPES[:7] * 2 + DATATYPES)),
        "shape": draw(st.sampled_from([[count], [3, count // 3], [count // 3, 3], [0], [2**63]])),
        "data": [data[n : n + 3] for n in range(0, count, 3)] if nested else data[:count],
    }


REQUESTS = st.tuples(
    inputs("x"),
    inputs("y"),
    st.sampled_from([{}, {}, {"id": "a"}, {"id": [1.5] * 40}, {"parameters": {"p": [1] * 40}}, {"z": [1] * 40}]),
).map(lambda parts: {"inputs": list(parts[:2]), **parts[2]})


def outcome(body: bytes) -> InferRequest | tuple[type, str]:
    try:
        return parse_infer_request(body, len(body), "m")
    except RequestError as error:
        return type(error), str(error)


def check(text: str) -> None:
    body = text.encode() + b" " * 512
    got = outcome(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer_request, "lift", lambda _: None)
        expected = outcome(body)
    if not isinstance(got, InferRequest) or not isinstance(expected, InferRequest):
        assert got == expected
        return
    assert (got.id, got.outputs, got.inputs.keys()) == (expected.id, expected.outputs, expected.inputs.keys())
    for name, given_input in got.inputs.items():
        tensor, other = given_input.tensor, expected.inputs[name].tensor
        assert (given_input.datatype, tensor.dtype, tensor.shape) == (
            expected.inputs[name].datatype,
            other.dtype,
            other.shape,
        )
        np.testing.assert_array_equal(tensor, other)


@settings(max_examples=100)
@given(REQUESTS)
def test_a_request_is_read_as_its_text_is(request: dict[str, Any]) -> None:
    check(json.dumps(request))


@settings(max_examples=100)
@given(REQUESTS, st.data())
def test_a_damaged_request_is_refused_as_ever(request: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(request)
    place = data.draw(st.integers(0, len(text)))
    change = data.draw(st.sampled_from([*',][{}"1.-e x\\+0:', "\x00", "NaN", "1e999", "true"]))
    check(text[:place] + change + text[place + data.draw(st.integers(0, 2)) :])


def test_usual_data_never_become_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer_request, "parse_json_data", lambda *_: pytest.fail("read as a list"))
    entry = {"name": "x", "datatype": "FP32", "shape": [100, 2], "data": [[0.5, 1]] * 100}
    body = json.dumps({"inputs": [entry, {**entry, "name": "y", "data": [0.25] * 200}]}).encode()
    request = parse_infer_request(body, len(body), "m")
    assert request.inputs["x"].tensor.tolist() == [[0.5, 1.0]] * 100
    assert request.inputs["y"].tensor.shape == (100, 2)
