"""Where the configuration of the models comes from, at the start and later.

A configuration that came by a reload request is kept in the state directory, so that a restart serves the same and
every worker of the host takes it. It then stands in place of the config file, until that file changes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from recserve.serving.lifecycle.model_config import ModelConfig, read_config_file
from recserve.serving.lifecycle.options import LifecycleOptions

STORED_FILE: Final = "model_config.pbtxt"
STATE_POLL_S: Final = 0.5
"""Seconds between looks at the state directory."""

_Stamp = tuple[int, int, int] | None


class ConfigStore:
    """The files that hold the configuration. One thread at a time calls `changed`.

    Args:
        options: which files they are.
    """

    def __init__(self, options: LifecycleOptions) -> None:
        self._options = options
        self._stored = None if options.state_dir is None else options.state_dir / STORED_FILE
        self._file_stamp = _stamp(options.config_file)
        self._stored_stamp = _stamp(self._stored)

    @property
    def is_polled(self) -> bool:
        """Whether a file may change while the process serves."""
        return self._stored is not None or (self._options.config_file is not None and self._options.config_poll_s > 0)

    @property
    def poll_s(self) -> float:
        """Seconds between looks."""
        waits_s = [STATE_POLL_S] if self._stored is not None else []
        if self._options.config_file is not None and self._options.config_poll_s > 0:
            waits_s.append(self._options.config_poll_s)
        return min(waits_s, default=STATE_POLL_S)

    def initial(self) -> Sequence[ModelConfig]:
        """The configuration at the start.

        Raises:
            ConfigError: its file cannot be read.
        """
        if self._stored is not None and self._stored_stamp is not None and self._is_stored_newer():
            return read_config_file(self._stored)
        if self._options.config_file is not None:
            return read_config_file(self._options.config_file)
        return tuple(self._options.models)

    def changed(self) -> Sequence[ModelConfig] | None:
        """The new configuration where a file has changed since the last call; a bad one is told once.

        Raises:
            ConfigError: the changed file cannot be read.
        """
        if self._stored is not None and (stamp := _stamp(self._stored)) != self._stored_stamp:
            self._stored_stamp = stamp
            if stamp is not None:
                return read_config_file(self._stored)
        if self._options.config_file is not None and self._options.config_poll_s > 0:
            stamp = _stamp(self._options.config_file)
            if stamp != self._file_stamp:
                self._file_stamp = stamp
                return read_config_file(self._options.config_file)
        return None

    def save(self, message: Any) -> None:
        """Keep a `ModelConfigList` that is served now; nothing happens without a state directory."""
        if self._stored is None:
            return
        from google.protobuf import text_format

        from recserve.wire.tensorflow_serving import ModelServerConfig

        config = ModelServerConfig()
        config.model_config_list.CopyFrom(message)
        write_whole(self._stored, text_format.MessageToString(config).encode())
        self._stored_stamp = _stamp(self._stored)

    def _is_stored_newer(self) -> bool:
        file, stored = self._file_stamp, self._stored_stamp
        return stored is not None and (file is None or file[0] <= stored[0])


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it, and make its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _stamp(path: Path | None) -> _Stamp:
    """What changes with a file; None where there is none."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
