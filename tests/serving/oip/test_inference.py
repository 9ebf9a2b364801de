from __future__ import annotations

import json
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest

from recserve.errors import NotFoundError, RequestError
from recserve.serving.dialects import Serving
from recserve.serving.observation import Observation, observe
from recserve.serving.oip.infer_request import InferInput, InferRequest
from recserve.serving.oip.inference import RequestExpiredError, answer_infer, check_names, default_signature
from recserve.signatures import Signature, TensorSpec

ROW = list(range(16))


def tensor(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "INT32", "shape": [1, 16], "data": ROW, **changes}


def infer(serving: Serving, name: str, document: object, version: int | None = None, **options: Any) -> dict[str, Any]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    options.setdefault("arrived_ns", perf_counter_ns())
    answer = answer_infer(serving.registry, serving.statistics, name, version, body, **options)
    return json.loads(answer.body[: answer.json_bytes])


@pytest.fixture
def simple(make_serving: Any) -> Serving:
    return make_serving("simple", "identity_fp32", "identity_fp32_3in")


def test_a_request_is_answered_and_counted(simple: Serving) -> None:
    both = {"id": "7", "inputs": [tensor("INPUT0"), tensor("INPUT1")], "outputs": [{"name": "OUTPUT0"}]}
    answer = infer(simple, "simple", both)
    assert answer == {
        "id": "7",
        "model_name": "simple",
        "model_version": "1",
        "outputs": [{"name": "OUTPUT0", "datatype": "INT32", "shape": [1, 16], "data": [2 * i for i in ROW]}],
    }
    shown = simple.statistics.of("simple", 1).as_json("simple", 1)
    assert (shown["inference_count"], shown["execution_count"]) == (1, 1)


def test_a_request_tells_what_it_ran_and_when(simple: Serving) -> None:
    seen = Observation("oip", "infer", "r1")
    observe(seen)
    try:
        infer(simple, "simple", {"inputs": [tensor("INPUT0"), tensor("INPUT1")]})
    finally:
        observe(None)
    assert (seen.model, seen.version, seen.signature) == ("simple", 1, "serving_default")
    assert 0 < seen.run_began_ns <= seen.run_ended_ns


def test_a_raw_request_gets_binary_data(simple: Serving) -> None:
    body = np.array([1, 2.5], "<f4").tobytes()
    answer = infer(simple, "identity_fp32", body, json_length="0")
    assert answer["outputs"][0] == {
        "name": "OUTPUT0",
        "datatype": "FP32",
        "shape": [1, 2],
        "parameters": {"binary_data_size": 8},
    }


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ([], "expected 2 inputs but got 0 inputs for model 'simple'. Got input(s) [], but missing required input(s)"),
        (
            [tensor("INPUT0")],
            "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required "
            "input(s) ['INPUT1']. Please provide all required input(s).",
        ),
        ([tensor(f"INPUT{i}") for i in range(3)], "expected 2 inputs but got 3 inputs for model 'simple'"),
        ([tensor("INPUT0"), tensor("X")], "unexpected inference input 'X' for model 'simple'"),
        (
            [tensor("INPUT0", datatype="FP32"), tensor("INPUT1")],
            "inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'",
        ),
        (
            [tensor("INPUT0", shape=[2, 8]), tensor("INPUT1")],
            "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [2,8]",
        ),
    ],
)
def test_inputs_that_the_model_does_not_take_are_refused(simple: Serving, inputs: Any, problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        infer(simple, "simple", {"inputs": inputs})
    assert problem in str(caught.value)
    stats = simple.statistics.of("simple", 1).as_json("simple", 1)["inference_stats"]
    assert (stats["fail"]["count"], stats["success"]["count"]) == (1, 0)


def test_an_unknown_output_is_refused(simple: Serving) -> None:
    document = {"inputs": [tensor("INPUT0"), tensor("INPUT1")], "outputs": [{"name": "Y"}]}
    with pytest.raises(RequestError, match="unexpected inference output 'Y' for model 'simple'"):
        infer(simple, "simple", document)


def test_an_unknown_model_or_version_is_told(simple: Serving) -> None:
    with pytest.raises(NotFoundError, match="Request for unknown model: 'x' is not found"):
        infer(simple, "x", {})
    with pytest.raises(NotFoundError, match="Request for unknown model: 'simple' version 9 is not found"):
        infer(simple, "simple", {}, 9)


def test_a_request_that_waited_too_long_is_dropped(simple: Serving) -> None:
    document = {"inputs": [tensor("INPUT0"), tensor("INPUT1")], "parameters": {"timeout": 10}}
    with pytest.raises(RequestExpiredError, match="Request timeout expired"):
        infer(simple, "simple", document, arrived_ns=perf_counter_ns() - 20_000)
    document["parameters"] = {"timeout": 0}
    infer(simple, "simple", document, arrived_ns=perf_counter_ns() - 20_000)


def test_optional_inputs_may_be_missing() -> None:
    specs = {name: TensorSpec(name, "int32", (1,), is_optional=name != "a") for name in "abc"}
    signature = Signature("serving_default", specs, {})
    given = InferInput("INT32", np.zeros(1, np.int32))
    check_names(signature, InferRequest(inputs={"a": given, "c": given}), "m")
    with pytest.raises(RequestError, match="expected number of inputs between 1 and 3 but got 0 inputs"):
        check_names(signature, InferRequest(), "m")
    with pytest.raises(RequestError, match=r"missing required input\(s\) \['a'\] for model 'm'"):
        check_names(signature, InferRequest(inputs={"b": given, "c": given}), "m")


def test_a_model_without_a_default_signature_shows_its_first() -> None:
    class Model:
        name, version = "m", 1
        signatures = {"other": Signature("other", {}, {})}  # noqa: RUF012 - a fake

    assert default_signature(Model()).name == "other"  # type: ignore[arg-type]
