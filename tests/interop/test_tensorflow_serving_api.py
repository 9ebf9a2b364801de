"""The clients and messages of `tensorflow-serving-api` against our gRPC port, in one process with our own messages.

Needs `tensorflow` (or `tensorflow-cpu`) and `tensorflow-serving-api`, which the development environment does not hold.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest

from recserve.serving.dialects import Serving
from recserve.serving.grpc.server import GrpcServer
from recserve.serving.messages import Limits
from recserve.serving.rank_threads import RankThreads
from recserve.serving.registry import Registry
from recserve.serving.repository import Repository
from recserve.serving.service import RankService
from recserve.signatures import Signature, TensorSpec

pytestmark = pytest.mark.interop
tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
apis = pytest.importorskip("tensorflow_serving.apis", reason="tensorflow-serving-api is not installed")

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES += ("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "string")


@dataclass
class Model:
    """Gives back what it gets; adds one to `x` of examples."""

    name: str = "echo"
    version: int = 3

    @property
    def signatures(self) -> Mapping[str, Signature]:
        tensors = {name: TensorSpec(name, name, None) for name in DTYPES}
        column = {"x": TensorSpec("x", "float32", (None,))}
        scores = {"scores": TensorSpec("scores", "float32", (None, 1))}
        numbers = {"outputs": TensorSpec("outputs", "float32", (None,))}
        return {
            "serving_default": Signature("serving_default", tensors, tensors),
            "classify": Signature("classify", column, scores, "classify"),
            "regress": Signature("regress", column, numbers, "regress"),
        }

    def run(self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        if signature == "classify":
            return {"scores": inputs["x"].reshape(-1, 1)}
        if signature == "regress":
            return {"outputs": inputs["x"] + np.float32(1)}
        return {name: inputs[name] for name in outputs or DTYPES}

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def channel() -> Iterator[Any]:
    registry = Registry()
    registry.publish(Model())
    registry.set_label("echo", "stable", 3)
    threads = RankThreads(1, 8)
    repository = Repository(registry, lambda _: Model())
    serving = Serving(RankService(registry), registry, repository, threads, Limits(), lambda: True)
    server = GrpcServer(serving, "127.0.0.1", 0)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened
    server.stop(0)
    assert threads.close(5)


@pytest.fixture
def prediction(channel: Any) -> Any:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def test_predict_carries_every_dtype(prediction: Any) -> None:
    from tensorflow_serving.apis import predict_pb2

    tensors = {name: tf.cast(tf.constant([[0, 1], [1, 0]]), name) for name in DTYPES if name != "string"}
    tensors["string"] = tf.constant([b"a", b"\xff"])
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "echo"
    request.model_spec.version_label = "stable"
    for name, tensor in tensors.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor))
    response = prediction.Predict(request, timeout=20)
    assert response.model_spec.version.value == 3
    for name, tensor in tensors.items():
        got = tf.make_ndarray(response.outputs[name])
        assert got.dtype == tf.dtypes.as_dtype(name).as_numpy_dtype
        np.testing.assert_array_equal(got, tensor.numpy())


def test_typed_values_and_repeats_are_read_as_tensorflow_writes_them(prediction: Any) -> None:
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest(output_filter=["float32"])
    request.model_spec.name = "echo"
    for name in DTYPES:
        content = [b"a"] if name == "string" else np.ones(1, tf.dtypes.as_dtype(name).as_numpy_dtype)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(content, dtype=name, shape=[3]))
    response = prediction.Predict(request, timeout=20)
    assert tf.make_ndarray(response.outputs["float32"]).tolist() == [1.0, 1.0, 1.0]


def examples(values: Sequence[float]) -> Any:
    from tensorflow_serving.apis import input_pb2

    made = input_pb2.Input()
    for value in values:
        made.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return made


def test_classify_regress_and_both_at_once(prediction: Any) -> None:
    from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

    classify = classification_pb2.ClassificationRequest(input=examples([0.25, 1]))
    classify.model_spec.name, classify.model_spec.signature_name = "echo", "classify"
    rows = prediction.Classify(classify, timeout=20).result.classifications
    assert [[(c.label, c.score) for c in row.classes] for row in rows] == [[("", 0.25)], [("", 1.0)]]
    regress = regression_pb2.RegressionRequest(input=examples([0.25]))
    regress.model_spec.name, regress.model_spec.signature_name = "echo", "regress"
    assert prediction.Regress(regress, timeout=20).result.regressions[0].value == 1.25
    multi = inference_pb2.MultiInferenceRequest(input=examples([1]))
    for name in ("classify", "regress"):
        task = multi.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name, task.model_spec.signature_name = "echo", name
    first, second = prediction.MultiInference(multi, timeout=20).results
    assert first.classification_result.classifications[0].classes[0].score == 1.0
    assert second.regression_result.regressions[0].value == 2.0


def test_metadata_and_status(prediction: Any, channel: Any) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_service_pb2_grpc

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "echo"
    found = get_model_metadata_pb2.SignatureDefMap()
    assert prediction.GetModelMetadata(request, timeout=20).metadata["signature_def"].Unpack(found)
    inputs = found.signature_def["serving_default"].inputs
    assert {name: tf.dtypes.as_dtype(info.dtype).name for name, info in inputs.items()} == {n: n for n in DTYPES}
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "echo"
    (row,) = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=20).model_version_status
    assert row.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE


def test_a_reload_request_of_theirs_is_read(channel: Any) -> None:
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    request = model_management_pb2.ReloadConfigRequest()
    for _ in range(2):
        request.config.model_config_list.config.add(name="a", base_path="/m/a", model_platform="tensorflow")
    with pytest.raises(grpc.RpcError) as caught:
        model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=20)
    assert caught.value.details() == "Illegal to list model a multiple times in config list"


def test_our_numbers_are_theirs() -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool
    from tensorflow_serving.apis import model_service_pb2, prediction_log_pb2, prediction_service_pb2

    assert model_service_pb2, (prediction_log_pb2, prediction_service_pb2)
    from recserve.wire.pool import pool

    compared = 0
    names = ("framework", "error", "apis", "config", "log")
    for file in (f"tensorflow{'_serving' if name in names[2:] else ''}/{name}.proto" for name in names):
        for name, ours in pool().FindFileByName(file).message_types_by_name.items():
            try:
                theirs = descriptor_pool.Default().FindMessageTypeByName(ours.full_name)
            except KeyError:  # server settings that the package does not bring along
                assert name in {"BatchingParameters", "PrometheusConfig", "MonitoringConfig", "SSLConfig"}
                continue
            made: list[set[tuple[str, int, int, int]]] = []
            for descriptor in (ours, theirs):
                message = descriptor_pb2.DescriptorProto()
                descriptor.CopyToProto(message)
                made.append({(f.name, f.number, f.type, f.label) for f in message.field})
            assert made[0] <= made[1], ours.full_name
            compared += 1
    assert compared > 40


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_both_live_in_one_process(order: str) -> None:
    ours = "from recserve.wire.tensorflow_serving import PredictRequest as Ours"
    theirs = "from tensorflow_serving.apis.predict_pb2 import PredictRequest as Theirs"
    imports = [ours, theirs] if order == "ours first" else [theirs, ours]
    program = "\n".join(
        [
            *imports,
            "sent = Theirs(); sent.model_spec.version.value = 7; sent.inputs['x'].float_val.extend([1, 2])",
            "got = Ours.FromString(sent.SerializeToString())",
            "assert got.model_spec.version.value == 7 and list(got.inputs['x'].float_val) == [1, 2]",
            "assert Theirs.FromString(got.SerializeToString()) == sent",
        ]
    )
    subprocess.run([sys.executable, "-c", program], check=True)
