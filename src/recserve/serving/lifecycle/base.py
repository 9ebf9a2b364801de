"""A base directory: the versions in it, and whether one of them has arrived whole.

Whoever copies a version into the base directory takes a while, and nothing of what is there meanwhile may be loaded. A
version is whole

1. when the done-marker lies in it, where the process was told to wait for one; else
2. when it is a bundle, and every file of its manifest has the size that the manifest says; else
3. when it holds a file, none of them has the name of an unfinished copy, and nothing in it has changed for a while.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import orjson

from recserve.serving.repository import is_version

MAX_ENTRIES: Final = 100_000
"""Files of a version, and entries of a base directory, that are looked at."""

_MANIFEST: Final = "manifest.json"
_UNFINISHED: Final = re.compile(r"\..+\.[A-Za-z0-9]{6}|.+\.(?:tmp|temp|part|partial|filepart|crdownload)|_temporary")
"""Names that rsync, browsers, transfer tools and Hadoop give to what is not complete."""

Fingerprint = tuple[tuple[str, int, int], ...]
"""(path, size, time of the last change in ns) of each file."""


@dataclass(frozen=True)
class Arrival:
    """When a version counts as whole.

    Attributes:
        settle_s: seconds without a change; 0 takes every version at once.
        done_marker: name of a file that says so; empty for none.
    """

    settle_s: float = 2.0
    done_marker: str = ""


class Base(Protocol):
    """A base directory."""

    @property
    def is_remote(self) -> bool:
        """Whether each look at it costs money and time."""

    def versions(self) -> dict[int, str] | None:
        """Version → its place, whole or not; None where the base directory is not there or cannot be read."""

    def fingerprint(self, place: str) -> Fingerprint:
        """What the version holds now; another one means that it has changed."""

    def is_whole(self, place: str) -> bool:
        """Whether the version has arrived whole. Asked again and again, with time between."""

    def fetch(self, place: str) -> Path:
        """The version as a local directory, copied here where it is remote. Raises OSError."""

    def forget(self, place: str) -> None:
        """Remove what `fetch` copied here; nothing happens where it copied nothing."""


@dataclass
class Settling:
    """Watches versions until they change no longer.

    Attributes:
        settle_s: seconds without a change.
        clock: seconds, never going back.
    """

    settle_s: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[Fingerprint, float]] = field(default_factory=dict)

    def is_still(self, place: str, fingerprint: Fingerprint, newest_s: float) -> bool:
        """Whether nothing changed for long enough, by the clock of the files or by what was seen here.

        Args:
            place: of the version.
            fingerprint: of what is in it now.
            newest_s: time of its last change, in seconds since the epoch.
        """
        if time.time() - newest_s >= 0 and time.time() - newest_s >= self.settle_s:
            return True
        now_s = self.clock()
        known, since_s = self._seen.get(place, (None, now_s))
        if known != fingerprint:
            self._seen[place] = (fingerprint, now_s)
            return self.settle_s == 0
        return now_s - since_s >= self.settle_s

    def keep_only(self, places: Mapping[int, str]) -> None:
        """Forget versions that are gone."""
        self._seen = {place: seen for place, seen in self._seen.items() if place in set(places.values())}


@dataclass
class LocalBase:
    """A base directory of the local file system, or of one that is mounted."""

    path: Path
    arrival: Arrival = field(default_factory=Arrival)
    is_remote: bool = False

    def __post_init__(self) -> None:
        self._settling = Settling(self.arrival.settle_s)

    def versions(self) -> dict[int, str] | None:
        """Version → its directory; leading zeros are fine, other names are skipped."""
        try:
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in islice(entries, MAX_ENTRIES) if entry.is_dir()]
        except OSError:
            return None
        found = {int(name): str(self.path / name) for name in sorted(names, reverse=True) if is_version(Path(name))}
        self._settling.keep_only(found)
        return found

    def fingerprint(self, place: str) -> Fingerprint:
        """Path, size and change time of each file."""
        return _walk(Path(place))[0]

    def is_whole(self, place: str) -> bool:
        """Whether the version has arrived whole; see the module."""
        folder = Path(place)
        if self.arrival.done_marker:
            return (folder / self.arrival.done_marker).is_file()
        listed = manifest_files(folder)
        if listed is not None:
            return all(_size(folder / name) == size for name, size in listed.items())
        files, newest_s = _walk(folder)
        if not files or has_unfinished(name for name, _, _ in files):
            return False
        return self._settling.is_still(place, files, newest_s)

    def fetch(self, place: str) -> Path:
        """The directory itself."""
        return Path(place)

    def forget(self, place: str) -> None:
        """Nothing: nothing was copied."""


def has_unfinished(names: Iterable[str]) -> bool:
    """Whether one of the paths is that of an unfinished copy."""
    return any(_UNFINISHED.fullmatch(part) for name in names for part in name.split("/"))


def manifest_files(folder: Path) -> dict[str, int] | None:
    """Path → bytes of each file that the manifest of a bundle lists; None where there is no such manifest."""
    try:
        document = orjson.loads((folder / _MANIFEST).read_bytes())
        listed = {str(name): int(entry["size_bytes"]) for name, entry in document["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return listed or None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _walk(folder: Path) -> tuple[Fingerprint, float]:
    """The files below a directory, and when something in it changed last, in seconds since the epoch.

    The change time of a file (not the modification time, which copies keep) tells of every write; a directory's
    modification time tells of files that came and went, and does not change when the whole is renamed into its place.
    """
    files: list[tuple[str, int, int]] = []
    newest_ns = 0
    for root, _, names in os.walk(folder):
        newest_ns = max(newest_ns, _folder_changed_ns(root))
        for name in names:
            path = Path(root, name)
            try:
                status = path.stat()
            except OSError:  # it was renamed or removed this moment
                newest_ns = time.time_ns()
                continue
            files.append((path.relative_to(folder).as_posix(), status.st_size, status.st_ctime_ns))
            newest_ns = max(newest_ns, status.st_ctime_ns)
        if len(files) > MAX_ENTRIES:
            break
    return tuple(sorted(files)), newest_ns * 1e-9


def _folder_changed_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return time.time_ns()
