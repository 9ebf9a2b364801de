"""A base directory on object storage (s3://, gs://, …) or whatever else fsspec reads.

Each listing costs money, so that there is one for a look at the base and one for each version that is not here yet.
Versions are copied to a local directory, from where they are mapped.

Storage far away fails in its own ways: it hangs, it breaks off, and some of it lists less than there is. Nothing here
waits longer than its time, a version that is missing from one listing is still there, and a copy counts only where it
holds what two listings, one before and one after it, say alike.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from recserve.errors import ConfigError
from recserve.serving.lifecycle.base import (
    MAX_ENTRIES,
    Arrival,
    Base,
    Fingerprint,
    LocalBase,
    Settling,
    has_unfinished,
    manifest_files,
)
from recserve.serving.lifecycle.bounded_calls import BoundedCalls
from recserve.serving.repository import is_version

_URI: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_TIMES: Final = ("LastModified", "last_modified", "updated", "mtime", "created")
_NEVER_S: Final = float("inf")

LIST_TIMEOUT_S: Final = 10.0
"""Seconds that a listing has."""

COPY_TIMEOUT_S: Final = 60.0
"""Seconds that the copy of an object has, beside one for each megabyte."""

_BYTES_PER_S: Final = 1e6


def open_base(place: str, arrival: Arrival, cache_dir: Path | None = None) -> Base:
    """The base directory at an absolute path or a URI.

    Args:
        place: of the base directory.
        arrival: when a version counts as whole.
        cache_dir: where remote versions are copied to; None for a temporary directory.

    Raises:
        ConfigError: the path is relative, or no installed package reads the URI's kind.
    """
    match = _URI.match(place)
    if match is None:
        path = Path(place)
        if not path.is_absolute():
            raise ConfigError(f"base path {place!r} is relative", hint="Give an absolute path, or a URI.")
        return LocalBase(path, arrival)
    if match["scheme"] == "file":
        return LocalBase(Path("/", place[match.end() :].lstrip("/")), arrival)
    files, root = _file_system(place)
    key = hashlib.sha256(place.encode()).hexdigest()[:16]
    folder = Path(tempfile.mkdtemp(prefix="recserve-")) if cache_dir is None else cache_dir
    return RemoteBase(files, root, folder / key, arrival)


def _file_system(place: str) -> tuple[Any, str]:
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError as error:
        hint = "Install recserve[remote], and the package of the file system, such as s3fs."
        raise ConfigError("remote base directories need fsspec", where=place, hint=hint) from error
    try:
        files, root = fsspec.core.url_to_fs(place, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        hint = "Install the file system's package, such as s3fs or gcsfs."
        raise ConfigError(f"cannot be watched: {error}", where=place, hint=hint) from error
    return files, str(root)


@dataclass
class RemoteBase:
    """A base directory that fsspec reads.

    Attributes:
        files: an fsspec file system.
        root: the base directory in it.
        cache: local directory that versions are copied to.
        arrival: when a version counts as whole.
    """

    files: Any
    root: str
    cache: Path
    arrival: Arrival = field(default_factory=Arrival)
    is_remote: bool = True

    def __post_init__(self) -> None:
        self._settling = Settling(self.arrival.settle_s)
        self._calls = BoundedCalls(f"the storage of {self.root!r}")
        self._known: dict[int, str] = {}
        self._missed: frozenset[int] = frozenset()

    def versions(self) -> dict[int, str] | None:
        """Version → its path; one listing. None where it fails, for whatever reason, or takes too long.

        A version that was there and is not listed is gone when the next listing lacks it too.
        """
        try:
            entries = self._calls.call(self._list_base, LIST_TIMEOUT_S)
        except Exception:  # each file system has errors of its own; what is served stays, and the next look may work
            return None
        folders = sorted((str(e["name"]).rstrip("/") for e in entries if e["type"] == "directory"), reverse=True)
        found = {int(Path(place).name): place for place in folders[:MAX_ENTRIES] if is_version(Path(place))}
        missed = frozenset(self._known.keys() - found.keys())
        found |= {version: self._known[version] for version in missed - self._missed}
        self._known, self._missed = found, missed
        self._settling.keep_only(found)
        return dict(found)

    def _list_base(self) -> list[dict[str, Any]]:
        self.files.invalidate_cache()
        return list(self.files.ls(self.root, detail=True))

    def fingerprint(self, place: str) -> Fingerprint:
        """Path, size and time of each object; empty where the listing fails."""
        return self._objects(place)[0]

    def is_whole(self, place: str) -> bool:
        """Whether the version has its done-marker, or nothing in it has changed for a while."""
        objects, newest_s = self._objects(place)
        names = {name for name, _, _ in objects}
        if self.arrival.done_marker:
            return self.arrival.done_marker in names
        return bool(names) and not has_unfinished(names) and self._settling.is_still(place, objects, newest_s)

    def fetch(self, place: str) -> Path:
        """Copy the version here, once; a copy that was broken off is begun again.

        Raises:
            ConfigError: it cannot be listed or copied in time, or is not whole after all.
        """
        folder = self.cache / str(int(Path(place).name))
        stamp = folder.with_suffix(".stamp")
        objects = self._objects(place)[0]
        if not objects:
            raise ConfigError("cannot be listed, or is empty", code="version_unreadable", where=place)
        wanted = hashlib.sha256(repr(objects).encode()).hexdigest()
        if folder.is_dir() and stamp.is_file() and stamp.read_text() == wanted:
            return folder
        draft = folder.with_suffix(".partial")
        for old in (draft, folder):
            shutil.rmtree(old, ignore_errors=True)
        stamp.unlink(missing_ok=True)
        draft.mkdir(parents=True)
        for name, size_bytes, _ in objects:
            self._copy(place, name, size_bytes, draft)
        self._check_copy(place, objects, draft)
        draft.rename(folder)
        stamp.write_text(wanted)
        return folder

    def _copy(self, place: str, name: str, size_bytes: int, draft: Path) -> None:
        target = draft / name
        if not target.resolve().is_relative_to(draft.resolve()):
            raise ConfigError(f"object {name!r} lies outside the version", where=place)
        target.parent.mkdir(parents=True, exist_ok=True)
        timeout_s = COPY_TIMEOUT_S + size_bytes / _BYTES_PER_S
        try:
            self._calls.call(lambda: self.files.get_file(f"{place}/{name}", str(target)), timeout_s)
        except Exception as error:  # each file system has errors of its own
            raise ConfigError(f"object {name!r} cannot be copied: {error}", where=place) from error
        copied_bytes = target.stat().st_size if target.is_file() else 0
        if copied_bytes != size_bytes:
            raise ConfigError(f"object {name!r} has {size_bytes} bytes, and {copied_bytes} came", where=place)

    def _check_copy(self, place: str, objects: Fingerprint, draft: Path) -> None:
        """Refuse a copy of what has changed meanwhile, was not listed whole, or is not what its manifest says."""
        if self._objects(place)[0] != objects:
            raise ConfigError("it has changed while it was copied", code="version_changed", where=place)
        for name, size_bytes in (manifest_files(draft) or {}).items():
            file = draft / name
            if not file.is_file() or file.stat().st_size != size_bytes:
                raise ConfigError(f"file {name!r} of its manifest is not there whole", where=place)

    def forget(self, place: str) -> None:
        """Remove the local copy."""
        folder = self.cache / str(int(Path(place).name))
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".stamp").unlink(missing_ok=True)

    def _objects(self, place: str) -> tuple[Fingerprint, float]:
        try:
            entries = self._calls.call(lambda: self.files.find(place, detail=True), LIST_TIMEOUT_S)
        except Exception:  # as in `versions`
            return (), _NEVER_S
        objects = []
        newest_s = 0.0
        for path, entry in list(entries.items())[:MAX_ENTRIES]:
            changed_s = _changed_s(entry)
            newest_s = max(newest_s, changed_s)
            name = str(path).removeprefix(place).lstrip("/")
            objects.append((name, int(entry.get("size") or 0), 0 if changed_s == _NEVER_S else int(changed_s * 1e9)))
        return tuple(sorted(objects)), newest_s


def _changed_s(entry: dict[str, Any]) -> float:
    """When an object changed last, in seconds since the epoch; infinity where the file system does not say."""
    for name in _TIMES:
        value = entry.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value).timestamp()
            except ValueError:
                continue
    return _NEVER_S
