"""Tokens on a gRPC port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recserve.serving.dialects import Port
from recserve.serving.oversight import Operations
from recserve.wire.pool import methods_of
from recserve.wire.ranking import SERVICE, RankRequest

TOKEN = "reader-0123456789abcdef"
HEADER = (("authorization", f"Bearer {TOKEN}"),)


@pytest.fixture
def guarded(tmp_path: Path, serve: Any, make_ranker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("READER", TOKEN)
    file = tmp_path / "access.json"
    rules = [
        {"protocols": ["grpc"], "models": ["rank"], "tokens": ["reader"]},
        {"kinds": ["health"], "tokens": ["reader"]},
    ]
    file.write_text(json.dumps({"tokens": {"reader": {"env": "READER"}}, "rules": rules}))
    rankers = {"models/rank/7": make_ranker(), "models/other/1": make_ranker("other", 1)}
    options = {"ports": [Port("grpc", 0)], "operations": Operations(access_file=str(file))}
    with serve(rankers, **options) as server, grpc.insecure_channel(server.process.addresses["grpc"]) as channel:
        yield channel


def rank(channel: Any, model: str, metadata: Any = ()) -> Any:
    method = methods_of(SERVICE)["Rank"]
    call = channel.unary_unary(
        method.path, request_serializer=RankRequest.SerializeToString, response_deserializer=method.response.FromString
    )
    request = RankRequest(model=model)
    return call(request, metadata=metadata, timeout=10)


def code_of(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()  # type: ignore[attr-defined]


def test_calls_need_the_token_that_their_model_asks_for(guarded: Any) -> None:
    assert code_of(lambda: rank(guarded, "rank")) == grpc.StatusCode.UNAUTHENTICATED
    assert code_of(lambda: rank(guarded, "other", HEADER)) == grpc.StatusCode.PERMISSION_DENIED
    wrong = (("authorization", "Bearer what"),)
    assert code_of(lambda: rank(guarded, "rank", wrong)) == grpc.StatusCode.UNAUTHENTICATED
    # It may pass: what is wrong now is the request.
    assert code_of(lambda: rank(guarded, "rank", HEADER)) == grpc.StatusCode.INVALID_ARGUMENT


def test_health_is_guarded_too(guarded: Any) -> None:
    stub = health_pb2_grpc.HealthStub(guarded)
    request = health_pb2.HealthCheckRequest()
    assert code_of(lambda: stub.Check(request, timeout=10)) == grpc.StatusCode.UNAUTHENTICATED
    assert stub.Check(request, metadata=HEADER, timeout=10).status == health_pb2.HealthCheckResponse.SERVING
    assert code_of(lambda: next(stub.Watch(request, timeout=10))) == grpc.StatusCode.UNAUTHENTICATED
    states = stub.Watch(request, metadata=HEADER, timeout=10)
    assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    states.cancel()
