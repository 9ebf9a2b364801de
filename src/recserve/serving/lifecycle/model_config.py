"""The models of a process, as TensorFlow Serving's `model_config_file` and its reload request say them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from recserve.errors import ConfigError, RecserveError
from recserve.serving.lifecycle.policy import VersionPolicy


@dataclass(frozen=True)
class ModelConfig:
    """One model.

    Attributes:
        name: as the URL has it.
        base: directory with a directory for each version; an absolute path or a URI.
        policy: which versions of it are served.
        labels: label → version.
    """

    name: str
    base: str
    policy: VersionPolicy = VersionPolicy()  # noqa: RUF009 - it is frozen
    labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def read_config_file(path: Path) -> tuple[ModelConfig, ...]:
    """Read a `ModelServerConfig` in protobuf's text form.

    Raises:
        ConfigError: the file cannot be read, is no such text, or is refused by the rules of the reload request.
    """
    from google.protobuf import text_format

    from recserve.serving.grpc.tfs_models import check_config
    from recserve.wire.tensorflow_serving import ModelServerConfig

    try:
        text = path.read_text("utf-8")
        message = text_format.Parse(text, ModelServerConfig())
        check_config(message)
        return read_configs(message.model_config_list)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from error
    except text_format.ParseError as error:
        hint = "Write model_config_list { config { name: 'm' base_path: '/models/m' model_platform: 'tensorflow' } }."
        raise ConfigError(f"is no model server configuration: {error}", where=str(path), hint=hint) from error
    except RecserveError as error:
        raise ConfigError(error.problem, where=str(path), hint=error.hint) from error


def read_configs(message: Any) -> tuple[ModelConfig, ...]:
    """The models of a `tensorflow.serving.ModelConfigList` that has been checked.

    Raises:
        ConfigError: a policy of a model wants nothing, or a model logs, which this process does by other options.
    """
    return tuple(_read_config(config) for config in message.config)


def _read_config(config: Any) -> ModelConfig:
    where = f"model {config.name!r}"
    policy = config.model_version_policy
    try:
        match policy.WhichOneof("policy_choice"):
            case "all":
                chosen = VersionPolicy("all")
            case "specific":
                chosen = VersionPolicy("specific", versions=frozenset(policy.specific.versions))
            case "latest":
                chosen = VersionPolicy("latest", policy.latest.num_versions)
            case _:
                chosen = VersionPolicy()
    except ConfigError as error:
        raise ConfigError(error.problem, where=where, hint=error.hint) from None
    if "" in config.version_labels:
        raise ConfigError("a version label is empty", where=where, hint="Name it, such as 'stable'.")
    return ModelConfig(config.name, config.base_path, chosen, MappingProxyType(dict(config.version_labels)))
