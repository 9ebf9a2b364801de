from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.signatures import Signature, TensorSpec


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"instances": [1.0, 2]}', {"predictions": [2.0, 4.0]}),
        ('{"instances": [{"x": 1}, {"x": 2.5}]}', {"predictions": [2.0, 5.0]}),
        ('{"inputs": 3}', {"outputs": 6.0}),
        ('{"inputs": {"x": [[1], [2]], "other": 5}}', {"outputs": [[2.0], [4.0]]}),
        ('{"instances": [1], "foo": {"a": 1}} rest', {"predictions": [2.0]}),
        ('{"instances": [1], "instances": "x"}', {"predictions": [2.0]}),
        ('{"signature_name": "", "instances": [[1], [2]]}', {"predictions": [[2.0], [4.0]]}),
    ],
)
def test_rows_and_columns_are_answered(tfs: Any, doubler: Any, body: str, answer: Any) -> None:
    asked = tfs.ask(doubler, body)
    assert (asked.status, json.loads(asked.text)) == (200, answer)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{bad", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ("[1]", "Is not object"),
        ('{"signature_name": 100}', "not formatted correctly. 'signature_name' key must be a string value."),
        ('{"signature_name": "nope"}', 'Serving signature name: "nope" not found in signature def'),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', "Not formatted correctly expecting only one of 'inputs' or 'instances'"),
        ('{"instances": 1}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": [[1, 2], [1]]}', "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 2 but got: 1"),
        ('{"instances": [1, [1]]}', "Expecting shape [] but got: [1]"),
        ('{"instances": [{"x": 1}, 2]}', "Expecting object but got list at item 1 of input list"),
        ('{"instances": [1, {"x": 2}]}', "Expecting value/list but got object at item 1 of input list"),
        ('{"instances": [{"y": 1}]}', "Failed to process element: 0 key: y of 'instances' list. Error: "
            "INVALID_ARGUMENT: "
            "JSON object: does not have named input: y"),
        ('{"instances": [{}]}', "JSON object: {} keys must be equal to: x"),
        ('{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object."),
        ('{"inputs": "a"}', 'JSON Value: "a" Type: String is not of expected type: float'),
    ],
)  # fmt: skip
def test_a_wrong_body_is_told(tfs: Any, doubler: Any, body: str, message: str) -> None:
    asked = tfs.ask(doubler, body)
    assert asked.status == 400
    assert message in asked.error


def test_several_inputs_want_names(tfs: Any) -> None:
    model = tfs.echo(a="int32", b="string")
    plain = tfs.ask(model, {"instances": [1, 2]})
    assert plain.error.startswith("instances is a plain list, but expecting list of objects as multiple input tensors")
    column = tfs.ask(model, {"inputs": [1, 2]})
    assert column.error.startswith("inputs is a plain value/list, but expecting an object as multiple input tensors")
    lacking = tfs.ask(model, {"instances": [{"a": 1, "b": "x"}, {"a": 1}]})
    assert "keys must be equal to: a,b" in lacking.error
    rows = [{"a": 1, "b": {"b64": "aGk="}}, {"a": 2, "b": "x:y"}]
    assert tfs.ask(model, {"instances": rows}).text == ('{"predictions": [{"a": 1, "b": "hi"}, {"a": 2, "b": "x:y"}]}')


def test_a_dtype_without_json_is_not_implemented_in_columns_and_wrong_in_rows(tfs: Any) -> None:
    model = tfs.echo(x="complex64")
    assert tfs.ask(model, {"inputs": [1]}).status == 501
    row = tfs.ask(model, {"instances": [1]})
    assert (row.status, "to type: complex64" in row.error) == (400, True)


def test_a_signature_without_inputs_cannot_be_asked(tfs: Any) -> None:
    model = tfs.model({"serving_default": Signature("serving_default", {}, {})}, dict)
    assert tfs.ask(model, {"inputs": {}}).error == "Failed to get input map for signature: DEFAULT"


@pytest.fixture
def judges(tfs: Any) -> Any:
    """A model that classifies and regresses by the feature x."""
    x = {"x": TensorSpec("x", "float32", (None, 1))}
    scores = {
        "scores": TensorSpec("scores", "float32", (None, 2)),
        "classes": TensorSpec("classes", "string", (None, 2)),
    }
    signatures = {
        "c": Signature("c", x, scores, "classify"),
        "r": Signature("r", x, {"outputs": TensorSpec("outputs", "float32", (None, 1))}, "regress"),
    }

    def run(inputs: Any) -> Any:
        pair = np.concatenate([inputs["x"], -inputs["x"]], axis=1)
        labels = np.broadcast_to(np.array([b"up", b"down"], object), pair.shape)
        return {"scores": pair, "classes": labels, "outputs": inputs["x"] * np.float32(10)}

    return tfs.model(signatures, run)


def test_examples_are_classified_and_regressed(tfs: Any, judges: Any) -> None:
    examples = [{"x": 1.5}, {"x": [2.0], "other": [1, True]}]
    asked = tfs.ask(judges, {"signature_name": "r", "examples": examples}, "regress")
    assert asked.text == '{"results": [15.0, 20.0]}'
    asked = tfs.ask(judges, {"signature_name": "c", "context": {"x": 3.0}, "examples": [{}, {"x": 0.5}]}, "classify")
    assert asked.text == '{"results": [[["up", 3.0], ["down", -3.0]], [["up", 0.5], ["down", -0.5]]]}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"instances": [1]}', "When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": {}}', "Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "'examples' value is an empty array"),
        ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        ('{"context": [], "examples": [1]}', "Example must be JSON object but got JSON Array"),
        ('{"examples": [{"x": [1, null]}]}', "Feature: x has element with unexpected JSON type: Null"),
        ('{"examples": [{"x": [[1]]}]}', "Feature: x has element with unexpected JSON type: Array"),
        ('{"examples": [{"x": {"y": 1}}]}', "Feature: x has element with unexpected JSON type: Object"),
        ('{"examples": [{"x": [1, 1.0]}]}', "Unexpected element type in feature: x expecting type: int64"),
        ('{"examples": [{"x": ["a", 1.0]}]}', "Unexpected element type in feature: x expecting type: bytes"),
        ('{"examples": [{"x": 9223372036854775808}]}', "Feature: x has uint64 element. Only int64_t is supported."),
        ('{"signature_name": "c", "examples": [{"x": 1.0}]}', "Expected regression signature method_name to be "
            "tensorflow/serving/regress. Was: tensorflow/serving/classify"),
        ('{"signature_name": "r", "examples": [{"x": 1}]}', "Data types don't match. Expected type: float, but got"),
        ('{"signature_name": "r", "examples": [{}]}', "Feature: x (data type: float) is required but could"),
        ('{"signature_name": "r", "examples": [{"x": [1.0, 2.0]}]}', "Number of float values != expected."),
    ],
)  # fmt: skip
def test_wrong_examples_are_told(tfs: Any, judges: Any, body: str, message: str) -> None:
    asked = tfs.ask(judges, body, "regress")
    assert asked.status == 400
    assert message in asked.error


def test_a_crash_of_the_model_tells_nothing_of_our_insides(tfs: Any, caplog: pytest.LogCaptureFixture) -> None:
    signature = Signature("serving_default", {"x": TensorSpec("x", "float32")}, {"y": TensorSpec("y", "float32")})
    model = tfs.model({"serving_default": signature}, lambda _: {"y": 1 // 0})
    asked = tfs.ask(model, {"instances": [1]})
    assert (asked.status, asked.error) == (500, "The server failed on this request (ZeroDivisionError)")
    assert "integer division or modulo by zero" in caplog.text


def test_deep_nesting_is_an_error_and_no_crash(tfs: Any, doubler: Any) -> None:
    for key in ("instances", "inputs", "signature_name", "other"):
        body = f'{{"{key}": ' + "[" * 20_000 + "]" * 20_000 + "}"
        assert tfs.ask(doubler, body).status == 400


def test_an_error_message_has_at_most_1024_characters(tfs: Any) -> None:
    model = tfs.echo(**{f"input_{i}": "int32" for i in range(500)})
    assert len(tfs.ask(model, {"instances": [{}]}).error) == 1024 + len("...TRUNCATED")


def bodies() -> Iterator[str]:
    yield from ("instances", "inputs", "examples", "signature_name", "context")


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(list(bodies())),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "b64"]), inner, max_size=2)
            ),
            max_leaves=6,
        ),
        max_size=3,
    ),
    st.sampled_from(["predict", "classify", "regress"]),
)
def test_any_body_is_answered(tfs: Any, members: Any, verb: str) -> None:
    asked = tfs.ask(tfs.echo(x="float32"), members, verb)
    assert asked.status in (200, 400)
    json.loads(asked.text)
