"""What a port answers, as an OpenAPI 3.1 document.

The routes are a table by dialect. Tensors and columns are free-form JSON here: their names and types depend on the
model, whose metadata route tells them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final, NamedTuple

from recserve.serving.openapi_schemas import SCHEMAS

OPENAPI: Final = "3.1.0"


class Route(NamedTuple):
    """One operation.

    Attributes:
        method: in small letters.
        path: with {parameters}.
        summary: one line.
        request: name of a schema, or of a content type, or empty for no body.
        answer: the same for status 200.
    """

    method: str
    path: str
    summary: str
    request: str = ""
    answer: str = "Object"


_COMMON: Final = (
    Route("get", "/livez", "Whether the process lives"),
    Route("get", "/readyz", "Whether it takes requests: 200 or 503"),
    Route("get", "/metrics", "Metrics for Prometheus", answer="text/plain"),
    Route("get", "/openapi.json", "This document"),
)
_M: Final = "/v1/models/{model}"
_V: Final = f"{_M}/versions/{{version}}"
_L: Final = f"{_M}/labels/{{label}}"
_RANK: Final = (
    Route("post", f"{_M}:rank", "Rank candidates by the highest version", "RankRequest", "RankAnswer"),
    Route("post", f"{_V}:rank", "Rank candidates by one version", "RankRequest", "RankAnswer"),
    Route("post", "/v1/models:rank", "Rank candidates by several models", "MultiRankRequest", "MultiRankAnswer"),
    Route("put", "/v1/users/{user}", "Keep the columns of a user, for requests by id", "Object"),
    Route("get", "/v1/users/{user}", "The columns kept of a user"),
    Route("delete", "/v1/users/{user}", "Forget a user"),
    Route("post", "/v1/users:upsert", "Keep the columns of many users", "UsersRequest"),
)
_TFS: Final = (
    *(
        Route("post", f"{place}:{verb}", f"{verb.capitalize()} by {which}", f"{verb.capitalize()}Request")
        for verb in ("predict", "classify", "regress")
        for place, which in ((_M, "the highest version"), (_V, "one version"), (_L, "the version of a label"))
    ),
    *(Route("get", place, "States of versions") for place in (_M, _V, _L)),
    *(Route("get", f"{place}/metadata", "Signatures of a model") for place in (_M, _V, _L)),
)
_HEALTH: Final = (
    Route("get", "/healthz", "Whether the process lives"),
    Route("get", "/version", "Versions of recserve and Python"),
)
_O: Final = "/v2/models/{model}"
_OV: Final = f"{_O}/versions/{{version}}"
_OIP: Final = (
    Route("get", "/v2", "Name, version and extensions of the server"),
    Route("get", "/v2/health/live", "Whether the process lives"),
    Route("get", "/v2/health/ready", "Whether it takes requests"),
    *(Route("get", place, "Inputs and outputs of a model") for place in (_O, _OV)),
    *(Route("get", f"{place}/ready", "Whether the model takes requests") for place in (_O, _OV)),
    *(Route("get", f"{place}/config", "The model's configuration, as Triton tells it") for place in (_O, _OV)),
    *(Route("get", f"{place}/stats", "Counts and times of a model's calls") for place in (_O, _OV)),
    *(Route("post", f"{place}/infer", "Infer", "InferRequest", "InferAnswer") for place in (_O, _OV)),
    Route("get", "/v2/models/stats", "Counts and times of all models' calls"),
    Route("post", "/v2/repository/index", "The known models and their states", "Object", "Array"),
    Route("post", "/v2/repository/models/{model}/load", "Load or reload a model", "Object", ""),
    Route("post", "/v2/repository/models/{model}/unload", "Unload a model", "Object", ""),
    Route("get", "/v2/logging", "Settings of the log"),
    Route("get", "/v2/trace/setting", "Settings of the traces"),
)
_PING: Final = Route("get", "/ping", "Whether it takes requests", answer="")
_EXECUTION: Final = Route("get", "/execution-parameters", "Limits of batch transform")
_INVOKE: Final = Route("post", "/invocations", "Invoke the model", "Any", "Any")
_MLFLOW: Final = (
    Route("get", "/ping", "Whether it takes requests", answer="text/plain"),
    Route("get", "/health", "Whether it takes requests", answer="text/plain"),
    Route("get", "/version", "Version of MLflow's protocol", answer="text/plain"),
    Route("post", "/invocations", "Score rows", "MlflowRequest", "Predictions"),
)

ROUTES: Final[dict[str, tuple[Route, ...]]] = {
    "recserve": (
        *_COMMON,
        *_HEALTH,
        *_RANK,
        Route("get", "/v1/models", "The served models"),
        *(route for route in _TFS if route.path != _L),
    ),
    "tfs": (*_COMMON, *_HEALTH, *_RANK, *_TFS),
    "kserve-v1": (
        *_COMMON,
        Route("get", "/v1/models", "Names of the served models"),
        Route("get", _M, "Whether a model is ready"),
        Route("post", f"{_M}:predict", "Predict", "PredictRequest", "Predictions"),
    ),
    "vertex": (
        *_COMMON,
        Route("get", "/health", "Whether it takes requests; AIP_HEALTH_ROUTE moves it"),
        Route("post", "/predict", "Predict; AIP_PREDICT_ROUTE moves it", "PredictRequest", "Predictions"),
    ),
    "h2o": (
        *_COMMON,
        Route("post", "/model/score", "Score rows", "ScoreRequest", "ScoreAnswer"),
        Route("get", "/model/id", "Id of the model", answer="text/plain"),
        Route("get", "/model/schema", "Columns of the model"),
        Route("get", "/model/sample_request", "An example of a request"),
        Route("get", "/model/capabilities", "What the server can do", answer="Array"),
    ),
    "oip": (*_COMMON, *_OIP),
    "sagemaker-tfs": (*_COMMON, _PING, _EXECUTION, _INVOKE),
    "sagemaker-triton": (*_COMMON, _PING, _EXECUTION, _INVOKE),
    "sagemaker-mme": (
        *_COMMON,
        _PING,
        Route("get", "/models", "The loaded models"),
        Route("post", "/models", "Load a model", "LoadRequest"),
        Route("get", "/models/{model}", "One loaded model"),
        Route("delete", "/models/{model}", "Unload a model", answer=""),
        Route("post", "/models/{model}/invoke", "Invoke a model", "Any", "Any"),
    ),
    "mlflow": (*_COMMON, *_MLFLOW),
    "admin": (
        *_COMMON,
        Route("get", "/versions", "The versions of the models and their states"),
        Route("get", "/rollouts", "Every rollout"),
        Route("get", "/rollouts/{model}", "The rollout of a model"),
        Route("put", "/rollouts/{model}", "Begin or change a rollout", "Object"),
        Route("delete", "/rollouts/{model}", "End a rollout"),
        Route("post", "/rollouts/{model}/promote", "Let the new version answer all calls"),
        Route("post", "/rollouts/{model}/roll_back", "Let the old version answer all calls"),
    ),
    "invocations": (*_COMMON, *_MLFLOW[:3], _EXECUTION, _INVOKE),
}
"""What each HTTP dialect answers."""


def describe_port(dialect: str) -> dict[str, Any]:
    """The OpenAPI document of a port.

    Args:
        dialect: a name of `ROUTES`.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES[dialect]:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": f"recserve: {dialect}",
            "version": version("recserve"),
            "description": "Bearer tokens are needed where the server was started with an access file.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(route: Route) -> dict[str, Any]:
    words = route.path.replace("{", "").replace("}", "").replace(":", "/").split("/")
    operation: dict[str, Any] = {
        "operationId": "_".join([route.method, *(word.replace(".", "_") for word in words if word)]),
        "summary": route.summary,
        "responses": {
            "200": {"description": "The answer", **_content(route.answer)},
            "default": {"description": "An error", **_content("Error")},
        },
    }
    names = [part.split("}")[0] for part in route.path.split("{")[1:]]
    if names:
        operation["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "integer", "minimum": 0} if name == "version" else {"type": "string"},
            }
            for name in names
        ]
    if route.request:
        operation["requestBody"] = {"required": route.request != "Object", **_content(route.request)}
    return operation


def _content(what: str) -> dict[str, Any]:
    if not what:
        return {}
    if what == "Any":
        return {"content": {"*/*": {"schema": {}}}}
    if "/" in what:
        return {"content": {what: {"schema": {"type": "string"}}}}
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{what}"}}}
    if what in ("RankRequest", "RankAnswer"):
        content["application/vnd.apache.arrow.stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {"content": content}
