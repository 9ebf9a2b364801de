from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recserve.serving.sagemaker.multi_model import build_sagemaker_mme

Ask = Callable[..., Any]
TWO = {"model_name": "m1", "url": "/opt/ml/models/half_plus_two"}
JSON = {"Content-Type": "application/json"}
BODY = b'{"instances": [1.0, 2.0, 5.0]}'


@pytest.fixture
def root(tmp_path: Path, dialect_models: Any) -> Path:
    dialect_models.build_multi_model_directory(tmp_path / "models")
    return tmp_path


@pytest.fixture
def serving(make_serving: Any, root: Path) -> Any:
    return make_serving(environment={"RECSERVE_OPT_ML": str(root)})


@pytest.fixture
def ask(serving: Any, call_app: Ask) -> Ask:
    app = build_sagemaker_mme(serving)
    return lambda *arguments, **options: call_app(app, *arguments, **options)


def test_the_life_of_a_model(ask: Ask) -> None:
    assert ask("GET", "/ping").body == b""
    assert ask("GET", "/models").json() == {"models": []}
    assert ask("POST", "/models/m1/invoke", BODY, headers=JSON).status == 404
    assert ask("POST", "/models", TWO).status == 200
    reply = ask("POST", "/models", TWO)
    assert (reply.status, reply.json()) == (409, {"error": "Model m1 is already loaded."})
    shown = {"modelName": "m1", "modelUrl": TWO["url"]}
    assert ask("GET", "/models").json() == {"models": [shown]}
    assert ask("GET", "/models/m1").json() == shown
    assert ask("POST", "/models/m1/invoke", BODY, headers=JSON).json() == {"predictions": [2.5, 3.0, 4.5]}
    named = {**JSON, "X-Amzn-SageMaker-Target-Model": "m1"}
    assert ask("POST", "/invocations", BODY, headers=named).json() == {"predictions": [2.5, 3.0, 4.5]}
    assert ask("DELETE", "/models/m1").status == 200
    reply = ask("DELETE", "/models/m1")
    assert (reply.status, reply.json()) == (404, {"error": "Model m1 is not loaded yet."})
    assert ask("GET", "/models/m1").status == 404
    assert ask("POST", "/models", TWO).status == 200


def test_every_version_is_served(ask: Ask) -> None:
    ask("POST", "/models", {"model_name": "h", "url": "/opt/ml/models/half_plus_three"})
    for version in (123, 124):
        headers = {**JSON, "X-Amzn-SageMaker-Custom-Attributes": f"tfs-model-version={version}"}
        reply = ask("POST", "/models/h/invoke", BODY, headers=headers)
        assert (reply.status, reply.json()["predictions"][0]) == (200, 3.5)
        assert reply.headers["x-amzn-sagemaker-custom-attributes"] == f"tfs-model-version={version}"


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"model_name": "x", "url": "/opt/ml/models/none"}, 404, "Could not find valid base path /opt/ml/models/none"),
        ({"model_name": "x", "url": "/opt/ml/models/invalid_version"}, 404, "Could not find valid base path"),
        ({"model_name": "x", "url": "/proc/self"}, 400, "'url' cannot start with /dev/, /proc/, or /sys/"),
        ({"model_name": "x", "url": "/opt/ml/../../dev/fd"}, 400, "'url' cannot start with"),
        ({"model_name": "x", "url": "/etc"}, 400, "'url' names a directory below /opt/ml/models"),
        ({"model_name": "x", "url": "models/half_plus_two"}, 400, "'url' names a directory below"),
        ({"model_name": "x", "uri": "/opt/ml/models/none"}, 400, "the body is not {'model_name': ..., 'url': ...}"),
        ({"model_name": 7, "url": "/x"}, 400, "the body is not"),
        ([], 400, "the body is not"),
        (b"{bad", 400, "failed to parse the request JSON buffer"),
    ],
)
def test_what_cannot_be_loaded_is_told(ask: Ask, body: object, status: int, problem: str) -> None:
    reply = ask("POST", "/models", body)
    assert reply.status == status
    assert problem in reply.json()["error"]
    assert ask("GET", "/models").json() == {"models": []}


def test_a_model_is_loaded_whole_or_not_at_all(ask: Ask, serving: Any, root: Path) -> None:
    broken = root / "models" / "half_plus_three" / "00000125"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no graph")
    reply = ask("POST", "/models", {"model_name": "h", "url": "/opt/ml/models/half_plus_three"})
    assert (reply.status, "model h cannot be loaded" in reply.json()["error"]) == (400, True)
    assert serving.registry.names() == []
    assert ask("GET", "/models/h").status == 404


def test_no_memory_gets_507(ask: Ask, serving: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    serving.repository.open_model = fail
    reply = ask("POST", "/models", TWO)
    assert reply.status == 507
    assert "Memory exhausted: not enough memory to load model m1" in reply.json()["error"]


def test_the_list_has_pages(ask: Ask) -> None:
    for name in "abc":
        assert ask("POST", "/models", {**TWO, "model_name": name}).status == 200
    first = ask("GET", "/models?limit=2").json()
    assert ([model["modelName"] for model in first["models"]], first["nextPageToken"]) == (["a", "b"], "2")
    rest = ask("GET", "/models?limit=2&next_page_token=2").json()
    assert ([model["modelName"] for model in rest["models"]], "nextPageToken" in rest) == (["c"], False)
    assert ask("GET", "/models?limit=x").status == 400


def test_of_two_loads_at_once_one_wins(ask: Ask) -> None:
    replies: list[int] = []
    threads = [threading.Thread(target=lambda: replies.append(ask("POST", "/models", TWO).status)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies) == [200, 409, 409, 409]


def test_other_routes_are_refused(ask: Ask) -> None:
    assert ask("POST", "/invocations", BODY).json() == {"error": "Invocation request does not contain model name."}
    assert ask("GET", "/nope").status == 404
    for method, path in (("PUT", "/models"), ("POST", "/models/m1"), ("POST", "/ping"), ("GET", "/invocations")):
        reply = ask(method, path)
        assert (reply.status, bool(reply.headers["allow"])) == (405, True)
    ask("POST", "/models", TWO)
    assert ask("POST", "/models/m1/invoke", b"x", headers={"Content-Type": "image/png"}).status == 415


@pytest.fixture
def pair(make_serving: Any, make_crews: Any, root: Path) -> tuple[Any, ...]:
    """Two workers."""
    environment = {"RECSERVE_OPT_ML": str(root)}
    return tuple(replace(make_serving(environment=environment), crew=crew) for crew in make_crews(2))


@pytest.mark.parametrize(("problem", "status"), [(MemoryError(), 507), (OSError("no disk"), 500)])
def test_a_model_that_another_worker_cannot_load_is_loaded_nowhere(
    problem: Exception, status: int, pair: tuple[Any, Any], call_app: Ask
) -> None:
    here, there = pair
    apps = [build_sagemaker_mme(serving) for serving in (here, there)]
    there.repository.open_model = fails_with(problem)
    assert call_app(apps[0], "POST", "/models", TWO).status == status
    for app in apps:
        assert call_app(app, "GET", "/models").json() == {"models": []}
    assert here.registry.names() == []


def fails_with(problem: Exception) -> Callable[..., Any]:
    def open_model(*_: object) -> Any:
        raise problem

    return open_model
