from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.traffic.admin import build_admin


@pytest.fixture
def app(stage: Any, serving_of: Any) -> Any:
    serving = serving_of(rollouts=stage.rollouts)
    object.__setattr__(serving, "registry", stage.registry)
    return build_admin(serving)


def test_a_rollout_is_set_moved_and_ended(app: Any, stage: Any, call_app: Any) -> None:
    got = call_app(app, "PUT", "/rollouts/m", {"stable": 1, "canary": 2, "canary_bp": 10_000})
    assert (got.status, got.json()["rollout"]["canary"]) == (200, 2)
    assert stage.ask() == [2]
    assert call_app(app, "GET", "/rollouts").json()["m"]["seen"]["2"]["calls"] == 1
    assert call_app(app, "POST", "/rollouts/m/roll_back").json()["rollout"]["canary"] is None
    assert stage.ask() == [1]
    got = call_app(app, "POST", "/rollouts/m/promote")
    assert (got.status, got.json()["error"]["message"]) == (409, "there is no canary to promote")
    assert call_app(app, "DELETE", "/rollouts/m").status == 200
    assert call_app(app, "GET", "/rollouts/m").status == 404


def test_versions_are_listed(app: Any, call_app: Any) -> None:
    rows = call_app(app, "GET", "/versions").json()["versions"]
    assert rows[0] == {"name": "m", "version": 1, "state": "ready", "error": None}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("PUT", "/rollouts/m", b"{", 400, "the body is no JSON"),
        ("PUT", "/rollouts/m", b" " * ((1 << 20) + 1), 400, "the body is too long"),
        ("PUT", "/rollouts/m", {"stable": "x"}, 400, "stable: Input should be a valid integer"),
        ("PUT", "/rollouts/m", {"stable": 9}, 409, "version 9 of model 'm' is not served"),
        ("POST", "/rollouts/m/promote", b"", 404, "no rollout of model 'm'"),
    ],
)
def test_wrong_calls_are_told(  # noqa: PLR0917 - a row of the table
    method: str, path: str, body: Any, status: int, message: str, app: Any, call_app: Any
) -> None:
    got = call_app(app, method, path, body)
    assert got.status == status
    assert got.json()["error"]["message"].startswith(message)


def test_unknown_routes_are_404(app: Any, call_app: Any) -> None:
    assert call_app(app, "POST", "/rollouts/m/dance").status == 404
    assert call_app(app, "GET", "/").status == 404


def test_a_process_without_rollouts_has_no_admin_port(serving_of: Any) -> None:
    with pytest.raises(ConfigError, match="--dialect admin: this process has no rollouts"):
        build_admin(serving_of())
