"""What a request asks for, as far as its path tells: the kind of call, and the model it names.

Models that only the body or a header names are checked when they are leased, see `observation.check_model`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

Kind = Literal["infer", "read", "admin", "health", "metrics"]
"""`infer`: calls of models. `read`: metadata, states, statistics, documents. `admin`: what changes the server."""

KINDS: Final[tuple[Kind, ...]] = ("infer", "read", "admin", "health", "metrics")

_HEALTH: Final = re.compile(r"/(livez|readyz|healthz|ping|health|v2/health/(live|ready))/?")
_METRICS: Final = re.compile(r"/(metrics|monitoring/.*)")
_ADMIN: Final = re.compile(
    r"(?i)/(admin|rollouts|versions|v1/users|v2/repository/(?!index)|v2/trace|v2/logging)(/.*|:.*|)|/v2/repository/models/.*"
)
_MODEL: Final = re.compile(r"(?i)/(?:v1/models|v2/models|v2/repository/models|models)/([^/:]+)")
_READING_POSTS: Final = re.compile(r"/v2/repository/index/?")
_GRPC_HEALTH: Final = "/grpc.health.v1.Health/"
_GRPC_METHODS: Final[dict[str, Kind]] = {
    "HandleReloadConfigRequest": "admin",
    "RepositoryModelLoad": "admin",
    "RepositoryModelUnload": "admin",
    "TraceSetting": "admin",
    "LogSettings": "admin",
    "Predict": "infer",
    "Classify": "infer",
    "Regress": "infer",
    "MultiInference": "infer",
    "ModelInfer": "infer",
    "ModelStreamInfer": "infer",
    "Rank": "infer",
    "ServerLive": "health",
    "ServerReady": "health",
    "ModelReady": "health",
}
_NAMING_METHODS: Final = (
    "GetModelMetadata",
    "GetModelStatus",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "ModelReady",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
"""Whose messages name a model, beside those that infer."""


class Target(NamedTuple):
    """What a request asks for.

    Attributes:
        kind: of the call.
        model: that the path names; empty where it names none.
        names_later: whether a body or header, or the port, names the model.
    """

    kind: Kind
    model: str = ""
    names_later: bool = False


@lru_cache(maxsize=1024)
def http_target(method: str, path: str) -> Target:
    """The target of an HTTP request.

    Args:
        method: in capitals.
        path: without the query, percent-encoded or not.
    """
    path = unquote(path)
    if _HEALTH.fullmatch(path):
        return Target("health")
    if _METRICS.fullmatch(path):
        return Target("metrics")
    match = _MODEL.match(path)
    model = "" if match is None else match[1]
    if _ADMIN.fullmatch(path) or _changes_models(method, path):
        return Target("admin", model)
    is_reading = method in ("GET", "HEAD", "OPTIONS") or _READING_POSTS.fullmatch(path)
    return Target("read", model) if is_reading else Target("infer", model, not model)


@lru_cache(maxsize=1024)
def grpc_target(method: str) -> Target:
    """The target of a gRPC call, by the path of its method; what is not known is `read`."""
    if method.startswith(_GRPC_HEALTH):
        return Target("health")
    name = method.rpartition("/")[2]
    kind = _GRPC_METHODS.get(name, "read")
    return Target(kind, names_later=kind == "infer" or name in _NAMING_METHODS)


def _changes_models(method: str, path: str) -> bool:
    """SageMaker's multi-model routes: POST /models, DELETE /models/{name}; and any other DELETE or PUT."""
    return method in ("DELETE", "PUT", "PATCH") or (method == "POST" and path.rstrip("/") == "/models")
