from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import NotFoundError, RequestError
from recserve.serving.dialects import Serving
from recserve.serving.oip.repository import index_models, load_model, unload_model
from recserve.serving.refusals import UnsupportedError


@pytest.fixture
def serving(make_serving: Any) -> Serving:
    return make_serving("simple", "identity_fp32")


def row(name: str, state: str, reason: str = "") -> dict[str, str]:
    return {"name": name, "version": "1", "state": state, "reason": reason}


def index(serving: Serving, body: bytes = b"") -> list[dict[str, str]]:
    return index_models(serving.registry, serving.repository, body)


def test_the_index_tells_what_is_ready_and_what_is_not(serving: Serving) -> None:
    assert index(serving) == [row("identity_fp32", "READY"), row("simple", "READY")]
    unload_model(serving.registry, serving.repository, "simple", b"{}")
    assert index(serving) == [row("identity_fp32", "READY"), row("simple", "UNAVAILABLE", "unloaded")]
    assert index(serving, b'{"ready": true}') == [row("identity_fp32", "READY")]
    load_model(serving.repository, "simple", b"")
    assert row("simple", "READY") in index(serving)


def test_models_that_were_never_loaded_are_bare_names(serving: Serving, dialect_base: Path) -> None:
    serving.repository.know(dialect_base / "identity_bytes" / "1")
    assert {"name": "identity_bytes"} in index(serving)
    assert {"name": "identity_bytes"} not in index(serving, b'{"ready": true}')
    load_model(serving.repository, "identity_bytes", b"")
    assert row("identity_bytes", "READY") in index(serving)


def test_loading_a_loaded_model_loads_it_anew(serving: Serving) -> None:
    with serving.registry.lease("simple") as before:
        load_model(serving.repository, "simple", b"{}")
        with serving.registry.lease("simple") as after:
            assert after is not before


def test_a_version_that_cannot_be_opened_leaves_the_other_serving(
    serving: Serving, dialect_models: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "half" / "2"
    dialect_models.write_half_plus(tmp_path / "half" / "1", 2.0)
    serving.repository.load_version(tmp_path / "half" / "1")
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(RequestError, match="load failed for model 'half': "):
        load_model(serving.repository, "half", b"")
    with serving.registry.lease("half") as model:
        assert model.version == 1
    states = {row["version"]: row["state"] for row in index(serving) if row["name"] == "half"}
    assert states == {"1": "READY", "2": "UNAVAILABLE"}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"ready": 1}, "Invalid value for 'ready': expected a boolean"),
        ([], "attempt to access JSON non-object as object"),
    ],
)
def test_an_index_request_is_held_to_its_form(serving: Serving, body: object, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        index(serving, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("parameters", "kind", "problem"),
    [
        ({"config": "{}"}, UnsupportedError, "loading model 'simple' with 'config' is not supported"),
        ({"file:1/m": "QQ=="}, UnsupportedError, "loading model 'simple' with 'file:1/m' is not supported"),
        ({"config": 7}, RequestError, "Unable to parse 'config'"),
        ({"x": "y"}, RequestError, "unexpected parameter 'x' for loading model 'simple'"),
        ([], RequestError, "Unable to parse 'parameters'"),
    ],
)
def test_loading_takes_no_parameters(serving: Serving, parameters: object, kind: type, problem: str) -> None:
    with pytest.raises(kind, match=problem):
        load_model(serving.repository, "simple", json.dumps({"parameters": parameters}).encode())


def test_models_that_nobody_knows_are_told(serving: Serving) -> None:
    with pytest.raises(NotFoundError, match="failed to load 'nope', failed to poll from model repository"):
        load_model(serving.repository, "nope", b"")
    with pytest.raises(NotFoundError, match="failed to unload 'nope', it is not in the model repository"):
        unload_model(serving.registry, serving.repository, "nope", b"")


def test_unloading_twice_is_no_error(serving: Serving) -> None:
    for _ in range(2):
        unload_model(serving.registry, serving.repository, "simple", b'{"parameters": {"unload_dependents": true}}')
    with pytest.raises(RequestError, match="Unable to parse 'unload_dependents'"):
        unload_model(serving.registry, serving.repository, "simple", b'{"parameters": {"unload_dependents": 1}}')
