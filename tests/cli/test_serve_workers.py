"""Several workers behind one port, as users start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

PROGRAM = "from recserve.cli import main; main()"


def recserve(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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
def traffic(url: str) -> Iterator[tuple[list[int], list[str]]]:
    """Requests on new connections until the block ends: (numbers of right answers, what went wrong)."""
    right, wrong, over = list[int](), list[str](), threading.Event()

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

    threads = [threading.Thread(target=post) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield right, wrong
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
        with traffic(url) as (right, wrong):
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: len(now := set(workers_of(process))) == 2 and not first & now)
        assert wrong == []
        assert right
        victim = workers_of(process)[0]
        with traffic(url) as (right, wrong):
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dialect", "sagemaker-mme:0"], "dialect 'sagemaker-mme' cannot be served by 2 workers. Its clients load"),
        (["--port", "99999"], "port 99999 is out of range"),
    ],
)
def test_what_workers_cannot_share_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    write_model(tmp_path / "a" / "1")
    process = recserve("serve", str(tmp_path / "a"), "--workers", "2", *arguments)
    _, errors = process.communicate(timeout=150)
    assert process.returncode == 2
    assert message in " ".join(errors.split())
