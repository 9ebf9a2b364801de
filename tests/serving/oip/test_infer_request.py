from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.oip.infer_request import InferRequest, parse_infer_request
from recserve.serving.refusals import UnsupportedError

INPUT: dict[str, Any] = {"name": "x", "datatype": "INT32", "shape": [2], "data": [1, 2]}
BINARY: dict[str, Any] = {"name": "x", "datatype": "INT32", "shape": [2], "parameters": {"binary_data_size": 8}}


def parse(document: object, tail: bytes = b"") -> InferRequest:
    head = json.dumps(document).encode()
    return parse_infer_request(head + tail, len(head), "m")


def test_a_request_is_read_whole() -> None:
    request = parse(
        {
            "id": "a7",
            "parameters": {"priority": 1, "timeout": 5, "binary_data_output": True, "sequence_id": "s", "own": 1.5},
            "inputs": [BINARY, {**INPUT, "name": "z"}, {**BINARY, "name": "y"}],
            "outputs": [{"name": "p"}, {"name": "q", "parameters": {"binary_data": False}}],
        },
        (1).to_bytes(4, "little") * 2 + (9).to_bytes(4, "little") * 2,
    )
    assert (request.id, request.priority, request.timeout_us, request.is_binary) == ("a7", 1, 5, True)
    assert {name: given.tensor.tolist() for name, given in request.inputs.items()} == {
        "x": [1, 1],
        "z": [1, 2],
        "y": [9, 9],
    }
    assert request.outputs == {"p": True, "q": False}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "attempt to access JSON non-object as object"),
        ({}, "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"),
        ({"inputs": {}}, "Unable to parse 'inputs': attempt to access JSON non-array as array"),
        ({"inputs": [7]}, "Unable to parse 'inputs': attempt to access JSON non-object as object"),
        ({"inputs": [], "id": 7}, "Unable to parse 'id': attempt to access JSON non-string as string"),
        ({"inputs": [{"name": "x"}]}, "Input must set only one of the following fields: 'data'"),
        ({"inputs": [{**INPUT, **BINARY}]}, "But set 'data' 'binary_data_size'"),
        ({"inputs": [{"data": []}]}, "Unable to parse 'name': attempt to access non-existing object member 'name'"),
        ({"inputs": [{"data": [], "name": "x"}]}, "Unable to parse 'datatype'"),
        ({"inputs": [{"data": [], "name": "x", "datatype": "INT32"}]}, "Unable to parse 'shape'"),
        (
            {"inputs": [{**INPUT, "shape": [-2]}]},
            "Unable to parse 'shape': attempt to access JSON non-unsigned-integer",
        ),
        ({"inputs": [{**INPUT, "shape": [1] * 65}]}, "Unable to parse 'shape': 65 dimensions, the most is 64"),
        ({"inputs": [INPUT, INPUT]}, "input 'x' already exists in request"),
        ({"inputs": [BINARY]}, "unexpected size for input 'x', expecting 8 additional bytes for model 'm'"),
        ({"inputs": [{**BINARY, "parameters": {"binary_data_size": -8}}]}, "Unable to parse 'binary_data_size'"),
        ({"inputs": [{**INPUT, "parameters": 7}]}, "Unable to parse 'parameters'"),
        ({"inputs": [INPUT], "outputs": [{"name": "y"}, {"name": "y"}]}, "output 'y' already exists in request"),
        ({"inputs": [INPUT], "outputs": [{"name": 7}]}, "Unable to parse 'name'"),
        (
            {"inputs": [INPUT], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
            "parse 'binary_d",
        ),
        ({"inputs": [INPUT], "parameters": {"triton_x": 1}}, "parameter keys starting with 'triton_' are reserved"),
        ({"inputs": [INPUT], "parameters": {"priority": -1}}, "Unable to parse 'priority'"),
        ({"inputs": [INPUT], "parameters": {"timeout": 1.5}}, "Unable to parse 'timeout'"),
        ({"inputs": [INPUT], "parameters": {"sequence_id": []}}, "Unable to parse 'sequence_id'"),
        ({"inputs": [INPUT], "parameters": {"sequence_end": 1}}, "Unable to parse 'sequence_end'"),
        ({"inputs": [INPUT], "parameters": {"own": []}}, "parameter 'own' has invalid type"),
        ({"inputs": [INPUT], "parameters": {"binary_data_output": 1}}, "Unable to parse 'binary_data_output'"),
        ({"inputs": [INPUT], "parameters": 7}, "failed to get request params."),
    ],
)
def test_what_the_protocol_does_not_allow_is_refused(document: object, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(document)
    assert problem in str(caught.value)


def test_bytes_that_belong_to_no_input_are_refused() -> None:
    with pytest.raises(RequestError, match="unexpected additional input data for model 'm'"):
        parse({"inputs": [INPUT]}, b"x")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1], "parameters": {"shared_memory_region": "r"}}]},
            "shared memory is not supported",
        ),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "classification extension"),
    ],
)
def test_extensions_that_are_missing_say_so(document: object, problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        parse(document)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["x", "INT32", "BYTES", "data"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "outputs", "name", "datatype", "shape", "data", "parameters", "binary_data_size", "id"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(ODD, st.binary(max_size=20))
def test_any_document_is_a_request_or_refused(document: object, tail: bytes) -> None:
    with contextlib.suppress(RequestError):
        parse(document, tail)


@given(st.dictionaries(st.sampled_from([*INPUT, "parameters"]), ODD), st.binary(max_size=12))
def test_any_input_is_read_or_refused(changes: dict[str, object], tail: bytes) -> None:
    with contextlib.suppress(RequestError):
        parse({"inputs": [{**INPUT, **changes}]}, tail)
