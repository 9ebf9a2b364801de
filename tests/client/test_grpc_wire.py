"""Calls over gRPC: answers that are none, and answers of other servers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.client.calls import Answer, Target
from recserve.client.failures import CallFailedError
from recserve.client.grpc_wire import GrpcWire
from recserve.wire.infer_tensor import encode_contents
from recserve.wire.open_inference import ModelInferResponse
from recserve.wire.tensorflow_serving import PredictRequest, PredictResponse

X = np.array([1.0], np.float32)


def test_a_predict_call_names_what_it_wants() -> None:
    call = GrpcWire().predict(Target("m", label="live"), {"x": X}, "s", ["y"])
    assert call.path == "/tensorflow.serving.PredictionService/Predict"
    request = PredictRequest.FromString(call.body)
    spec = request.model_spec
    assert (spec.name, spec.version_label, spec.signature_name) == ("m", "live", "s")
    assert request.inputs["x"].tensor_content == X.tobytes()


def bad_tensor() -> bytes:
    response = PredictResponse()
    response.outputs["y"].dtype = 1
    response.outputs["y"].tensor_content = b"123"
    content: bytes = response.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("outputs", "body"), [([], b"\xff"), ([], bad_tensor()), (["z"], PredictResponse().SerializeToString())]
)
def test_what_is_no_answer_is_told(outputs: list[str], body: Any) -> None:
    call = GrpcWire().predict(Target("m"), {"x": X}, "", outputs)
    with pytest.raises(CallFailedError, match="the answer is not understood") as caught:
        call.read(Answer(body))
    assert caught.value.code == "bad_answer"


def test_typed_outputs_of_other_servers_are_read() -> None:
    response = ModelInferResponse(model_name="m", model_version="3")
    response.outputs.add(name="y", datatype="FP32", shape=[1]).contents.CopyFrom(encode_contents(X))
    answer = GrpcWire().infer(Target("m"), {"x": X}, []).read(Answer(response.SerializeToString()))
    assert answer.version == 3
    assert answer["y"].tolist() == [1.0]
