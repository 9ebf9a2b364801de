from __future__ import annotations

from typing import Any

import pytest

from recserve.serving.kserve_v1 import build_kserve_v1


@pytest.mark.parametrize(
    ("line", "status", "answer"),
    [
        ("GET /", 200, {"status": "alive"}),
        ("GET /v1/models", 200, {"models": ["half_plus_three"]}),
        ("GET /v1/models/half_plus_three", 200, {"name": "half_plus_three", "ready": True}),
        ("GET /v1/models/none", 404, {"error": "Model with name none does not exist."}),
        ("GET /readyz", 200, {"status": "ready"}),
        ("GET /v3", 404, {"error": "There is no GET /v3"}),
        ("PUT /v1/models/half_plus_three", 404, {"error": "There is no PUT /v1/models/half_plus_three"}),
        ("POST /v1/models/half_plus_three:explain", 501, {"error": "This server explains no predictions"}),
    ],
)
def test_pages_have_kserves_form(make_serving: Any, call_app: Any, line: str, status: int, answer: Any) -> None:
    reply = call_app(build_kserve_v1(make_serving("half_plus_three")), *line.split())
    assert (reply.status, reply.json()) == (status, answer)


def test_instances_are_predicted(make_serving: Any, call_app: Any) -> None:
    app = build_kserve_v1(make_serving("half_plus_three"))
    reply = call_app(app, "POST", "/v1/models/half_plus_three:predict", {"instances": [1.0, 2.0]})
    assert (reply.status, reply.json()) == (200, {"predictions": [3.5, 4.0]})
    assert call_app(app, "POST", "/v1/models/none:predict", {"instances": [1.0]}).status == 404


def test_an_unloaded_model_is_known_and_not_ready(make_serving: Any, call_app: Any) -> None:
    serving = make_serving("half_plus_three")
    serving.repository.unload("half_plus_three")
    reply = call_app(build_kserve_v1(serving), "GET", "/v1/models/half_plus_three")
    assert (reply.status, reply.json()) == (503, {"name": "half_plus_three", "ready": False})
