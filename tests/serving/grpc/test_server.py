"""The gRPC port: start, stop, limits, and clients that behave badly."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.serving.dialects import DIALECTS
from recserve.serving.grpc.server import GrpcOptions, GrpcServer, build_endpoints, build_grpc, services_of
from recserve.wire.pool import methods_of
from recserve.wire.tensor_proto import encode_tensor
from recserve.wire.tensorflow_serving import (
    MODEL_SERVICE,
    PREDICTION_SERVICE,
    PredictRequest,
    PredictResponse,
    ReloadConfigRequest,
)

CODE = grpc.StatusCode
PREDICT = f"/{PREDICTION_SERVICE}/Predict"


def predict(model: str, size: int = 1) -> bytes:
    request = PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(encode_tensor(np.zeros(size, np.float32), as_content=True))
    content: bytes = request.SerializeToString()
    return content


def test_every_method_of_every_service_is_answered(serving_of: Any) -> None:
    endpoints = build_endpoints(serving_of([]), GrpcOptions())
    services = services_of(endpoints)
    assert sorted(e.method.path for e in endpoints) == sorted(m.path for s in services for m in methods_of(s).values())


@pytest.mark.parametrize("name", ["grpc", "oip-grpc"])
def test_the_dialects_lead_here(name: str) -> None:
    assert DIALECTS[name].transport == "grpc"
    assert DIALECTS[name].load_builder() is build_grpc


def test_the_dialects_take_their_options_from_what_is_served(serving_of: Any, fakes: Any) -> None:
    taken: list[Any] = []
    serving = replace(
        serving_of([fakes["half_plus_two"]()], max_body_bytes=100 << 20),
        answers_tensor_content=True,
        reload_config=taken.append,
    )
    server = build_grpc(serving, "127.0.0.1", 0)
    try:
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            answer = channel.unary_unary(PREDICT)(predict("half_plus_two", 18 << 20), timeout=60)
            assert len(PredictResponse.FromString(answer).outputs["y"].tensor_content) == 72 << 20
            request = ReloadConfigRequest()
            request.config.model_config_list.config.add(name="a", base_path="/a", model_platform="tensorflow")
            path = f"/{MODEL_SERVICE}/HandleReloadConfigRequest"
            channel.unary_unary(path)(request.SerializeToString(), timeout=20)
        assert taken[0].config[0].name == "a"
    finally:
        server.stop(0)


def test_a_stopped_server_ends_running_calls_first(serving_of: Any, fakes: Any) -> None:
    model = fakes["slow"]()
    serving = serving_of([model])
    server = build_grpc(serving, "127.0.0.1", 0)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(PREDICT)
        running = call.future(predict("slow"), timeout=20)
        assert model.entered.wait(10)
        stopping = threading.Thread(target=server.stop, args=(10,))
        stopping.start()
        threading.Event().wait(0.1)
        assert stopping.is_alive()
        model.gate.set()
        assert running.result()
        stopping.join(10)
        assert not stopping.is_alive()
        with pytest.raises(grpc.RpcError) as caught:
            call(predict("slow"), timeout=5)
        assert caught.value.code() == CODE.UNAVAILABLE
    server.stop(0)  # once more does nothing
    assert serving.threads.close(5)


def test_a_call_that_outlives_the_grace_is_cut_off(serving_of: Any, fakes: Any) -> None:
    model = fakes["slow"]()
    serving = serving_of([model])
    server = build_grpc(serving, "127.0.0.1", 0)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        running = channel.unary_unary(PREDICT).future(predict("slow"), timeout=20)
        assert model.entered.wait(10)
        server.stop(0)
        assert running.exception(timeout=10) is not None
    model.gate.set()
    assert serving.threads.close(5)


def test_a_port_that_is_taken_is_refused(serving_of: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen"):
            GrpcServer(serving_of([]), "127.0.0.1", port)
    server = GrpcServer(serving_of([]), "127.0.0.1", 0)
    try:
        with pytest.raises(ConfigError, match="cannot listen"):
            GrpcServer(serving_of([]), "127.0.0.1", server.port)
    finally:
        server.stop(0)


def test_a_port_out_of_range_is_refused(serving_of: Any) -> None:
    with pytest.raises(ConfigError, match="port 70000 is out of range"):
        GrpcServer(serving_of([]), "127.0.0.1", 70_000)


@pytest.mark.parametrize("size", [0, 2**31])
def test_options_are_checked(size: int) -> None:
    with pytest.raises(ConfigError, match=f"max_message_bytes is {size}"):
        GrpcOptions(max_message_bytes=size)
    assert GrpcOptions(max_message_bytes=2**31 - 1).max_message_bytes == 2**31 - 1


def test_messages_have_a_limit(serving_of: Any, fakes: Any) -> None:
    server = GrpcServer(serving_of([fakes["half_plus_two"]()]), "127.0.0.1", 0, GrpcOptions(max_message_bytes=100_000))
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.unary_unary(PREDICT)
            assert call(predict("half_plus_two", 20_000), timeout=20)
            with pytest.raises(grpc.RpcError) as caught:
                call(predict("half_plus_two", 30_000), timeout=20)
            assert caught.value.code() == CODE.RESOURCE_EXHAUSTED
    finally:
        server.stop(0)


def test_half_open_connections_and_noise_keep_nobody_from_others(served: Any) -> None:
    address = ("127.0.0.1", served.server.port)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    idle = [socket.create_connection(address, timeout=10) for _ in range(30)]
    try:
        for index, connection in enumerate(idle):
            if index % 3 == 1:
                connection.sendall(preface)
            elif index % 3 == 2:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
        waiting = [served.channel.stream_stream(PREDICT)(never(), timeout=20) for _ in range(20)]
        assert served.raw(PREDICT, predict("half_plus_two"))
        for call in waiting:
            call.cancel()
    finally:
        for connection in idle:
            connection.close()
    assert served.raw(PREDICT, predict("half_plus_two"))


def never() -> Any:
    """A request that begins and never comes."""
    threading.Event().wait(0.5)
    yield from ()
