from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from recserve.serving.tfs.app import build_tfs


def request(
    serving: Any, line: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any, bytes]:
    """One request through the application; status, headers by name, body."""
    method, target = line.split(" ", 1)
    path, _, query = target.partition("?")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    asyncio.run(build_tfs(serving)(scope, receive, send))  # type: ignore[arg-type]
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, sent[1]["body"]


PREDICT = "POST /v1/models/m:predict"


def test_a_call_is_answered(tfs: Any, doubler: Any) -> None:
    serving = tfs.make_serving(doubler)
    for line in (PREDICT, "POST /V1/MODELS/m/versions/3:predict", "POST /v1/models/m/labels/stable:predict"):
        status, headers, body = request(serving, line, b'{"instances": [1.0]}', {"content-type": "text/plain"})
        assert (status, json.loads(body)) == (200, {"predictions": [2.0]})
        assert headers["content-type"] == "application/json"
        assert headers["content-length"] == str(len(body))


def test_a_compressed_body_is_inflated(tfs: Any, doubler: Any) -> None:
    serving = tfs.make_serving(doubler)
    packed = gzip.compress(b'{"instances": [1.0]}')
    assert request(serving, PREDICT, packed, {"content-encoding": "gzip"})[0] == 200
    assert request(serving, PREDICT, b"no gzip", {"content-encoding": "gzip"})[0] == 400
    assert request(serving, PREDICT, packed, {"content-encoding": "br"})[0] == 400
    bomb = gzip.compress(bytes(101 << 20))
    assert request(serving, PREDICT, bomb, {"content-encoding": "gzip"})[0] == 413


@pytest.mark.parametrize(
    ("line", "status", "fragment"),
    [
        ("GET /v1/models/m", 200, '"AVAILABLE"'),
        ("GET /v1/models/m/labels/none", 200, '"AVAILABLE"'),
        ("GET /v1/models/m/metadata", 200, '"signature_def"'),
        ("GET /v1/models/m/labels/none/metadata", 400, "Unrecognized servable version label: none"),
        ("GET /v1/models/n", 404, "Could not find any versions of model n"),
        ("GET /v1/models", 400, "Missing model name in request."),
        ("POST /v1/models/m:predict?x=1", 400, "Malformed request: POST /v1/models/m:predict?x=1"),
        ("POST /v1/models/m:explain", 400, "Malformed request"),
        ("OPTIONS /v1/models/m:predict", 400, "Origin"),
        ("GET /", 404, "Not Found"),
        ("GET /healthz", 200, "live"),
        ("GET /monitoring/prometheus/metrics", 200, ":tensorflow:serving:request_count"),
    ],
)
def test_routes_have_their_status(tfs: Any, doubler: Any, line: str, status: int, fragment: str) -> None:
    got, _, body = request(tfs.make_serving(doubler), line)
    assert (got, fragment in body.decode()) == (status, True), body


def test_other_origins_may_call_where_that_is_wanted(tfs: Any, doubler: Any) -> None:
    line, origin = "OPTIONS /v1/models/m:predict", {"origin": "https://a.example"}
    status, headers, _ = request(tfs.make_serving(doubler), line, headers=origin)
    assert (status, "access-control-allow-origin" in headers) == (200, False)
    _, headers, _ = request(tfs.make_serving(doubler, allows_cross_origin=True), line, headers=origin)
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-methods"] == "POST, GET"
    assert headers["access-control-allow-headers"] == "Content-Type"


def test_calls_are_counted_by_model_and_status(tfs: Any, doubler: Any) -> None:
    serving = tfs.make_serving(doubler)
    request(serving, PREDICT, b'{"instances": [1.0]}')
    request(serving, PREDICT, b"{")
    request(serving, "POST /v1/models/nobody:predict", b'{"instances": [1.0]}')
    text = serving.metrics.text()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1' in text
    assert ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 1' in text
    assert ':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"} 1' in text
    assert ':tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="REST"} 1' in text


def test_a_ranker_takes_no_tensors_and_a_tensor_model_does_not_rank(tfs: Any, make_ranker: Any, doubler: Any) -> None:
    serving = tfs.make_serving(make_ranker(), doubler)
    status, _, body = request(serving, "POST /v1/models/rank:predict", b'{"instances": [1]}')
    assert (status, json.loads(body)["error"]) == (
        400,
        "model 'rank' takes no tensors. Ask it with /v1/models/rank:rank.",
    )
    status, _, body = request(serving, "POST /v1/models/rank:rank", b'{"candidates": ["a"]}')
    assert (status, json.loads(body)["item_ids"]) == (200, ["a"])
    status, _, body = request(serving, "POST /v1/models/m:rank", b'{"candidates": ["a"]}')
    assert (status, json.loads(body)["error"]["message"]) == (400, "model 'm' does not rank")


def test_pages_of_a_tensor_model_are_shown_in_recserves_own_dialect(tfs: Any, doubler: Any, serve: Any) -> None:
    with serve({"b": doubler}) as server, server.client() as client:
        page = client.get("/v1/models/m").json()
        assert (page["ready"], page["model_version_status"][0]["version"]) == (True, "3")
        assert client.get("/v1/models/m/metadata").json()["model_spec"]["name"] == "m"
        assert client.post("/v1/models/m:predict", json={"instances": [1.0]}).json() == {"predictions": [2.0]}
        assert client.post("/v1/models/m/labels/stable:predict", json={"instances": [1.0]}).status_code == 200
        assert "takes no tensors" not in client.post("/v1/models/m:rank", json={"candidates": [1]}).text
