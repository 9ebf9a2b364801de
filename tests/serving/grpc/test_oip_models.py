"""Health, metadata, statistics and the repository, as the real tritonclient asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from recserve.serving.grpc.server import GrpcServer
from recserve.wire.open_inference import SERVICE
from recserve.wire.pool import methods_of

CODE = grpc.StatusCode


@pytest.fixture
def client(served: Any) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.server.port}") as made:
        yield made


def test_health_follows_the_readiness(client: Any, served: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    served.is_ready[0] = False
    try:
        assert client.is_server_live()
        assert not client.is_server_ready()
    finally:
        served.is_ready[0] = True


def test_models_are_ready_or_not(client: Any) -> None:
    assert client.is_model_ready("half_plus_two")
    assert client.is_model_ready("half_plus_two", "123")
    assert not client.is_model_ready("half_plus_two", "9")
    assert not client.is_model_ready("nope")
    with pytest.raises(InferenceServerException, match="specified version string 'x'"):
        client.is_model_ready("half_plus_two", "x")


def test_the_server_tells_its_extensions(client: Any) -> None:
    answer = client.get_server_metadata()
    assert answer.name == "recserve"
    assert "statistics" in answer.extensions


def test_metadata_and_config_tell_the_tensors(client: Any) -> None:
    answer = client.get_model_metadata("add_sub", as_json=True)
    assert answer["versions"] == ["1"]
    assert answer["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": ["-1", "16"]}
    config = client.get_model_config("add_sub").config
    assert config.max_batch_size > 0
    assert [tensor.name for tensor in config.input] == ["INPUT0", "INPUT1"]
    assert list(config.input[0].dims) == [16]
    assert config.input[0].data_type == 8


def test_statistics_count_calls(client: Any) -> None:
    def count() -> int:
        rows = client.get_inference_statistics("add_sub").model_stats
        assert [(row.name, row.version) for row in rows] == [("add_sub", "1")]
        return int(rows[0].inference_stats.success.count)

    before = count()
    inputs = []
    for name in ("INPUT0", "INPUT1"):
        inputs.append(triton.InferInput(name, [3, 16], "INT32"))
        inputs[-1].set_data_from_numpy(np.zeros((3, 16), np.int32))
    client.infer("add_sub", inputs)
    assert count() == before + 1
    stats = client.get_inference_statistics("add_sub").model_stats[0]
    assert stats.batch_stats[0].batch_size == 3
    assert len(client.get_inference_statistics().model_stats) > 1
    with pytest.raises(InferenceServerException, match="'nope' is not found"):
        client.get_inference_statistics("nope")


def test_settings_can_be_read_and_not_changed(client: Any) -> None:
    assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]
    assert client.get_trace_settings("add_sub").settings["trace_rate"].value == ["1000"]
    assert client.get_log_settings().settings["log_info"].bool_param
    with pytest.raises(InferenceServerException, match="trace settings cannot be changed"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
    with pytest.raises(InferenceServerException, match="log settings cannot be changed"):
        client.update_log_settings({"log_info": False})
    with pytest.raises(InferenceServerException, match="there is no trace setting 'x'"):
        client.update_trace_settings(settings={"x": None})


def test_shared_memory_is_refused(client: Any) -> None:
    assert len(client.get_system_shared_memory_status().regions) == 0
    assert len(client.get_cuda_shared_memory_status().regions) == 0
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        client.register_system_shared_memory("a", "/a", 8)
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        client.unregister_cuda_shared_memory("a")


def test_models_are_loaded_and_unloaded(serving_of: Any, fakes: Any, tmp_path: Path) -> None:
    for version in ("123", "200"):
        (tmp_path / "half_plus_two" / version).mkdir(parents=True)
    serving = serving_of([])
    serving.repository.load_version(tmp_path / "half_plus_two" / "123")
    server = GrpcServer(serving, "127.0.0.1", 0)
    try:
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            client.load_model("half_plus_two")
            assert client.is_model_ready("half_plus_two", "200")
            rows = client.get_model_repository_index(as_json=True)["models"]
            assert [(row["version"], row["state"]) for row in rows] == [("123", "READY"), ("200", "READY")]
            client.unload_model("half_plus_two")
            until = time.monotonic() + 10
            while client.is_model_ready("half_plus_two") and time.monotonic() < until:
                time.sleep(0.01)
            assert not client.is_model_ready("half_plus_two")
            with pytest.raises(InferenceServerException, match="failed to load 'nope'"):
                client.load_model("nope")
            with pytest.raises(InferenceServerException, match="with 'config' is not supported"):
                client.load_model("half_plus_two", config="{}")
            with pytest.raises(InferenceServerException, match=r"with 'file:1/model\.onnx' is not supported"):
                client.load_model("half_plus_two", files={"file:1/model.onnx": b"x"})
            with pytest.raises(InferenceServerException, match="failed to unload 'nope'"):
                client.unload_model("nope")
    finally:
        server.stop(0)


def test_a_repository_name_is_refused(served: Any) -> None:
    request = methods_of(SERVICE)["RepositoryIndex"].request(repository_name="r")
    error = served.fails(SERVICE, "RepositoryIndex", request)
    assert error.code() == CODE.UNIMPLEMENTED
    assert "'repository_name' specification is not supported" in error.details()
