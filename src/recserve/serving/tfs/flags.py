"""TensorFlow Serving's command line, said in recserve's own options.

What follows `tensorflow_model_server` may follow `recserve serve`: `--port=8500 --rest_api_port=8501 --model_name=ctr
--model_base_path=/models/ctr`. A flag that means nothing here is told in one line of warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recserve.errors import ConfigError

GRPC_PORT: Final = 8500
REST_PORT: Final = 8501
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - where TensorFlow Serving listens

_TRUE: Final = ("true", "1", "t", "yes", "y", "")
_FALSE: Final = ("false", "0", "f", "no", "n")


@dataclass(frozen=True)
class _Flag:
    """A flag.

    Attributes:
        kind: of its value.
        says: the value → recserve's options; None where it means nothing here.
        default: the value at which a flag without meaning is not worth a word.
        instead: what does here what a flag without meaning does there.
    """

    kind: type
    says: Callable[[str], list[str]] | None = None
    default: str = ""
    instead: str = ""


def _option(name: str) -> Callable[[str], list[str]]:
    return lambda value: [name, value] if value else []


def _switch(on: str = "", off: str = "") -> Callable[[str], list[str]]:
    return lambda value: [option] if (option := on if value == "true" else off) else []


def _whole(name: str, unit: float = 1.0) -> Callable[[str], list[str]]:
    return lambda value: [name, f"{int(value) * unit:g}"]


_PLACES: Final = ("port", "rest_api_port", "model_name", "model_base_path")
"""Flags that are read together."""

FLAGS: Final[dict[str, _Flag]] = {
    "port": _Flag(int),
    "rest_api_port": _Flag(int),
    "model_name": _Flag(str),
    "model_base_path": _Flag(str),
    "model_config_file": _Flag(str, _option("--model-config-file")),
    "model_config_file_poll_wait_seconds": _Flag(int, _whole("--config-poll")),
    "file_system_poll_wait_seconds": _Flag(int, lambda value: ["--poll", str(max(-1, int(value)))]),
    "num_load_threads": _Flag(int, _whole("--load-threads")),
    "num_unload_threads": _Flag(int, _whole("--unload-threads")),
    "max_num_load_retries": _Flag(int, _whole("--load-retries")),
    "load_retry_interval_micros": _Flag(int, _whole("--retry-seconds", 1e-6)),
    "allow_version_labels_for_unavailable_models": _Flag(bool, _switch("--unavailable-labels")),
    "enable_model_warmup": _Flag(bool, _switch("--warm-up", "--no-warm-up")),
    "num_request_iterations_for_warmup": _Flag(int, lambda value: ["--warm-up-times", str(max(1, int(value)))]),
    "enable_serialization_as_tensor_content": _Flag(bool, _switch("--tensor-content")),
    "rest_api_enable_cors_support": _Flag(bool, _switch("--cors", "--no-cors")),
    # These have no meaning here.
    "rest_api_num_threads": _Flag(int, instead="--rank-threads or --workers"),
    "rest_api_timeout_in_ms": _Flag(int, instead="--max-wait and --body-timeout"),
    "grpc_max_threads": _Flag(int, instead="--rank-threads or --workers"),
    "grpc_socket_path": _Flag(str),
    "grpc_channel_arguments": _Flag(str),
    "enable_grpc_healthcheck_service": _Flag(bool, default="true"),
    "flush_filesystem_caches": _Flag(bool, default="true"),
    "saved_model_tags": _Flag(str, default="serve"),
    "tensorflow_session_parallelism": _Flag(int, default="0", instead="--rank-threads"),
    "tensorflow_session_config_file": _Flag(str),
    "tensorflow_intra_op_parallelism": _Flag(int, default="0", instead="--threads"),
    "tensorflow_inter_op_parallelism": _Flag(int, default="0", instead="--rank-threads"),
    "per_process_gpu_memory_fraction": _Flag(float, default="0"),
    "platform_config_file": _Flag(str),
    "enable_per_model_batching_parameters": _Flag(bool, default="false", instead="--batching-file for all models"),
    "enable_signature_method_name_check": _Flag(bool, default="false"),
    "xla_cpu_compilation_enabled": _Flag(bool, default="false"),
    "xla_gpu_compilation_enabled": _Flag(bool, default="false"),
    "mixed_precision": _Flag(str),
    "skip_initialize_tpu": _Flag(bool, default="false"),
    "enable_profiler": _Flag(bool, default="true"),
    "remove_unused_fields_from_bundle_metagraph": _Flag(bool, default="true"),
    "prefer_tflite_model": _Flag(bool, default="false"),
    "num_tflite_pools": _Flag(int, default="1"),
    "num_tflite_interpreters_per_pool": _Flag(int, default="0"),
    "thread_pool_factory_config_file": _Flag(str),
    "use_tflite_model": _Flag(bool, default="false"),
    "enable_batching": _Flag(bool, _switch("--batching")),
    "allow_model_server_to_start_without_models": _Flag(bool, default="false"),
    "batching_parameters_file": _Flag(str, _option("--batching-file")),
    "monitoring_config_file": _Flag(str, _option("--monitoring-config-file")),
    "ssl_config_file": _Flag(str, _option("--grpc-ssl-config-file")),
}
"""Every flag of the model server, and what it says here."""

_OURS_TOO: Final = ("port", "rest_api_port", "rest_api_enable_cors_support", "model_config_file")
"""Flags that do not tell by themselves that a command line is TensorFlow Serving's."""


@dataclass(frozen=True)
class Translated:
    """A command line in recserve's words.

    Attributes:
        arguments: of `recserve serve`.
        warnings: a line for each flag that is given and means nothing here.
    """

    arguments: list[str]
    warnings: list[str]


def translate_flags(arguments: Sequence[str], environment: Mapping[str, str]) -> Translated:
    """Say TensorFlow Serving's flags in recserve's options; any other command line stays as it is.

    Args:
        arguments: after `recserve serve`.
        environment: its `MODEL_NAME` and `MODEL_BASE_PATH` count where nothing else says what to serve, as in the
            container images.

    Raises:
        ConfigError: a flag's value is of the wrong kind, there is a model and a config file, or a batching file without
            batching.
    """
    given, others = _split(arguments)
    if not any(name not in _OURS_TOO for name in given) and not given.get("model_config_file"):
        is_container = not arguments and {"MODEL_NAME", "MODEL_BASE_PATH"} & environment.keys()
        if not is_container:
            return Translated(list(arguments), [])
        base = environment.get("MODEL_BASE_PATH") or "/models"
        name = environment.get("MODEL_NAME") or "model"
        given = {"port": str(GRPC_PORT), "rest_api_port": str(REST_PORT), "model_name": name}
        given["model_base_path"] = f"{base.rstrip('/')}/{name}"
    if given.get("batching_parameters_file") and given.get("enable_batching") != "true":
        raise ConfigError(
            "a batching file is given and batching is not on",
            where="--batching_parameters_file",
            hint="Add --enable_batching, or leave the file out.",
        )
    said: list[str] = []
    warnings: list[str] = []
    for name, value in given.items():
        flag = FLAGS[name]
        if flag.says is not None:
            said += flag.says(value)
        elif name not in _PLACES and value != flag.default:
            instead = f"; use {flag.instead}" if flag.instead else ""
            warnings.append(f"--{name}={value} has no meaning here and is ignored{instead}")
    return Translated([*others, *_model(given), *_ports(given, others), *said], warnings)


def _model(given: Mapping[str, str]) -> list[str]:
    base = given.get("model_base_path", "")
    if base and given.get("model_config_file"):
        raise ConfigError(
            "a model and a config file are given", where="--model_base_path", hint="Leave one of them out."
        )
    return ["--base", f"{given.get('model_name') or 'default'}={base}"] if base else []


def _ports(given: Mapping[str, str], others: Sequence[str]) -> list[str]:
    """Its ports, on every address as there; none where only the models are TensorFlow Serving's."""
    if any(argument.startswith("--dialect") for argument in others) and not {"port", "rest_api_port"} & given.keys():
        return []
    rest = int(given.get("rest_api_port", "0"))
    ports = ["--dialect", f"grpc:{given.get('port', GRPC_PORT)}"]
    ports += ["--dialect", f"tfs:{rest}"] if rest else []
    has_host = any(argument.startswith("--host") for argument in others)
    return ports if has_host else ["--host", EVERYWHERE, *ports]


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """(flag → value, the other arguments). `--x=v`, `--x v`, and for truths `--x` and `--nox`."""
    given: dict[str, str] = {}
    others: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        is_negated = name not in FLAGS and name.startswith("no") and _is_truth(name[2:])
        name = name[2:] if is_negated else name
        if not argument.startswith("-") or name not in FLAGS:
            others.append(argument)
            continue
        if is_negated:
            value = "false"
        elif not equals and FLAGS[name].kind is not bool:
            if not rest:
                raise ConfigError("has no value", where=f"--{name}", hint=f"Write --{name}=VALUE.")
            value = rest.pop(0)
        given[name] = _checked(name, value)
    return given, others


def _is_truth(name: str) -> bool:
    return name in FLAGS and FLAGS[name].kind is bool


def _checked(name: str, value: str) -> str:
    """The value in one way of writing."""
    kind = FLAGS[name].kind
    if kind is bool:
        if value.lower() in (*_TRUE, *_FALSE):
            return "true" if value.lower() in _TRUE else "false"
        raise ConfigError(f"{value!r} is neither true nor false", where=f"--{name}")
    if kind is int and not value.removeprefix("-").isdecimal():
        raise ConfigError(f"{value!r} is no whole number", where=f"--{name}")
    return value
