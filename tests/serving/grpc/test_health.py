"""Health under every name, and reflection from the private pool."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from recserve.serving.grpc.health import WATCH_INTERVAL_S, HealthService

STATES = health_pb2.HealthCheckResponse


@pytest.mark.parametrize(
    "name",
    [
        "",
        "PredictionService",
        "ModelService",
        "tensorflow.serving.PredictionService",
        "inference.GRPCInferenceService",
        "recserve.v1.Ranking",
    ],
)
def test_health_is_known_by_every_name(served: Any, name: str) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    request = health_pb2.HealthCheckRequest(service=name)
    assert stub.Check(request, timeout=20).status == STATES.SERVING
    served.is_ready[0] = False
    try:
        assert stub.Check(request, timeout=20).status == STATES.NOT_SERVING
    finally:
        served.is_ready[0] = True


def test_an_unknown_service_is_not_found(served: Any) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=20)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=20)
    assert next(watch).status == STATES.SERVICE_UNKNOWN
    watch.cancel()


def test_a_watch_tells_changes(served: Any) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
    try:
        assert next(watch).status == STATES.SERVING
        served.is_ready[0] = False
        assert next(watch).status == STATES.NOT_SERVING
    finally:
        served.is_ready[0] = True
        watch.cancel()


def test_all_who_watch_share_one_look_and_the_last_one_ends_it() -> None:
    looks, states = [0], [True]

    def readiness() -> bool:
        looks[0] += 1
        return states[0]

    async def watch() -> None:
        service = HealthService(["a.B"], readiness)
        names = ["", "a.B", "B", "nope"] * 250
        watching = [service.Watch(health_pb2.HealthCheckRequest(service=name), None) for name in names]
        first = [(await anext(each)).status for each in watching]
        assert first == [STATES.SERVING, STATES.SERVING, STATES.SERVING, STATES.SERVICE_UNKNOWN] * 250
        assert looks[0] <= 2
        states[0] = False
        told = await asyncio.gather(*(anext(each) for each in watching[:3]))
        assert {answer.status for answer in told} == {STATES.NOT_SERVING}
        for each in watching:
            await each.aclose()
        looks[0] = 0
        await asyncio.sleep(3 * WATCH_INTERVAL_S)
        assert looks[0] == 0

    asyncio.run(watch())


def reflect(served: Any, **request: Any) -> Any:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    return next(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=20))


def test_reflection_lists_the_services_and_describes_them(served: Any) -> None:
    names = {service.name for service in reflect(served, list_services="").list_services_response.service}
    assert {
        "grpc.health.v1.Health",
        "inference.GRPCInferenceService",
        "recserve.v1.Ranking",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    } <= names
    for name in names:
        content = reflect(served, file_containing_symbol=name).file_descriptor_response.file_descriptor_proto
        file = descriptor_pb2.FileDescriptorProto.FromString(content[0])
        assert name in {f"{file.package}.{service.name}" for service in file.service}
