"""What stands before every HTTP port."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from recserve.serving.access_log import AccessLogOptions
from recserve.serving.dialects import DIALECTS, Port
from recserve.serving.gate import gate
from recserve.serving.metrics import RequestMetrics
from recserve.serving.oversight import Operations, Oversight

RANK = "/v1/models/rank:rank"
TOKEN = "reader-0123456789abcdef"


@pytest.fixture
def guarded(tmp_path: Path, serve: Any, make_ranker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("READER", TOKEN)
    file = tmp_path / "access.json"
    rules = [{"kinds": ["health", "metrics"], "tokens": ["*"]}, {"models": ["rank"], "tokens": ["reader"]}]
    file.write_text(json.dumps({"tokens": {"reader": {"env": "READER"}}, "rules": rules}))
    rankers = {"models/rank/7": make_ranker(), "models/other/1": make_ranker("other", 1)}
    with serve(rankers, operations=Operations(access_file=str(file))) as server:
        yield server


def test_calls_need_the_token_that_their_model_asks_for(guarded: Any) -> None:
    with guarded.client() as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 200
        refused = client.post(RANK, json={"candidates": ["a"]})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "unauthenticated"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post(RANK, json={"candidates": ["a"]}, headers=headers).status_code == 200
        other = client.post("/v1/models/other:rank", json={"candidates": ["a"]}, headers=headers)
        assert (other.status_code, other.json()["error"]["code"]) == (403, "forbidden")
        text = client.get("/metrics").text
        assert 'reason="unauthenticated"} 1' in text


def test_a_model_that_only_the_body_names_is_guarded_too(guarded: Any) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with guarded.client() as client:
        both = {"candidates": ["a"], "models": ["rank", "other"]}
        answer = client.post("/v1/models:rank", json=both, headers=headers)
        assert (answer.status_code, answer.json()["error"]["where"]) == (403, "$.models[1]")
        one = {"candidates": ["a"], "models": ["rank"]}
        assert client.post("/v1/models:rank", json=one, headers=headers).status_code == 200


def test_every_port_has_the_pages_of_probes_and_scrapers(serve: Any, make_ranker: Any) -> None:
    dialects = [name for name, row in DIALECTS.items() if row.transport == "http" and not row.starts_empty]
    ports = [Port(name, 0, "rank") for name in dialects]
    with serve({"models/rank/7": make_ranker()}, ports=ports) as server:
        for address in [server.process.addresses[name] for name in dialects]:
            assert httpx.get(f"{address}/livez").json() == {"status": "live"}
            assert httpx.get(f"{address}/readyz").status_code == 200
            assert "recserve_ready 1" in httpx.get(f"{address}/metrics").text
            assert httpx.get(f"{address}/openapi.json").json()["openapi"] == "3.1.0"
            assert httpx.head(f"{address}/metrics").content == b""


def test_an_answer_tells_the_id_of_its_request(server: Any) -> None:
    with server.client() as client:
        got = client.post(RANK, json={"candidates": ["a"]}, headers={"X-Request-ID": "mine"})
        assert got.headers["x-request-id"] == got.json()["request_id"] == "mine"
        drawn = client.post(RANK, json={"candidates": ["a"]})
        assert drawn.headers["x-request-id"] == drawn.json()["request_id"]
        assert client.get("/livez").headers["x-request-id"]


def test_counts_tell_version_signature_code_and_stages(server: Any) -> None:
    with server.client() as client:
        for _ in range(3):
            client.post(RANK, json={"candidates": ["a", "b"]})
        client.post("/v1/models/none:rank", json={"candidates": ["a"]})
        lines = client.get("/metrics").text.splitlines()
    labels = 'protocol="recserve",model="rank",version="7",signature="rank",code="200"'
    assert f"recserve_requests_total{{{labels}}} 3" in lines
    assert f"recserve_candidates_total{{{labels}}} 6" in lines
    assert 'recserve_requests_total{protocol="recserve",model="",version="",signature="",code="404"} 1' in lines
    for stage in ("receive", "queue", "parse", "run", "encode", "rank/features"):
        count = f'recserve_stage_duration_seconds_count{{model="rank",version="7",stage="{stage}"}} 3'
        assert count in lines
    assert 'recserve_model_version_state{model="rank",version="7",state="AVAILABLE"} 1' in lines


def test_a_slow_request_is_logged_with_its_stages(serve: Any, make_ranker: Any, caplog: Any) -> None:
    operations = Operations(access_log=AccessLogOptions(slow_ms=0))
    with (
        caplog.at_level("INFO", "recserve.access"),
        serve({"models/rank/7": make_ranker()}, operations=operations) as s,
        s.client() as client,
    ):
        client.post(RANK, json={"candidates": ["a"]}, headers={"X-Request-ID": "slow one"})
    record = next(record for record in caplog.records if record.request_id == "slow one")
    assert record.getMessage() == "slow request"
    fields = record.recserve_fields
    assert (fields["model"], fields["version"], fields["code"]) == ("rank", 7, "200")
    assert {"parse", "run", "encode"} <= fields["stages_ms"].keys()


def test_a_caller_that_leaves_is_counted(server: Any) -> None:
    head = b"POST /v1/models/rank:rank HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.sendall(head)
    with server.client() as client:
        for _ in range(200):
            if 'code="499"} 1' in (text := client.get("/metrics").text):
                break
    assert 'recserve_requests_total{protocol="recserve",model="",version="",signature="",code="499"} 1' in text


def test_a_failing_application_is_counted_as_such(serving_of: Any, make_ranker: Any, call_app: Any) -> None:
    metrics = RequestMetrics()

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    app = gate(broken, serving_of(make_ranker(), oversight=Oversight(metrics=metrics)), "tfs")
    with pytest.raises(ZeroDivisionError):
        call_app(app, "GET", "/v1/models/x")
    assert 'code="500"} 1' in metrics.text()


@pytest.mark.parametrize(("dialect", "fields"), [("mlflow", {"error_code", "message"}), ("oip", {"error"})])
def test_a_refusal_has_the_form_of_the_dialect(
    serving_of: Any, call_app: Any, dialect: str, fields: set[str], tmp_path: Path
) -> None:
    file = tmp_path / "access.json"
    file.write_text('{"rules": [{"tokens": []}]}')
    oversight = Oversight(Operations(access_file=str(file)), protocols=list(DIALECTS))

    async def never(*_: Any) -> None:
        raise AssertionError

    reply = call_app(gate(never, serving_of(oversight=oversight), dialect), "POST", "/invocations", b"{}")
    oversight.close()
    assert (reply.status, reply.json().keys()) == (401, fields)


def test_the_path_of_the_metrics_may_be_chosen(serve: Any, make_ranker: Any) -> None:
    operations = Operations(metrics_path="/m")
    with serve({"models/rank/7": make_ranker()}, operations=operations) as server, server.client() as client:
        assert "recserve_ready" in client.get("/m").text
        assert "recserve_ready" in client.get("/monitoring/prometheus/metrics").text
