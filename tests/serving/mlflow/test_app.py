from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from typing import Any

import pytest

from recserve.serving.mlflow.app import build_mlflow

Ask = Callable[..., Any]
JSON = {"Content-Type": "application/json"}
BODY = {"inputs": {"a": [1.0], "b": [2.0]}}


@pytest.fixture
def ask(make_serving: Any, call_app: Ask) -> Ask:
    app = build_mlflow(make_serving("pyfunc_sum_ab"))
    return lambda *arguments, **options: call_app(app, *arguments, **options)


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_health_is_a_line_break(ask: Ask, make_serving: Any, call_app: Ask, path: str) -> None:
    reply = ask("GET", path)
    assert (reply.status, reply.body) == (200, b"\n")
    assert call_app(build_mlflow(make_serving()), "GET", path).status == 503


def test_the_version_is_plain_text(ask: Ask) -> None:
    assert ask("GET", "/version").body.split(b".")[0].isdigit()


def test_an_invocation_is_answered(ask: Ask) -> None:
    reply = ask("POST", "/invocations", BODY, headers=JSON)
    assert (reply.status, reply.json()) == (200, {"predictions": [3.0]})
    squeezed = gzip.compress(b'{"inputs": {"a": [1.0], "b": [2.0]}}')
    assert ask("POST", "/invocations", squeezed, headers={**JSON, "Content-Encoding": "gzip"}).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("GET", "/invocations", 405), ("POST", "/ping", 405)]
)
def test_other_routes_are_refused(ask: Ask, method: str, path: str, status: int) -> None:
    reply = ask(method, path)
    assert reply.status == status
    assert reply.json()["detail"] in ("Not Found", "Method Not Allowed")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
def test_another_type_of_body_gets_415_in_plain_text(ask: Ask, headers: dict[str, str]) -> None:
    reply = ask("POST", "/invocations", b"x", headers=headers)
    assert reply.status == 415
    assert reply.headers["content-type"].startswith("text/plain")
    assert b"This predictor only supports the following content types" in reply.body


def test_errors_have_a_code_and_a_message(ask: Ask) -> None:
    reply = ask("POST", "/invocations", b"{bad", headers=JSON)
    assert (reply.status, reply.json()["error_code"]) == (400, "BAD_REQUEST")
    assert "Ensure that input is a valid JSON formatted string" in reply.json()["message"]


def test_a_model_that_is_gone_is_no_fault_of_the_caller(make_serving: Any, call_app: Ask) -> None:
    reply = call_app(build_mlflow(make_serving(model="pyfunc_sum_ab")), "POST", "/invocations", BODY, headers=JSON)
    assert (reply.status, reply.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")


def test_a_failure_of_ours_tells_nothing_of_our_insides(ask: Ask, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("recserve.serving.mlflow.app.score", fail)
    reply = ask("POST", "/invocations", BODY, headers=JSON)
    assert (reply.status, reply.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in reply.json()["message"]


def test_a_body_beyond_the_limit_is_refused(make_serving: Any, call_app: Ask) -> None:
    app = build_mlflow(make_serving("pyfunc_sum_ab", max_body_bytes=10))
    assert call_app(app, "POST", "/invocations", b"x" * 11, headers=JSON).status == 413


def test_a_request_that_takes_too_long_gets_504(make_serving: Any, call_app: Ask, monkeypatch: Any) -> None:
    async def wait(_: object) -> None:
        import asyncio

        await asyncio.sleep(10)

    serving = make_serving("pyfunc_sum_ab", environment={"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "0.01"})
    monkeypatch.setattr(serving.threads, "run", wait)
    reply = call_app(build_mlflow(serving), "POST", "/invocations", BODY, headers=JSON)
    assert (reply.status, reply.body) == (504, b"Request processing time exceeded limit")


def test_a_timeout_that_is_no_number_is_told(make_serving: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build_mlflow(make_serving("pyfunc_sum_ab", environment={"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "soon"}))
    assert "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT is 'soon', no number of seconds; 60 s it is" in caplog.text
