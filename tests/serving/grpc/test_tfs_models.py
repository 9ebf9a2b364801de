"""ModelService over a real socket."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from recserve.errors import BundleError, ConfigError
from recserve.serving.grpc.failures import RefusedError
from recserve.serving.grpc.tfs_models import ModelService, check_config
from recserve.serving.overload.turn import Turn
from recserve.wire.tensorflow_serving import (
    MODEL_SERVICE,
    GetModelStatusRequest,
    ModelServerConfig,
    ReloadConfigRequest,
)

CODE = grpc.StatusCode


def status(name: str | None, version: int | None = None, label: str = "") -> Any:
    request = GetModelStatusRequest()
    if name is not None:
        request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    return request


@pytest.mark.parametrize("label", ["", "stable", "unknown"])
def test_status_lists_versions_highest_first_whatever_the_label(served: Any, label: str) -> None:
    rows = served.call(MODEL_SERVICE, "GetModelStatus", status("half_plus_two", label=label)).model_version_status
    assert [(row.version, row.state, row.status.error_code) for row in rows] == [(124, 30, 0), (123, 30, 0)]


def test_status_of_one_version(served: Any) -> None:
    (row,) = served.call(MODEL_SERVICE, "GetModelStatus", status("half_plus_two", 123)).model_version_status
    assert row.version == 123
    assert row.HasField("status")


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (status(None), CODE.INVALID_ARGUMENT, "Missing ModelSpec"),
        (status("nope"), CODE.NOT_FOUND, "Could not find any versions of model nope"),
        (status("half_plus_two", 9), CODE.NOT_FOUND, "Could not find version 9 of model half_plus_two"),
    ],
)
def test_mistakes_of_status(served: Any, request_: Any, code: Any, text: str) -> None:
    error = served.fails(MODEL_SERVICE, "GetModelStatus", request_)
    assert (error.code(), error.details()) == (code, text)


def test_a_version_that_could_not_be_loaded_tells_why(serving_of: Any) -> None:
    serving = serving_of([])
    serving.registry.fail("m", 3, BundleError("it is damaged"))
    (row,) = ModelService(serving).status(status("m"), Turn()).model_version_status
    assert (row.version, row.state) == (3, 50)
    assert row.status.error_code == 13
    assert row.status.error_message == "it is damaged"


def config(*models: dict[str, Any]) -> Any:
    request = ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    for model in models:
        request.config.model_config_list.config.add(**{"base_path": "/m", "model_platform": "tensorflow", **model})
    return request


def test_a_config_goes_to_who_takes_it(serving_of: Any) -> None:
    taken: list[Any] = []
    request = config({"name": "a"}, {"name": "b", "base_path": "s3://x/b", "version_labels": {"stable": 3}})
    request.metric_names.append("/some/metric")
    answer = ModelService(serving_of([]), taken.append).reload(request, Turn())
    assert answer.status.error_code == 0
    assert [(metric.name, metric.int64_value_increase) for metric in answer.metric] == [("/some/metric", 0)]
    assert [model.name for model in taken[0].config] == ["a", "b"]
    assert taken[0].config[1].version_labels["stable"] == 3


def test_a_config_that_cannot_be_served_is_a_failed_precondition(serving_of: Any) -> None:
    def take(_: Any) -> None:
        raise ConfigError("there is no version", where="/m")

    with pytest.raises(RefusedError, match="/m: there is no version") as caught:
        ModelService(serving_of([]), take).reload(config({"name": "a"}), Turn())
    assert caught.value.status == CODE.FAILED_PRECONDITION


def test_fixed_models_are_said_to_be_fixed(served: Any) -> None:
    error = served.fails(MODEL_SERVICE, "HandleReloadConfigRequest", config({"name": "a"}))
    assert (error.code(), error.details()) == (CODE.UNIMPLEMENTED, "The models of this server are fixed at its start.")


def custom() -> Any:
    made = ModelServerConfig()
    made.custom_model_config.type_url = "x"
    return made


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (ModelServerConfig(), "Only ModelConfigList is currently supported"),
        (custom(), "Only ModelConfigList is currently supported"),
        (config({"name": "a"}, {"name": "a"}).config, "Illegal to list model a multiple times in config list"),
        (config({"base_path": "/x"}).config, "A model has no name in the config list; its base_path is '/x'"),
        (
            config({"name": "a", "base_path": "m/a"}).config,
            "Expected model a to have an absolute path or URI; got base_path()=m/a",
        ),
        (config({"name": "a", "base_path": ""}).config, "to have an absolute path or URI; got base_path()="),
        (config({"name": "a", "model_platform": ""}).config, "Illegal setting neither ModelServerConfig::model_type"),
        (config({"name": "a", "model_type": 1}).config, "Illegal setting both ModelServerConfig::model_type"),
        (
            config({"name": "a", "model_type": 2, "model_platform": ""}).config,
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (config({"name": "a", "model_platform": "pmml9"}).config, "Model a requests unsupported platform pmml9"),
    ],
)
def test_wrong_configs_are_refused(made: Any, text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_config(made)
    assert text in str(caught.value)


def test_the_deprecated_type_is_taken() -> None:
    check_config(config({"name": "a", "model_type": 1, "model_platform": ""}).config)
