"""The real command, real files and sockets: versions arrive, go bad, and move under traffic."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import text_format

from recserve.wire.pool import methods_of
from recserve.wire.tensorflow_serving import MODEL_SERVICE, ReloadConfigRequest

RECSERVE = (sys.executable, "-c", "from recserve.cli import main; main()")
CONFIG = 'config { name: "NAME" base_path: "BASE" model_platform: "tensorflow" MORE }'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


class Server:
    """A server process with TensorFlow Serving's command line, and an admin port."""

    def __init__(self, process: subprocess.Popen[bytes], rest: int, rpc: int, admin: int) -> None:
        self.process, self.rpc, self.admin = process, rpc, f"http://127.0.0.1:{admin}"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{rest}", timeout=10)

    def ask(self, model: str = "half", target: str = "") -> float | str:
        answer = self.http.post(f"/v1/models/{model}{target}:predict", json={"instances": [0.0]}).json()
        return float(answer["predictions"][0]) if "predictions" in answer else str(answer["error"])

    def wait(self, wanted: Callable[[], Any]) -> None:
        end_s = time.monotonic() + 30
        while True:
            try:
                if wanted():
                    return
            except httpx.HTTPError:
                pass
            assert time.monotonic() < end_s, self.http.get("/v1/models/half").text
            time.sleep(0.05)

    def reload(self, *configs: str) -> Any:
        method = methods_of(MODEL_SERVICE)["HandleReloadConfigRequest"]
        text = "config { model_config_list { " + " ".join(configs) + " } }"
        request = text_format.Parse(text, ReloadConfigRequest())
        with grpc.insecure_channel(f"127.0.0.1:{self.rpc}") as channel:
            call = channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
            return call(request, timeout=30)


@contextmanager
def serving(base: Path, *flags: str) -> Iterator[Server]:
    rest, rpc, admin = free_port(), free_port(), free_port()
    line = [f"--model_base_path={base}", "--model_name=half", f"--port={rpc}", f"--rest_api_port={rest}"]
    line += [f"--dialect=admin:{admin}", "--host=127.0.0.1", "--poll=0.1", "--settle=0.3", *flags]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen([*RECSERVE, "serve", *line], stdout=subprocess.PIPE, env=environment) as process:
        server = Server(process, rest, rpc, admin)
        try:
            yield server
        finally:
            server.http.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_versions_move_under_traffic_without_an_error_or_a_mix(tmp_path: Path, dialect_models: Any) -> None:
    """Version n answers 0 with n: a wrong number is a mixed or a broken version."""
    base = tmp_path / "half"
    dialect_models.write_half_plus(base / "1", 1.0)
    with serving(base, "--retry-seconds=0.2", f"--state-dir={tmp_path / 'state'}") as server:
        server.wait(lambda: server.ask() == 1.0)
        wrong: list[Any] = []
        seen: set[Any] = set()
        stopping = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=server.http.base_url, timeout=10) as client:
                while not stopping.is_set():
                    answer = client.post("/v1/models/half:predict", json={"instances": [0.0, 0.0, 0.0]})
                    values = answer.json().get("predictions", [answer.text])
                    seen.add(values[0])
                    if len(set(values)) != 1 or values[0] not in (1.0, 2.0, 4.0):
                        wrong.append(answer.text)
                    time.sleep(0.002)  # leave the machine to the server

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        dialect_models.write_half_plus(tmp_path / "new", 2.0)
        copy_slowly(tmp_path / "new" / "model.onnx", base / "2" / "model.onnx")
        server.wait(lambda: server.ask() == 2.0)
        (base / "3").mkdir()
        (base / "3" / "model.onnx").write_bytes(b"no graph")
        server.wait(lambda: '"3"' in server.http.get("/v1/models/half").text)
        time.sleep(0.6)
        assert server.ask() == 2.0
        dialect_models.write_half_plus(base / "4", 4.0)
        server.wait(lambda: server.ask() == 4.0)
        set_rollout(server, {"stable": 2, "canary": 4, "canary_bp": 5000, "shadows": [1]})
        users = {str(n): server.http.post(
            "/v1/models/half:predict", json={"instances": [0.0]}, headers={"x-user-id": str(n)}
        ).json()["predictions"][0] for n in range(30)}  # fmt: skip
        assert set(users.values()) == {2.0, 4.0}
        recserve_rollout(server, "half", "--roll-back")
        assert {server.ask() for _ in range(20)} == {2.0}
        stopping.set()
        for thread in threads:
            thread.join(10)
        assert wrong == []
        assert seen == {1.0, 2.0, 4.0}
    with serving(base, f"--state-dir={tmp_path / 'state'}") as server:  # the rollout outlives the process
        server.wait(lambda: server.ask() == 2.0)


def test_configurations_and_labels_move_by_request(tmp_path: Path, dialect_models: Any) -> None:
    base = tmp_path / "half"
    for version in (1, 2):
        dialect_models.write_half_plus(base / str(version), float(version))
        dialect_models.write_half_plus(tmp_path / "other" / str(version), 10.0 + version)
    half = CONFIG.replace("NAME", "half").replace("BASE", str(base))
    other = CONFIG.replace("NAME", "other").replace("BASE", str(tmp_path / "other")).replace("MORE", "")
    policy = "model_version_policy { all { } }"
    with serving(base) as server:
        server.wait(lambda: server.ask() == 2.0)
        for stable in (1, 2):
            label = f'version_labels {{ key: "stable" value: {stable} }}'
            server.reload(half.replace("MORE", f"{policy} {label}"), other)
            assert server.ask(target="/labels/stable") == float(stable)
        assert server.ask("other") == 12.0
        with pytest.raises(grpc.RpcError) as caught:
            server.reload(half.replace("MORE", 'version_labels { key: "stable" value: 9 }'))
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "not currently available for inference" in caught.value.details()
        assert server.ask(target="/labels/stable") == 2.0
        server.reload(other)
        assert "Servable not found for request: Latest(half)" in str(server.ask())
        shutil.rmtree(tmp_path / "other" / "2")
        server.wait(lambda: server.ask("other") == 11.0)


def set_rollout(server: Server, rollout: Any) -> None:
    answer = httpx.put(f"{server.admin}/rollouts/half", json=rollout, timeout=30)
    assert answer.status_code == 200, answer.text


def recserve_rollout(server: Server, *arguments: str) -> Any:
    line = [*RECSERVE, "rollout", *arguments, "--server", server.admin]
    done = subprocess.run(line, capture_output=True, check=True)
    return json.loads(done.stdout)


def copy_slowly(source: Path, target: Path) -> None:
    """Copy in pieces, slower than any look at the directory."""
    target.parent.mkdir()
    content = source.read_bytes()
    step = len(content) // 6 + 1
    with target.open("wb") as file:
        for begin in range(0, len(content), step):
            file.write(content[begin : begin + step])
            file.flush()
            time.sleep(0.15)
