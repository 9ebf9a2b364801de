"""What SageMaker says in environment variables, and what `recserve serve` does with it when it gets no arguments.

The platform starts a container as `serve`, with the model's files in /opt/ml/model (or with none, and
SAGEMAKER_MULTI_MODEL, for an endpoint that loads models by request).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recserve.errors import ConfigError
from recserve.serving.dialects import DIALECTS
from recserve.serving.repository import is_version

ROOT_VARIABLE: Final = "RECSERVE_OPT_ML"
"""A directory that stands for /opt/ml, for tests outside a container."""

DIALECT_VARIABLE: Final = "RECSERVE_INVOCATIONS_DIALECT"
"""The dialect of /invocations: auto, sagemaker, mlflow, or a name of `DIALECTS`."""

_PLATFORM_ROOT: Final = Path("/opt/ml")
_PREFIX: Final = "SAGEMAKER_"
_BATCH_STRATEGIES: Final = ("SINGLE_RECORD", "MULTI_RECORD")


@dataclass(frozen=True)
class Platform:
    """The environment variables of a SageMaker container.

    Attributes:
        variables: all of the process.
    """

    variables: Mapping[str, str]

    @property
    def is_sagemaker(self) -> bool:
        """Whether any variable of the platform is set."""
        return any(name.startswith(_PREFIX) for name in self.variables)

    @property
    def is_multi_model(self) -> bool:
        """Whether models are loaded by request."""
        return self.variables.get("SAGEMAKER_MULTI_MODEL", "").strip().lower() in ("true", "1")

    @property
    def root(self) -> Path:
        """What stands for /opt/ml."""
        return Path(self.variables.get(ROOT_VARIABLE) or _PLATFORM_ROOT)

    @property
    def default_model(self) -> str:
        """The model that the platform names as the default, or empty."""
        names = ("SAGEMAKER_TFS_DEFAULT_MODEL_NAME", "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME")
        return next((self.variables[name] for name in names if self.variables.get(name)), "")

    def port(self) -> int:
        """The port to listen on.

        Raises:
            ConfigError: the variable is no port.
        """
        name = "SAGEMAKER_BIND_TO_PORT"
        text = self.variables.get(name, "") or "8080"
        if not (text.isascii() and text.isdigit() and 0 <= int(text) <= 65535):
            raise ConfigError(f"port {text!r} is no number", where=name, hint="Give 1 to 65535.")
        return int(text)

    def map_path(self, url: str) -> Path:
        """The file that a path below /opt/ml names here."""
        path = Path(os.path.normpath(url))
        return self.root / path.relative_to(_PLATFORM_ROOT) if path.is_relative_to(_PLATFORM_ROOT) else path

    def dialect(self) -> str:
        """The dialect of the port.

        Raises:
            ConfigError: the variable names none.
        """
        chosen = self.variables.get(DIALECT_VARIABLE, "") or "auto"
        if self.is_multi_model:
            return "sagemaker-mme"
        if chosen == "auto" and self.variables.get("SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"):
            return "sagemaker-triton"
        name = {"auto": "invocations", "sagemaker": "sagemaker-tfs"}.get(chosen, chosen)
        if name not in DIALECTS:
            raise ConfigError(
                f"there is no dialect {chosen!r}", where=DIALECT_VARIABLE, hint="Give auto, sagemaker or mlflow."
            )
        return name

    def execution_parameters(self, rank_threads: int, max_body_bytes: int) -> dict[str, Any]:
        """What batch transform asks for: how many requests at once, of how many records and bytes."""
        concurrent = _positive(self.variables.get("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", ""), max(1, rank_threads))
        payload = _positive(self.variables.get("SAGEMAKER_MAX_PAYLOAD_IN_MB", ""), 6)
        strategy = self.variables.get("SAGEMAKER_BATCH_STRATEGY", "").upper()
        return {
            "MaxConcurrentTransforms": concurrent,
            "BatchStrategy": strategy if strategy in _BATCH_STRATEGIES else "MULTI_RECORD",
            "MaxPayloadInMB": min(payload, max(1, max_body_bytes >> 20)),
        }


def _positive(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31 else default


@dataclass(frozen=True)
class ContainerStart:
    """What `recserve serve` serves when a platform starts it without arguments.

    Attributes:
        models: directories of versions.
        dialects: values of `--dialect`.
        host: address to listen on.
    """

    models: list[str]
    dialects: list[str]
    host: str = "0.0.0.0"  # noqa: S104 - a container is asked from outside


def container_start(variables: Mapping[str, str]) -> ContainerStart | None:
    """What the environment of a container asks for; None outside of one.

    Raises:
        ConfigError: there is no model in /opt/ml/model, or a variable makes no sense.
    """
    platform = Platform(variables)
    folder = platform.root / "model"
    if not (platform.is_sagemaker or folder.is_dir()):
        return None
    port = f"{platform.dialect()}:{platform.port()}"
    if platform.is_multi_model:
        return ContainerStart([], [port])
    directories = find_models(folder)
    names = {directory.parent.name if is_version(directory) else directory.name for directory in directories}
    default = platform.default_model or (next(iter(names)) if len(names) == 1 else "")
    return ContainerStart([str(directory) for directory in directories], [f"{port}={default}" if default else port])


def find_models(folder: Path) -> list[Path]:
    """The directories of the models below /opt/ml/model: `<version>`, `<name>/<version>` or `export/<name>/<version>`.

    The folder itself counts where the model lies in it without a version.

    Raises:
        ConfigError: there is nothing.
    """
    for base in (folder, folder / "export"):
        children = sorted(child for child in base.iterdir() if child.is_dir()) if base.is_dir() else []
        versions = [child for child in children if is_version(child)]
        if versions:
            return [max(versions, key=lambda child: int(child.name))]
        found = [_highest(child) for child in children]
        if models := [directory for directory in found if directory is not None]:
            return models
    if folder.is_dir() and any(child.is_file() for child in folder.iterdir()):
        return [folder]
    raise ConfigError("there is no model", where=str(folder), hint="Put it into <name>/<version>/ of the archive.")


def _highest(model: Path) -> Path | None:
    versions = [child for child in model.iterdir() if child.is_dir() and is_version(child)]
    return max(versions, key=lambda child: int(child.name)) if versions else None
