"""Deadlines, priorities and clients that leave, on a real server."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import onnx.parser
import pytest

from recserve.errors import RequestError
from recserve.plain_model import open_plain_model
from recserve.serving.batching.model import BatchedModel
from recserve.serving.batching.parameters import BatchingParameters
from recserve.serving.dialects import Port
from recserve.serving.http_server import stop_companions
from recserve.serving.run import ServeOptions, ServerProcess

RANK = "/v1/models/rank:rank"


def wait_for(condition: Any) -> None:
    end_s = monotonic() + 10
    while not condition():
        assert monotonic() < end_s
        sleep(0.01)


def test_a_deadline_is_a_504_and_its_work_is_not_begun(serve: Any, make_ranker: Any) -> None:
    ranker = make_ranker()
    with serve({"a": ranker}) as server, server.client() as client:
        blocker = threading.Thread(
            target=lambda: httpx.post(
                f"http://127.0.0.1:{server.port}{RANK}", json={"user": {"act": "wait"}, "candidates": ["a"]}
            )
        )
        blocker.start()
        assert ranker.entered.wait(10)
        late = client.post(RANK, json={"candidates": ["late"]}, headers={"X-Request-Timeout-Ms": "50"})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        ranker.gate.set()
        blocker.join(10)
        assert client.post(RANK, json={"candidates": ["b"]}).status_code == 200
    assert [call["candidates"] for call in ranker.calls] == [["a"], ["b"]]


def test_work_of_a_client_that_left_is_not_begun(serve: Any, make_ranker: Any) -> None:
    ranker = make_ranker()
    body = b'{"candidates":["%b"]}'
    with serve({"a": ranker}) as server, server.client() as client:
        with server.connect() as first:
            blocking = b'{"user":{"act":"wait"},"candidates":["a"]}'
            first.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (RANK.encode(), len(blocking)))
            first.sendall(blocking)
            assert ranker.entered.wait(10)
            with server.connect() as gone:
                content = body % b"gone"
                gone.sendall(
                    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (RANK.encode(), len(content))
                )
                gone.sendall(content)
                wait_for(lambda: server.process._threads.waiting() == 1)
            assert client.get("/healthz").status_code == 200
            sleep(0.1)  # until the server has seen that the client left
            ranker.gate.set()
        assert client.post(RANK, json={"candidates": ["b"]}).status_code == 200
    assert [call["candidates"] for call in ranker.calls] == [["a"], ["b"]]


class InParts:
    """A ranker that scores a list in many parts, and lets others go first between them."""

    def __init__(self, ranker: Any) -> None:
        self._ranker = ranker
        self.pause: Any = None
        self.parts, self.is_over = 0, False
        self.entered = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ranker, name)

    def rank(self, user: Any, *arguments: Any, **options: Any) -> Any:
        self.is_over = False
        for self.parts in range(2000):
            self.entered.set()
            sleep(0.005)
            try:
                self.pause()
            except RequestError:
                self.is_over = True
                raise
        return self._ranker.rank(user, *arguments, **options)


def test_a_long_list_ends_at_its_deadline_and_with_its_client(serve: Any, make_ranker: Any) -> None:
    ranker = InParts(make_ranker())
    with serve({"a": ranker}) as server, server.client() as client:
        late = client.post(RANK, json={"candidates": ["a"]}, headers={"X-Request-Timeout-Ms": "60"})
        assert late.status_code == 504
        wait_for(lambda: ranker.is_over)
        assert ranker.parts < 1999
        ranker.entered.clear()
        body = b'{"candidates":["a"]}'
        with server.connect() as gone:
            gone.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (RANK.encode(), len(body)))
            gone.sendall(body)
            assert ranker.entered.wait(10)
        wait_for(lambda: ranker.is_over)
        assert ranker.parts < 1999
        text = client.get("/metrics").text
        assert 'recserve_refusals_total{protocol="recserve",reason="deadline_exceeded"} 1' in text


ENDLESS = """<ir_version: 9, opset_import: ["": 18]>
endless (float[N,1] x) => (float[N,1] y) {
  most = ReduceMax <keepdims = 0> (x)
  times = Cast <to = 7> (most)
  go = Constant <value = bool {1}> ()
  y = Loop <body = step (int64 i, bool on, float[N,1] h) => (bool on2, float[N,1] h2) {
    on2 = Identity(on)
    h2 = Neg(h)
  }>
    (times, go, x)
}"""
"""Changes the signs of its input as often as that says."""


@pytest.mark.parametrize("batching", [None, BatchingParameters(4, num_batch_threads=1)])
def test_one_long_call_of_a_plain_model_ends_at_its_deadline_and_with_its_client(
    serve: Any, make_ranker: Any, tmp_path: Path, batching: BatchingParameters | None
) -> None:
    folder = tmp_path / "endless" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(onnx.parser.parse_model(ENDLESS).SerializeToString())
    options = {"open_ranker": open_plain_model, "batching": batching, "ports": [Port("tfs", 0)]}
    path, forever = "/v1/models/endless:predict", b'{"instances":[[1e12]]}'
    with serve({str(folder): make_ranker()}, **options) as server:
        address = server.process.addresses["tfs"]

        def is_idle() -> bool:
            return not any(post.stuck_s(1e-9) for post in server.process._posts())

        def answers() -> bool:
            answer = httpx.post(address + path, json={"instances": [[3.0]]}, timeout=10)
            return bool(answer.json() == {"predictions": [[-3.0]]})

        assert answers()
        late = httpx.post(address + path, content=forever, headers={"X-Request-Timeout-Ms": "50"}, timeout=10)
        assert (late.status_code, late.json()["error"][:17]) == (504, "Deadline Exceeded")
        wait_for(is_idle)
        assert answers()
        host, _, port = address.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as gone:
            gone.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(forever)))
            gone.sendall(forever)
            wait_for(lambda: not is_idle())
        wait_for(is_idle)
        assert answers()


@pytest.mark.parametrize(("header", "value"), [("X-Request-Timeout-Ms", "soon"), ("X-Request-Priority", "urgent")])
def test_wishes_that_cannot_be_read_are_a_400(serve: Any, make_ranker: Any, header: str, value: str) -> None:
    with serve({"a": make_ranker()}) as server, server.client() as client:
        answer = client.post(RANK, json={"candidates": ["b"]}, headers={header: value})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_header")
        assert value in answer.json()["error"]["message"]


def test_a_queue_that_is_too_slow_refuses_with_retry_after(serve: Any, make_ranker: Any) -> None:
    ranker = make_ranker()
    with serve({"a": ranker}, max_waiting=1) as server:
        url = f"http://127.0.0.1:{server.port}{RANK}"
        busy = [
            threading.Thread(target=httpx.post, args=(url,), kwargs={"json": document})
            for document in (
                {"user": {"act": "wait"}, "candidates": ["a"]},
                {"candidates": ["b"]},
            )
        ]
        busy[0].start()
        assert ranker.entered.wait(10)
        busy[1].start()
        wait_for(lambda: server.process._threads.waiting() == 1)
        refused = httpx.post(url, json={"candidates": ["c"]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        assert refused.headers["retry-after"] == "1"
        ranker.gate.set()
        for thread in busy:
            thread.join(10)


class SlowCompanion:
    """A server of another transport that takes a while to end."""

    port = 1

    def __init__(self) -> None:
        self.began_s = 0.0

    def stop(self, grace_s: float) -> None:
        self.began_s = monotonic()
        sleep(min(grace_s, 0.2))


def test_companions_drain_at_the_same_time_and_only_once() -> None:
    first, second = SlowCompanion(), SlowCompanion()
    companions: list[Any] = [first, second]
    stop_companions(companions, 5)
    assert abs(first.began_s - second.began_s) < 0.15
    assert companions == []
    stop_companions(companions, 5)


def test_models_share_batches_where_that_is_wanted(make_ranker: Any) -> None:
    opened = make_ranker()
    opened.signatures = {}
    options = ServeOptions(bundles=["a"], ports=[Port("tfs", 0)], batching=BatchingParameters(4, num_batch_threads=1))
    process = ServerProcess(options, lambda _: opened)
    model = process._open("a")
    assert isinstance(model, BatchedModel)
    assert model.name == "rank"
    assert ServerProcess(ServeOptions(bundles=["a"]), lambda _: opened)._open("a") is opened
