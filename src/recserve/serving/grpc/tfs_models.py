"""TensorFlow Serving's ModelService: states of versions, and a new configuration."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from grpc import StatusCode

from recserve.errors import ConfigError, RecserveError
from recserve.serving.dialects import Serving
from recserve.serving.grpc.endpoints import Endpoint
from recserve.serving.grpc.failures import RefusedError, own_words
from recserve.serving.grpc.tfs_specs import spec_of, tfs_words
from recserve.serving.overload.turn import Turn
from recserve.serving.registry import ModelState
from recserve.wire.pool import Message, methods_of
from recserve.wire.tensorflow_serving import (
    ERROR_CODES,
    MODEL_SERVICE,
    VERSION_STATES,
    GetModelStatusResponse,
    ReloadConfigResponse,
)

ReloadConfig = Callable[[Message], None]
"""Makes a `tensorflow.serving.ModelConfigList`, which has been checked, the configuration of the process. Raises
ConfigError where a model cannot be served; what was served goes on being served then."""

PLATFORMS: Final = ("tensorflow", "onnx", "recserve")
"""Values of `model_platform`. Clients send `tensorflow`; what a directory holds decides how it is opened."""

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TENSORFLOW: Final = 1  # ModelType.TENSORFLOW


class ModelService:
    """Answers of the ModelService. Threads may share it.

    Args:
        serving: what every dialect shares.
        reload_config: what takes a new configuration; None where the models are fixed at start.
    """

    def __init__(self, serving: Serving, reload_config: ReloadConfig | None = None) -> None:
        self._serving = serving
        self._reload_config = reload_config

    def endpoints(self) -> list[Endpoint]:
        """The methods of the service."""
        methods = methods_of(MODEL_SERVICE)
        return [
            Endpoint(methods["GetModelStatus"], self.status, tfs_words, runs_on="event loop"),
            Endpoint(methods["HandleReloadConfigRequest"], self.reload, tfs_words, runs_on="own thread"),
        ]

    def status(self, request: Message, turn: Turn) -> Message:  # noqa: ARG002 - an Answer
        """The states of all versions of a model, or of one. A label says nothing, as in TensorFlow Serving.

        Raises:
            RefusedError: no model spec, or no such model or version.
        """
        spec = spec_of(request)
        states = self._serving.registry.states(spec.name)
        if spec.WhichOneof("version_choice") == "version":
            version = spec.version.value
            states = [state for state in states if state.version == version]
            problem = f"Could not find version {version} of model {spec.name}"
        else:
            problem = f"Could not find any versions of model {spec.name}"
        if not states:
            raise RefusedError(problem, StatusCode.NOT_FOUND)
        response = GetModelStatusResponse()
        for state in reversed(states):  # highest version first
            _write_state(state, response.model_version_status.add())
        return response

    def reload(self, request: Message, turn: Turn) -> Message:  # noqa: ARG002 - an Answer
        """Make another configuration the whole of what is served.

        Raises:
            RefusedError: the configuration is wrong, or the models of this process are fixed.
        """
        check_config(request.config)
        if self._reload_config is None:
            raise RefusedError("The models of this server are fixed at its start.", StatusCode.UNIMPLEMENTED)
        try:
            self._reload_config(request.config.model_config_list)
        except ConfigError as error:
            raise RefusedError(str(error), StatusCode.FAILED_PRECONDITION) from error
        response = ReloadConfigResponse()
        response.status.error_code = ERROR_CODES["OK"]
        for name in request.metric_names:
            response.metric.add(name=name, int64_value_increase=0)
        return response


def check_config(config: Message) -> None:
    """Refuse a model server configuration that TensorFlow Serving refuses.

    Args:
        config: a `tensorflow.serving.ModelServerConfig`.

    Raises:
        RefusedError: no model list, a model named twice or not at all, a relative path, or an unknown platform.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise RefusedError(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    seen: set[str] = set()
    for model in config.model_config_list.config:
        if not model.name:
            raise RefusedError(f"A model has no name in the config list; its base_path is {model.base_path!r}")
        if model.name in seen:
            raise RefusedError(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in config.model_config_list.config:
        if not (model.base_path.startswith("/") or _URI.match(model.base_path)):
            raise RefusedError(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
        _check_platform(model)


def _check_platform(model: Message) -> None:
    platform = model.model_platform
    if model.model_type:
        if platform:
            raise RefusedError(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != _TENSORFLOW:
            raise RefusedError(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        return
    if not platform:
        raise RefusedError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    if platform not in PLATFORMS:
        raise RefusedError(f"Model {model.name} requests unsupported platform {platform}")


def _write_state(state: ModelState, into: Message) -> None:
    into.version = state.version
    into.state = VERSION_STATES[state.state]
    into.status.SetInParent()
    if state.error is not None:
        into.status.error_code = _code(state.error)
        into.status.error_message = str(state.error)


def _code(error: RecserveError) -> int:
    return ERROR_CODES[own_words(error)[0].name]
