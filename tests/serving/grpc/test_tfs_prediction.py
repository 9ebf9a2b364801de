"""PredictionService over a real socket, by its public messages."""

from __future__ import annotations

from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest

from recserve.serving.grpc.server import GrpcOptions, GrpcServer
from recserve.wire.examples import write_examples
from recserve.wire.pool import message_class
from recserve.wire.tensor_proto import decode_tensor, encode_tensor
from recserve.wire.tensorflow_serving import (
    PREDICTION_SERVICE,
    ClassificationRequest,
    GetModelMetadataRequest,
    MultiInferenceRequest,
    PredictRequest,
    RegressionRequest,
    SignatureDefMap,
)

CODE = grpc.StatusCode


def predict(
    model: str | None = "half_plus_two", inputs: dict[str, Any] | None = None, outputs: Any = (), **spec: Any
) -> Any:
    request = PredictRequest(output_filter=list(outputs))
    if model is not None:
        request.model_spec.name = model
    if (version := spec.pop("version", None)) is not None:
        request.model_spec.version.value = version
    for name, value in spec.items():
        setattr(request.model_spec, name, value)
    given = {"x": np.array([1.0, 2.0], np.float32)} if inputs is None else inputs
    for name, tensor in given.items():
        content = tensor if not isinstance(tensor, np.ndarray) else encode_tensor(tensor, as_content=True)
        request.inputs[name].CopyFrom(content)
    return request


def test_predict_answers_with_the_resolved_version(served: Any) -> None:
    answer = served.call(PREDICTION_SERVICE, "Predict", predict())
    assert decode_tensor(answer.outputs["y"]).tolist() == [3.5, 4.0]
    assert list(answer.outputs["y"].float_val) == [3.5, 4.0]
    assert answer.model_spec.version.value == 124
    assert answer.model_spec.name == "half_plus_two"
    assert answer.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize("spec", [{"version": 123}, {"version_label": "stable"}])
def test_predict_takes_a_version_or_a_label(served: Any, spec: dict[str, Any]) -> None:
    answer = served.call(PREDICTION_SERVICE, "Predict", predict(**spec))
    assert decode_tensor(answer.outputs["y"]).tolist() == [2.5, 3.0]
    assert answer.model_spec.version.value == 123


def test_every_dtype_goes_through(served: Any) -> None:
    arrays: dict[str, Any] = {}
    for spec in served.models["identity"].signatures["serving_default"].inputs.values():
        if spec.dtype == "string":
            text = np.empty(2, object)
            text[:] = [b"a", b"\xff"]
            arrays[spec.name] = text
        else:
            dtype = ml_dtypes.bfloat16 if spec.dtype == "bfloat16" else spec.dtype
            arrays[spec.name] = np.array([[0, 1], [1, 0]], dtype)
    for as_content in (False, True):
        request = predict("identity", {k: encode_tensor(v, as_content=as_content) for k, v in arrays.items()})
        answer = served.call(PREDICTION_SERVICE, "Predict", request)
        assert len(answer.outputs) == len(arrays)
        for name, array in arrays.items():
            got = decode_tensor(answer.outputs[name.replace("in_", "out_")])
            assert got.dtype == array.dtype
            np.testing.assert_array_equal(got, array)


def test_output_filter_chooses_outputs(served: Any) -> None:
    inputs = {name: np.full((1, 16), 3, np.int32) for name in ("INPUT0", "INPUT1")}
    answer = served.call(PREDICTION_SERVICE, "Predict", predict("add_sub", inputs, ["OUTPUT1"]))
    assert list(answer.outputs) == ["OUTPUT1"]
    assert decode_tensor(answer.outputs["OUTPUT1"]).tolist() == [[0] * 16]


X = np.array([1.0], np.float32)


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (predict(None), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
        (predict(""), CODE.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (predict("nope"), CODE.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (predict(version=9), CODE.NOT_FOUND, "Servable not found for request: Specific(half_plus_two, 9)"),
        (predict(version=-1), CODE.NOT_FOUND, "Servable not found for request: Specific(half_plus_two, -1)"),
        (predict(version_label="x"), CODE.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
        (predict(signature_name="x"), CODE.FAILED_PRECONDITION, 'Serving signature key "x" not found.'),
        (
            predict(inputs={"x": X, "z": X}),
            CODE.INVALID_ARGUMENT,
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
            "Missing but required: {}.",
        ),
        (
            predict(inputs={}),
            CODE.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            predict(outputs=["w"]),
            CODE.INVALID_ARGUMENT,
            "output tensor alias not found in signature: w Outputs expected to be in the set {y}.",
        ),
        (predict(outputs=["y", "y"]), CODE.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
    ],
)
def test_mistakes_have_the_codes_and_texts_of_tensorflow_serving(
    served: Any, request_: Any, code: Any, text: str
) -> None:
    error = served.fails(PREDICTION_SERVICE, "Predict", request_)
    assert (error.code(), error.details()) == (code, text)


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (np.array([1], np.int32), "input 'x' is int32, not float32"),
        (np.array([[1.0]], np.float32), "x has 2 axes"),
        (message_class("tensorflow.TensorProto")(dtype=1, tensor_content=b"123"), "input 'x': tensor_content has 3"),
        (message_class("tensorflow.TensorProto")(dtype=77), "input 'x': dtype 77 is not supported"),
    ],
)
def test_wrong_tensors_are_refused(served: Any, tensor: Any, text: str) -> None:
    error = served.fails(PREDICTION_SERVICE, "Predict", predict(inputs={"x": tensor}))
    assert error.code() == CODE.INVALID_ARGUMENT
    assert text in error.details()


def test_a_short_message_cannot_claim_gigabytes(served: Any) -> None:
    tensor = encode_tensor(X)
    tensor.tensor_shape.dim[0].size = 2**40
    error = served.fails(PREDICTION_SERVICE, "Predict", predict(inputs={"x": tensor}))
    assert error.code() == CODE.INVALID_ARGUMENT
    assert "would fill 1099511627776 elements" in error.details()


def test_a_ranker_takes_no_tensors(served: Any) -> None:
    error = served.fails(PREDICTION_SERVICE, "Predict", predict("rank"))
    assert error.code() == CODE.INVALID_ARGUMENT
    assert "takes no tensors" in error.details()


def test_a_bug_tells_nothing_of_our_insides(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    error = served.fails(PREDICTION_SERVICE, "Predict", predict("broken"))
    assert error.code() == CODE.INTERNAL
    assert "secret" not in error.details()
    assert "ZeroDivisionError: secret" in caplog.text


def test_tensors_come_as_content_by_option(serving_of: Any, fakes: Any) -> None:
    serving = serving_of([fakes["half_plus_two"]()])
    server = GrpcServer(serving, "127.0.0.1", 0, GrpcOptions(as_content=True))
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            path = f"/{PREDICTION_SERVICE}/Predict"
            body = channel.unary_unary(path)(predict().SerializeToString(), timeout=20)
        answer = message_class("tensorflow.serving.PredictResponse").FromString(body)
        assert answer.outputs["y"].tensor_content == np.array([2.5, 3.0], np.float32).tobytes()
    finally:
        server.stop(0)


def examples_request(kind: Any, signature: str, examples: Any, model: str = "half_plus_two") -> Any:
    request = kind()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.input.CopyFrom(write_examples(examples))
    return request


def test_regress_answers_a_number_an_example(served: Any) -> None:
    request = examples_request(RegressionRequest, "regress_x", [{"x": 1.0}, {"x": 2.0}])
    answer = served.call(PREDICTION_SERVICE, "Regress", request)
    assert [regression.value for regression in answer.result.regressions] == [3.5, 4.0]
    assert answer.model_spec.version.value == 124
    assert answer.model_spec.signature_name == "regress_x"


def test_classify_answers_labels_and_scores(served: Any) -> None:
    request = examples_request(ClassificationRequest, "classify_x", [{"x": 0.25}, {"x": 1.0}])
    answer = served.call(PREDICTION_SERVICE, "Classify", request)
    got = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    assert got == [[("no", 0.75), ("yes", 0.25)], [("no", 0.0), ("yes", 1.0)]]


@pytest.mark.parametrize(
    ("method", "request_", "code", "text"),
    [
        ("Classify", ClassificationRequest(), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            "Classify",
            examples_request(ClassificationRequest, "nope", [{"x": 1.0}]),
            CODE.INVALID_ARGUMENT,
            "No signature was found with the name: nope",
        ),
        (
            "Classify",
            examples_request(ClassificationRequest, "", [{"x": 1.0}]),
            CODE.INVALID_ARGUMENT,
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/predict",
        ),
        (
            "Regress",
            examples_request(RegressionRequest, "classify_x", [{"x": 1.0}]),
            CODE.INVALID_ARGUMENT,
            "Expected regression signature method_name to be tensorflow/serving/regress. "
            "Was: tensorflow/serving/classify",
        ),
        ("Regress", examples_request(RegressionRequest, "regress_x", []), CODE.INVALID_ARGUMENT, "Input is empty."),
        (
            "Regress",
            examples_request(RegressionRequest, "regress_x", [{"z": 1.0}]),
            CODE.INVALID_ARGUMENT,
            "Feature: x (data type: float) is required but could not be found.",
        ),
    ],
)
def test_mistakes_over_examples(served: Any, method: str, request_: Any, code: Any, text: str) -> None:
    error = served.fails(PREDICTION_SERVICE, method, request_)
    assert error.code() == code
    assert text in error.details()


def multi(*tasks: tuple[str, str, str]) -> Any:
    request = MultiInferenceRequest(input=write_examples([{"x": 0.5}]))
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    return request


HPT = "half_plus_two"


def test_several_signatures_answer_over_the_same_examples(served: Any) -> None:
    request = multi((HPT, "classify_x", "classify"), (HPT, "regress_x", "regress"))
    first, second = served.call(PREDICTION_SERVICE, "MultiInference", request).results
    assert [c.score for c in first.classification_result.classifications[0].classes] == [0.5, 0.5]
    assert second.regression_result.regressions[0].value == 3.25
    assert second.model_spec.version.value == 124


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (multi(), CODE.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            multi((HPT, "classify_x", "classify"), ("", "", "classify")),
            CODE.INVALID_ARGUMENT,
            "with an empty model name.",
        ),
        (
            multi((HPT, "classify_x", "classify"), ("add_sub", "", "classify")),
            CODE.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            multi((HPT, "classify_x", "classify"), (HPT, "classify_x", "classify")),
            CODE.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: classify_x",
        ),
        (multi((HPT, "x", "classify")), CODE.INVALID_ARGUMENT, "Requested signature not found in model graph: x"),
        (
            multi((HPT, "", "predict")),
            CODE.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
)
def test_mistakes_of_several_signatures(served: Any, request_: Any, code: Any, text: str) -> None:
    error = served.fails(PREDICTION_SERVICE, "MultiInference", request_)
    assert error.code() == code
    assert text in error.details()


def test_metadata_lists_the_signatures(served: Any) -> None:
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = HPT
    answer = served.call(PREDICTION_SERVICE, "GetModelMetadata", request)
    assert answer.model_spec.version.value == 124
    definitions = SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(definitions)
    assert set(definitions.signature_def) == {"serving_default", "regress_x", "classify_x"}
    predicts = definitions.signature_def["serving_default"]
    assert predicts.method_name == "tensorflow/serving/predict"
    assert predicts.inputs["x"].name == "x:0"
    assert predicts.inputs["x"].dtype == 1
    assert [dim.size for dim in predicts.inputs["x"].tensor_shape.dim] == [-1]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["other"], "Metadata field other is not supported"),
    ],
)
def test_mistakes_of_metadata(served: Any, fields: list[str], text: str) -> None:
    request = GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = HPT
    error = served.fails(PREDICTION_SERVICE, "GetModelMetadata", request)
    assert (error.code(), error.details()) == (CODE.INVALID_ARGUMENT, text)


def test_calls_are_counted(serving_of: Any, fakes: Any) -> None:
    serving = serving_of([fakes["half_plus_two"]()])
    server = GrpcServer(serving, "127.0.0.1", 0)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.unary_unary(f"/{PREDICTION_SERVICE}/Predict")
            call(predict().SerializeToString(), timeout=20)
            with pytest.raises(grpc.RpcError):
                call(predict(inputs={}).SerializeToString(), timeout=20)
    finally:
        server.stop(0)
    counted = serving.statistics.of(HPT, 123).as_json(HPT, 123)
    assert counted["inference_count"] == 2
    assert counted["execution_count"] == 1
    assert counted["inference_stats"]["fail"]["count"] == 1
    text = serving.metrics.text()
    assert 'request_count{model_name="half_plus_two",status="OK"} 1' in text
    assert 'request_count{model_name="half_plus_two",status="INVALID_ARGUMENT"} 1' in text
    assert 'request_latency_count{model_name="half_plus_two",API="Predict",entrypoint="GRPC"} 1' in text
