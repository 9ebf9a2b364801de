"""Triton's own clients against a server process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the client's own imports warn
    import tritonclient.http as client_library
    import tritonclient.http.aio as async_library
    from tritonclient.utils import InferenceServerException

ROW = np.arange(16, dtype=np.int32).reshape(1, 16)


@pytest.fixture(scope="module")
def url(dialect_base: Path) -> Iterator[str]:
    """Address of `recserve serve` with the fixture models."""
    command = [
        sys.executable,
        "-c",
        "from recserve.cli import main; main()",
        "serve",
        str(dialect_base),
        "--dialect",
        "oip:0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("Serving oip on http://"), line
            yield line.split("http://")[1].strip()
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with client_library.InferenceServerClient(url, connection_timeout=20, network_timeout=20) as opened:
        yield opened


def infer_input(name: str, tensor: np.ndarray, datatype: str, *, is_binary: bool = True) -> Any:
    given = client_library.InferInput(name, list(tensor.shape), datatype)
    given.set_data_from_numpy(tensor, binary_data=is_binary)
    return given


def both(*, is_binary: bool = True) -> list[Any]:
    return [infer_input(f"INPUT{i}", ROW, "INT32", is_binary=is_binary) for i in (0, 1)]


@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_infer_in_every_form(client: Any, is_binary: bool, coding: str | None) -> None:
    outputs = [client_library.InferRequestedOutput(f"OUTPUT{i}", binary_data=is_binary) for i in (0, 1)]
    result = client.infer(
        "simple",
        both(is_binary=is_binary),
        outputs=outputs,
        request_id="r7",
        priority=1,
        timeout=10_000_000,
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert result.get_response()["id"] == "r7"
    assert result.as_numpy("OUTPUT0").tolist() == (2 * ROW).tolist()
    assert result.as_numpy("OUTPUT1").tolist() == (0 * ROW).tolist()


def test_outputs_that_nobody_names_come_in_binary_form(client: Any) -> None:
    result = client.infer("simple", both())
    assert result.as_numpy("OUTPUT0").tolist() == (2 * ROW).tolist()


def test_text_and_half_floats(client: Any) -> None:
    text = np.array([b"a", b"", "é".encode()], object)
    result = client.infer("identity_bytes", [infer_input("INPUT0", text, "BYTES")])
    assert result.as_numpy("OUTPUT0").tolist() == text.tolist()
    half = np.array([[[1.5, -2]]], np.float16)
    result = client.infer("identity_fp16_2var", [infer_input("INPUT0", half, "FP16")])
    assert result.as_numpy("OUTPUT0").tolist() == half.tolist()


def test_an_empty_tensor(client: Any) -> None:
    empty = np.zeros((1, 0), np.float32)
    result = client.infer("identity_fp32", [infer_input("INPUT0", empty, "FP32")])
    assert result.as_numpy("OUTPUT0").shape == (1, 0)


def test_pages(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("simple", "1")
    assert not client.is_model_ready("simple", "9")
    assert client.get_server_metadata()["name"] == "recserve"
    assert client.get_model_metadata("simple")["inputs"][0]["shape"] == [-1, 16]
    assert client.get_model_config("simple")["max_batch_size"] > 0
    assert client.get_inference_statistics("simple")["model_stats"][0]["name"] == "simple"
    assert client.get_trace_settings("simple")["trace_level"] == ["OFF"]
    assert client.get_log_settings()["log_error"] is True
    assert client.get_system_shared_memory_status() == []


def test_errors_reach_the_caller(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="expected 2 inputs but got 1 inputs for model 'simple'"):
        client.infer("simple", both()[:1])
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'nope' is not found"):
        client.get_model_metadata("nope")


def test_unload_and_load(client: Any) -> None:
    client.unload_model("identity_int64")
    states = {row["name"]: row.get("state") for row in client.get_model_repository_index()}
    assert states["identity_int64"] == "UNAVAILABLE"
    client.load_model("identity_int64")
    assert client.is_model_ready("identity_int64")
    with pytest.raises(InferenceServerException, match="failed to load 'nope'"):
        client.load_model("nope")


def test_many_requests_at_once(client: Any) -> None:
    before = client.get_inference_statistics("simple")["model_stats"][0]["inference_count"]
    for request in [client.async_infer("simple", both()) for _ in range(20)]:
        assert request.get_result().as_numpy("OUTPUT0").tolist() == (2 * ROW).tolist()
    after = client.get_inference_statistics("simple")["model_stats"][0]["inference_count"]
    assert after - before == 20


def test_the_asyncio_client(url: str) -> None:
    async def ask() -> list[Any]:
        async with async_library.InferenceServerClient(url) as opened:
            assert await opened.is_server_ready()
            results = await asyncio.gather(*(opened.infer("simple", both()) for _ in range(5)))
            return [result.as_numpy("OUTPUT0").tolist() for result in results]

    assert asyncio.run(ask()) == [(2 * ROW).tolist()] * 5
