"""The private pool: it holds what the .proto files say, and lives beside other definitions of the same messages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from recserve.wire import open_inference, ranking, tensorflow_serving
from recserve.wire.pool import descriptor_set, enum_numbers, message_class, methods_of, pool

PROTOS = Path(__file__).resolve().parents[2] / "src" / "recserve" / "wire" / "protos"


def files() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    found = [descriptor_pb2.FileDescriptorProto.FromString(content) for content in descriptor_set()]
    return {file.name: file for file in found}


def test_the_descriptors_are_those_of_the_proto_files() -> None:
    compiled = files()
    for path in sorted(PROTOS.rglob("*.proto")):
        file = compiled[path.relative_to(PROTOS).as_posix()]
        text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
        written = set(re.findall(r"\b(\w+) = (\d+)\b(?!\.)", text))

        def numbers(message: descriptor_pb2.DescriptorProto) -> set[tuple[str, str]]:
            if message.options.map_entry:
                return set()
            own = {(field.name, str(field.number)) for field in message.field}
            own |= {(value.name, str(value.number)) for enum in message.enum_type for value in enum.value}
            return own.union(*(numbers(inner) for inner in message.nested_type), set())

        told = {(value.name, str(value.number)) for enum in file.enum_type for value in enum.value}
        told = told.union(*(numbers(message) for message in file.message_type), set())
        assert told == written, f"{path.name}: run `make protos`"
        services = re.findall(r"\brpc (\w+)\(", text)
        assert [method.name for service in file.service for method in service.method] == services


def test_the_services_have_the_public_paths() -> None:
    assert methods_of(tensorflow_serving.PREDICTION_SERVICE)["Predict"].path == (
        "/tensorflow.serving.PredictionService/Predict"
    )
    assert set(methods_of(tensorflow_serving.MODEL_SERVICE)) == {"GetModelStatus", "HandleReloadConfigRequest"}
    stream = methods_of(open_inference.SERVICE)["ModelStreamInfer"]
    assert stream.takes_stream
    assert stream.gives_stream
    rank = methods_of(ranking.SERVICE)["Rank"]
    assert rank.path == "/recserve.v1.Ranking/Rank"
    assert not rank.takes_stream
    assert rank.request is ranking.RankRequest


def test_unknown_names_are_key_errors() -> None:
    for look_up in (message_class, enum_numbers, methods_of):
        with pytest.raises(KeyError):
            look_up("tensorflow.NoSuchThing")


def test_the_pool_is_not_the_default_one() -> None:
    assert pool() is not descriptor_pool.Default()
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("tensorflow.serving.PredictRequest")


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_our_messages_and_those_of_tritonclient_live_in_one_process(order: str) -> None:
    ours = "from recserve.wire.open_inference import ModelInferRequest as Ours"
    theirs = "from tritonclient.grpc.service_pb2 import ModelInferRequest as Theirs"
    imports = [ours, theirs] if order == "ours first" else [theirs, ours]
    program = "\n".join(
        [
            *imports,
            "sent = Theirs(model_name='m', raw_input_contents=[b'x'])",
            "tensor = sent.inputs.add(name='a', datatype='FP32', shape=[1, 2])",
            "tensor.parameters['n'].uint64_param = 7",
            "got = Ours.FromString(sent.SerializeToString())",
            "assert got.inputs[0].shape == [1, 2] and got.inputs[0].parameters['n'].uint64_param == 7",
            "assert Theirs.FromString(got.SerializeToString()) == sent",
        ]
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_our_field_numbers_of_open_inference_are_those_of_tritonclient() -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    from tritonclient.grpc import model_config_pb2, service_pb2

    theirs: dict[str, set[tuple[str, int, int, int]]] = {}

    def collect(descriptor: object, into: dict[str, set[tuple[str, int, int, int]]]) -> None:
        message = descriptor_pb2.DescriptorProto()
        descriptor.CopyToProto(message)  # type: ignore[attr-defined]
        fields = {(field.name, field.number, field.type, field.label) for field in message.field}
        into[descriptor.full_name] = fields  # type: ignore[attr-defined]
        for inner in descriptor.nested_types:  # type: ignore[attr-defined]
            collect(inner, into)

    for module in (model_config_pb2, service_pb2):
        for descriptor in module.DESCRIPTOR.message_types_by_name.values():
            collect(descriptor, theirs)
    ours: dict[str, set[tuple[str, int, int, int]]] = {}
    for name in ("inference/model_config.proto", "inference/service.proto"):
        for descriptor in pool().FindFileByName(name).message_types_by_name.values():
            collect(descriptor, ours)
    assert ours
    for name, fields in ours.items():
        assert fields <= theirs[name], name
