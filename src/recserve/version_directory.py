"""The directory of a version, `<base>/<name>/<version>`: its path, and how it is made in one piece."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from recserve.errors import ConfigError


def read_target(target: Path) -> tuple[str, int]:
    """(name, version) of a directory that is to be made.

    Raises:
        ConfigError: it is no `<base>/<name>/<version>`, or exists already.
    """
    if not target.name.isascii() or not target.name.isdigit() or int(target.name) < 1:
        raise ConfigError(
            f"version {target.name!r} is not a positive integer",
            code="bad_version",
            where=str(target),
            hint="The path is <base>/<name>/<version>, such as models/rank/7",
        )
    name = target.absolute().parent.name
    if not name or any(c in name for c in "/:%"):
        raise ConfigError(f"{name!r} is no name of a model", code="bad_name", where=str(target))
    if target.exists():
        raise ConfigError(
            "exists already; a version is never overwritten",
            code="version_exists",
            where=str(target),
            hint=f"Take version {int(target.name) + 1}, or remove the directory",
        )
    return name, int(target.name)


def publish_directory(target: Path, write: Callable[[Path], None]) -> Path:
    """Make the directory of a version: readers see all that `write` puts into the folder it gets, or nothing.

    Raises:
        ConfigError: the path is no version, exists already, or cannot be written; or what `write` raises.
    """
    read_target(target)
    draft: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        write(draft)
        for path in (*draft.rglob("*"), draft):
            _sync(path)
        draft.chmod(0o755)
        os.rename(draft, target)
        _sync(target.parent)
    except OSError as error:
        raise ConfigError(f"cannot publish: {error}", code="cannot_write", where=str(target)) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
