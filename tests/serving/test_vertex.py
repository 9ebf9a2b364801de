from __future__ import annotations

from typing import Any

import pytest

from recserve.serving.vertex import build_vertex

ROUTES = {"AIP_HEALTH_ROUTE": "/h", "AIP_PREDICT_ROUTE": "/p"}
BODY = {"instances": [1.0], "parameters": {"a": 1}}


@pytest.mark.parametrize(("environment", "health", "predict"), [(ROUTES, "/h", "/p"), ({}, "/health", "/predict")])
def test_routes_come_from_the_environment(
    make_serving: Any, call_app: Any, environment: dict[str, str], health: str, predict: str
) -> None:
    app = build_vertex(make_serving("half_plus_three", environment=environment))
    assert call_app(app, "GET", health).json() == {"ready": True}
    reply = call_app(app, "POST", predict, BODY)
    assert (reply.status, reply.json()) == (200, {"predictions": [3.5]})


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("GET /predict", 405, "GET is not for /predict"),
        ("POST /health", 405, "POST is not for /health"),
        ("POST /v1/models/half_plus_three:predict", 404, "There is no /v1/models/half_plus_three:predict"),
        ("POST /predict", 400, "JSON Parse error: The document is empty"),
    ],
)
def test_other_requests_are_refused(make_serving: Any, call_app: Any, line: str, status: int, message: str) -> None:
    reply = call_app(build_vertex(make_serving("half_plus_three")), *line.split())
    assert (reply.status, reply.json()["error"]) == (status, message)


def test_without_a_model_it_is_not_ready_and_cannot_answer(make_serving: Any, call_app: Any) -> None:
    app = build_vertex(make_serving())
    assert call_app(app, "GET", "/health").status == 503
    reply = call_app(app, "POST", "/predict", BODY)
    assert (reply.status, "it is not known which model answers" in reply.json()["error"]) == (400, True)
