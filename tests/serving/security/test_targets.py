"""What a request asks for, by its path."""

from __future__ import annotations

import pytest

from recserve.serving.security.targets import Target, grpc_target, http_target


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/livez", Target("health")),
        ("GET", "/v2/health/ready", Target("health")),
        ("GET", "/ping", Target("health")),
        ("GET", "/metrics", Target("metrics")),
        ("GET", "/monitoring/prometheus/metrics", Target("metrics")),
        ("POST", "/v1/models/rank:rank", Target("infer", "rank")),
        ("POST", "/V1/Models/rank/versions/3:PREDICT", Target("infer", "rank")),
        ("POST", "/v1/models/r%61nk:predict", Target("infer", "rank")),
        ("POST", "/v1/models:rank", Target("infer", "", True)),
        ("POST", "/invocations", Target("infer", "", True)),
        ("POST", "/models/m/invoke", Target("infer", "m")),
        ("GET", "/v1/models/rank/metadata", Target("read", "rank")),
        ("GET", "/v1/models", Target("read")),
        ("POST", "/v2/repository/index", Target("read")),
        ("POST", "/v2/repository/models/m/load", Target("admin", "m")),
        ("POST", "/models", Target("admin")),
        ("DELETE", "/models/m", Target("admin", "m")),
        ("PUT", "/v1/users/u", Target("admin")),
        ("GET", "/v1/users/u", Target("admin")),
        ("POST", "/v1/users:upsert", Target("admin")),
        ("POST", "/admin/x", Target("admin")),
        ("POST", "/v2/logging", Target("admin")),
        ("POST", "/rollouts/m/promote", Target("admin")),
        ("GET", "/versions", Target("admin")),
        ("POST", "/v2/models/m/infer", Target("infer", "m")),
    ],
)
def test_a_path_tells_the_kind_of_call_and_its_model(method: str, path: str, target: Target) -> None:
    assert http_target(method, path) == target


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("/grpc.health.v1.Health/Check", Target("health")),
        ("/tensorflow.serving.PredictionService/Predict", Target("infer", "", True)),
        ("/tensorflow.serving.ModelService/HandleReloadConfigRequest", Target("admin")),
        ("/inference.GRPCInferenceService/RepositoryModelLoad", Target("admin", "", True)),
        ("/inference.GRPCInferenceService/ModelMetadata", Target("read", "", True)),
        ("/inference.GRPCInferenceService/RepositoryIndex", Target("read")),
        ("/recserve.v1.Ranking/Rank", Target("infer", "", True)),
    ],
)
def test_a_method_tells_the_kind_of_call(method: str, target: Target) -> None:
    assert grpc_target(method) == target
