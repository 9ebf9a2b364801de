"""Several workers behind one port, as users start them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

PROGRAM = "from recserve.cli import main; main()"


def recserve(*arguments: str, environment: Mapping[str, str] = os.environ) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def write_model(folder: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y"))
    two = numpy_helper.from_array(np.float32(2), "two")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "g", [x], [y], [two])
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers, in no order."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def wait_for(condition: Callable[[], Any], seconds: float = 150) -> None:
    end_s = monotonic() + seconds
    while not condition():
        assert monotonic() < end_s, "it did not happen"
        sleep(0.05)


@contextmanager
def traffic(url: str) -> Iterator[tuple[list[int], list[str], list[str]]]:
    """Requests on new connections, and on one that is kept, until the block ends.

    Yields:
        Numbers of right answers, what went wrong, and what did on the kept connection, whose client never tries again.
    """
    right, wrong, lost, over = list[int](), list[str](), list[str](), threading.Event()

    def keep() -> None:
        kept = http.client.HTTPConnection(url.rstrip("/").removeprefix("http://"), timeout=20)
        while not over.wait(0.3):
            try:
                kept.request("POST", "/v1/models/a:predict", b'{"instances": [1.5]}')
                if json.loads(kept.getresponse().read()) != {"predictions": [3.0]}:
                    lost.append("another answer")
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))
                kept.close()
        kept.close()

    def post() -> None:
        while not over.is_set():
            try:
                with httpx.Client(timeout=20) as client:
                    answer = client.post(f"{url}/v1/models/a:predict", json={"instances": [1.5]})
                    if answer.json() == {"predictions": [3.0]}:
                        right.append(1)
                    else:
                        wrong.append(answer.text)
            except httpx.HTTPError as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work) for work in (post, post, keep)]
    for thread in threads:
        thread.start()
    try:
        yield right, wrong, lost
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_workers_are_replaced_and_restarted_and_nobody_notices(tmp_path: Path) -> None:
    write_model(tmp_path / "a" / "1")
    process = recserve("serve", str(tmp_path / "a"), "--workers", "2", "--dialect", "tfs:0", "--dialect", "grpc:0")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("Serving tfs on ").strip()
        assert process.stdout.readline().startswith("Serving grpc on 127.0.0.1:")
        first = set(workers_of(process))
        assert len(first) == 2
        assert httpx.get(f"{url}/readyz").status_code == 200
        (tmp_path / "a" / "2").mkdir()  # later workers serve what the first ones do
        (tmp_path / "a" / "2" / "model.onnx").write_bytes(b"no graph")
        with traffic(url) as (right, wrong, lost):
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: len(now := set(workers_of(process))) == 2 and not first & now)
        assert wrong == lost == []
        assert right
        victim = workers_of(process)[0]
        with traffic(url) as (right, wrong, _):
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: victim not in workers_of(process) and len(workers_of(process)) == 2)
        assert len(wrong) <= 2  # what it was answering
        assert right
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=150)
    assert process.returncode == 0
    assert "ended with exit code -9; it starts again in" in errors


def test_models_that_cannot_be_loaded_end_the_server(tmp_path: Path) -> None:
    write_model(tmp_path / "a" / "1")
    (tmp_path / "a" / "1" / "model.onnx").write_bytes(b"no graph")
    process = recserve("serve", str(tmp_path / "a"), "--workers", "2", "--port", "0")
    _, errors = process.communicate(timeout=150)
    assert process.returncode == 2
    assert "model.onnx" in errors


def test_what_workers_cannot_share_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "a" / "1")
    process = recserve("serve", str(tmp_path / "a"), "--workers", "2", "--port", "99999")
    _, errors = process.communicate(timeout=150)
    assert process.returncode == 2
    assert "port 99999 is out of range" in " ".join(errors.split())


@dataclass
class Server:
    """Two workers that speak several dialects."""

    process: subprocess.Popen[str]
    root: Path
    urls: dict[str, str]

    def ask_all(self, method: str, dialect: str, path: str, **options: Any) -> list[httpx.Response]:
        """The answers of both workers, each over a connection of its own; a worker's request ids begin alike."""
        answers: dict[str, httpx.Response] = {}

        def both() -> bool:
            answer = httpx.request(method, self.urls[dialect] + path, timeout=60, **options)
            answers[answer.headers["x-request-id"][:12]] = answer
            return len(answers) == 2

        wait_for(both)
        return list(answers.values())

    def statuses(self, dialect: str, path: str, **options: Any) -> list[int]:
        return [answer.status_code for answer in self.ask_all("POST", dialect, path, **options)]

    def replace_one(self, number: signal.Signals) -> None:
        """Let a signal end one worker, and wait for its successor."""
        victim = workers_of(self.process)[0]
        os.kill(victim, number)
        wait_for(lambda: victim not in workers_of(self.process) and len(workers_of(self.process)) == 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("crew")
    for version in (1, 2):
        write_model(root / "models" / "a" / str(version))
    write_model(root / "models" / "b" / "1")
    config = root / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{ name: "a" base_path: "{root}/models/a" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }} }} }}"""
    )
    dialects = ["tfs", "oip", "sagemaker-mme", "admin", "grpc"]
    arguments = ["--workers", "2", "--hang-timeout", "4", "--model-config-file", str(config), "--settle", "0"]
    process = recserve(
        "serve", *arguments, *(word for name in dialects for word in ("--dialect", f"{name}:0")),
        environment={**os.environ, "RECSERVE_OPT_ML": str(root)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in dialects]
        yield Server(process, root, {words[1]: words[-1] for words in lines})
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors


ROW = {"instances": [1.5]}


def test_a_multi_model_endpoint_is_one_whichever_worker_answers(server: Server) -> None:
    body = {"model_name": "m", "url": "/opt/ml/models/b"}
    url = server.urls["sagemaker-mme"]
    assert httpx.post(f"{url}/models", json=body, timeout=60).status_code == 200
    assert server.statuses("sagemaker-mme", "/models", json=body) == [409, 409]
    assert server.statuses("sagemaker-mme", "/models/m/invoke", json=ROW) == [200, 200]
    server.replace_one(signal.SIGKILL)
    pages = server.ask_all("GET", "sagemaker-mme", "/models")
    assert [page.json() for page in pages] == [{"models": [{"modelName": "m", "modelUrl": body["url"]}]}] * 2
    assert server.statuses("sagemaker-mme", "/models/m/invoke", json=ROW) == [200, 200]
    assert httpx.delete(f"{url}/models/m", timeout=60).status_code == 200
    assert server.statuses("sagemaker-mme", "/models/m/invoke", json=ROW) == [404, 404]
    assert httpx.post(f"{url}/models", json={**body, "url": "/opt/ml/models/no"}, timeout=60).status_code == 404


def test_a_rollout_is_everywhere_when_the_caller_is_answered(server: Server) -> None:
    path = "/rollouts/a"
    rollout = {"stable": 1, "canary": 2, "canary_bp": 100}
    assert httpx.put(server.urls["admin"] + path, json=rollout, timeout=60).status_code == 200
    assert [page.json()["rollout"]["canary"] for page in server.ask_all("GET", "admin", path)] == [2, 2]
    assert httpx.post(f"{server.urls['admin']}{path}/promote", timeout=60).status_code == 200
    assert [page.json()["rollout"]["stable"] for page in server.ask_all("GET", "admin", path)] == [2, 2]
    assert httpx.delete(server.urls["admin"] + path, timeout=60).status_code == 200
    assert [page.status_code for page in server.ask_all("GET", "admin", path)] == [404, 404]


def test_a_canary_is_judged_by_what_all_workers_saw(server: Server) -> None:
    path = "/rollouts/a"
    rule = {"min_calls": 4000, "window_s": 600, "max_error_rate": None, "promotes": True}
    rollout = {"stable": 1, "canary": 2, "canary_bp": 5000, "rule": rule}
    assert httpx.put(server.urls["admin"] + path, json=rollout, timeout=60).status_code == 200
    answers = [httpx.post(f"{server.urls['tfs']}/v1/models/a:predict", json=ROW) for _ in range(16)]
    assert len({answer.headers["x-request-id"][:12] for answer in answers}) == 2, "both workers have answered"

    def seen() -> set[int]:
        pages = [page.json()["seen"] for page in server.ask_all("GET", "admin", path)]
        return {sum(row["calls"] for row in page.values()) for page in pages}

    wait_for(lambda: seen() == {16})
    # Fewer calls than this are seen by either worker, and as many by both.
    rollout["rule"] = {**rule, "min_calls": 10, "window_s": 1.5, "max_score_drift": 0.5}
    rollout["canary_bp"] = 10_000
    assert httpx.put(server.urls["admin"] + path, json=rollout, timeout=60).status_code == 200

    def is_promoted() -> bool:
        for _ in range(8):
            httpx.post(f"{server.urls['tfs']}/v1/models/a:predict", json=ROW)
        pages = [page.json()["rollout"] for page in server.ask_all("GET", "admin", path)]
        return all(page["stable"] == 2 and page["canary"] is None for page in pages)

    wait_for(is_promoted)
    assert httpx.delete(server.urls["admin"] + path, timeout=60).status_code == 200


def test_a_model_that_one_worker_is_asked_to_unload_is_unloaded_by_all(server: Server) -> None:
    assert server.statuses("tfs", "/v1/models/a:predict", json=ROW) == [200, 200]
    answer = httpx.post(f"{server.urls['oip']}/v2/repository/models/a/unload", timeout=60)
    assert answer.status_code == 200
    assert server.statuses("tfs", "/v1/models/a:predict", json=ROW) == [404, 404]
    server.replace_one(signal.SIGKILL)
    assert server.statuses("tfs", "/v1/models/a:predict", json=ROW) == [404, 404]
    answer = httpx.post(f"{server.urls['oip']}/v2/repository/models/a/load", timeout=60)
    assert answer.status_code == 200
    assert server.statuses("tfs", "/v1/models/a/versions/2:predict", json=ROW) == [200, 200]
    assert httpx.post(f"{server.urls['oip']}/v2/repository/models/x/load", timeout=60).status_code == 404


def test_a_configuration_that_one_worker_is_sent_is_served_by_all(server: Server) -> None:
    from recserve.wire.tensorflow_serving import ReloadConfigRequest, ReloadConfigResponse

    request = ReloadConfigRequest()
    for name in ("a", "b"):
        request.config.model_config_list.config.add(
            name=name, base_path=f"{server.root}/models/{name}", model_platform="tensorflow"
        )
    with grpc.insecure_channel(server.urls["grpc"]) as channel:
        reload = channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            lambda message: message.SerializeToString(),
            ReloadConfigResponse.FromString,
        )
        reload(request, timeout=60)
        assert server.statuses("tfs", "/v1/models/b:predict", json=ROW) == [200, 200]


def test_the_statistics_of_a_model_are_those_of_all_workers(server: Server) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}

    def counts() -> list[int]:
        answers = server.ask_all("GET", "oip", "/v2/models/a/stats")
        return [sum(row["execution_count"] for row in answer.json()["model_stats"]) for answer in answers]

    before = max(counts())
    asked = 0
    while asked < 40:
        assert server.statuses("oip", "/v2/models/a/infer", json={"inputs": [tensor]}) == [200, 200]
        asked += 2
    wait_for(lambda: len(found := set(counts())) == 1 and found.pop() >= before + asked)


def test_a_worker_that_hangs_is_replaced(server: Server) -> None:
    victim = workers_of(server.process)[0]
    os.kill(victim, signal.SIGSTOP)
    wait_for(lambda: victim not in workers_of(server.process) and len(workers_of(server.process)) == 2)
    assert server.statuses("tfs", "/v1/models/a:predict", json=ROW) == [200, 200]
