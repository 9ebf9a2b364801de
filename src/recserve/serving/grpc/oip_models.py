"""The rest of the Open Inference Protocol's service: health, metadata, statistics, the repository, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from google.protobuf.json_format import ParseDict
from grpc import StatusCode

from recserve.errors import RequestError
from recserve.serving.dialects import Serving
from recserve.serving.grpc.endpoints import Endpoint
from recserve.serving.grpc.failures import RefusedError
from recserve.serving.grpc.oip_inference import oip_words, version_of
from recserve.serving.inference import tensor_model
from recserve.serving.oip.metadata import describe_config, describe_model, describe_server
from recserve.serving.oip.repository import index_models, load_model, unload_model
from recserve.serving.overload.turn import Turn
from recserve.serving.refusals import UnsupportedError
from recserve.signatures import TensorModel
from recserve.wire.open_inference import SERVICE
from recserve.wire.pool import Message, Method, methods_of

_NO_MEMORY: Final = "shared memory is not supported"
_NO_TRACE: Final[Mapping[str, list[str]]] = {
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_file": [""],
    "trace_mode": ["triton"],
}
_LOG: Final[Mapping[str, dict[str, Any]]] = {
    "log_file": {"string_param": ""},
    "log_info": {"bool_param": True},
    "log_warning": {"bool_param": True},
    "log_error": {"bool_param": True},
    "log_verbose_level": {"uint32_param": 0},
    "log_format": {"string_param": "default"},
}


class ModelsService:
    """Answers of every method but inference. Threads may share it.

    Args:
        serving: what every dialect shares.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def endpoints(self) -> list[Endpoint]:
        """The methods."""
        methods = methods_of(SERVICE)
        light: dict[str, Callable[[Message], Mapping[str, Any]]] = {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": self._serving.readiness()},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: describe_server(),
            "ModelMetadata": lambda request: self._described(
                request, lambda model: describe_model(model, self._serving.registry)
            ),
            "ModelConfig": lambda request: {"config": self._described(request, describe_config)},
            "RepositoryIndex": self._index,
            "SystemSharedMemoryStatus": lambda _: {},
            "CudaSharedMemoryStatus": lambda _: {},
            "TraceSetting": self._trace,
            "LogSettings": self._log,
        }
        slow: dict[str, Callable[[Message], Mapping[str, Any]]] = {
            "ModelStatistics": self._statistics,  # it reads the files of other workers
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        refused = [f"{kind}SharedMemory{verb}" for kind in ("System", "Cuda") for verb in ("Register", "Unregister")]
        return [
            *(Endpoint(methods[n], _written(methods[n], a), oip_words, "event loop") for n, a in light.items()),
            *(Endpoint(methods[n], _written(methods[n], a), oip_words, "own thread") for n, a in slow.items()),
            *(Endpoint(methods[name], _refuse_memory, oip_words, "event loop") for name in refused),
        ]

    def _described(self, request: Message, describe: Callable[[TensorModel], Mapping[str, Any]]) -> Mapping[str, Any]:
        with self._serving.registry.lease(request.name, version_of(request.version)) as served:
            return describe(tensor_model(served))

    def _model_ready(self, request: Message) -> Mapping[str, Any]:
        version = version_of(request.version)
        rows = self._serving.registry.states(request.name)
        return {"ready": any(row.state == "AVAILABLE" and version in (None, row.version) for row in rows)}

    def _statistics(self, request: Message) -> Mapping[str, Any]:
        version = version_of(request.version)
        if request.name:  # refuses an unknown one
            with self._serving.registry.lease(request.name, version):
                pass
        versions = [
            (row.name, row.version)
            for row in self._serving.registry.states(request.name or None)
            if row.state == "AVAILABLE" and version in (None, row.version)
        ]
        return {"model_stats": self._serving.statistics.describe(versions)}

    def _index(self, request: Message) -> Mapping[str, Any]:
        _check_repository(request)
        body = orjson.dumps({"ready": request.ready})
        return {"models": index_models(self._serving.registry, self._serving.repository, body)}

    def _load(self, request: Message) -> Mapping[str, Any]:
        _check_repository(request)
        load_model(self._serving.repository, request.model_name, _parameters(request))
        return {}

    def _unload(self, request: Message) -> Mapping[str, Any]:
        _check_repository(request)
        unload_model(self._serving.registry, self._serving.repository, request.model_name, _parameters(request))
        return {}

    def _trace(self, request: Message) -> Mapping[str, Any]:
        if request.model_name:
            with self._serving.registry.lease(request.model_name):
                pass
        _refuse_changes(request, "trace")
        return {"settings": {name: {"value": value} for name, value in _NO_TRACE.items()}}

    def _log(self, request: Message) -> Mapping[str, Any]:
        _refuse_changes(request, "log")
        return {"settings": _LOG}


def _written(method: Method, answer: Callable[[Message], Mapping[str, Any]]) -> Callable[[Message, Turn], Message]:
    """The answer as a message: the JSON forms of the protocol have the messages' fields."""
    return lambda request, _: ParseDict(answer(request), method.response(), ignore_unknown_fields=True)


def _refuse_memory(request: Message, turn: Turn) -> Message:  # noqa: ARG001 - an Answer
    raise UnsupportedError(_NO_MEMORY, hint="Send tensors in the request.")


def _check_repository(request: Message) -> None:
    if request.repository_name:
        raise RefusedError("'repository_name' specification is not supported", StatusCode.UNIMPLEMENTED)


def _parameters(request: Message) -> bytes:
    """The parameters of a repository call, as the body that the same call has in REST."""
    parameters = {}
    for name, parameter in request.parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        value = getattr(parameter, kind) if kind else None
        parameters[name] = f"{len(value)} bytes" if isinstance(value, bytes) else value
    return orjson.dumps({"parameters": parameters})


def _refuse_changes(request: Message, kind: str) -> None:
    """Settings can be read; setting one is refused. A setting without a value asks for the default, which is there."""
    for name, setting in request.settings.items():
        if setting.ListFields():
            raise UnsupportedError(
                f"{kind} settings cannot be changed through the network", hint=f"Leave {name!r} out."
            )
        if name not in (_NO_TRACE if kind == "trace" else _LOG):
            raise RequestError(f"there is no {kind} setting {name[:40]!r}")
