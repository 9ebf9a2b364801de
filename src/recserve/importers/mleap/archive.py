"""The files of a bundle, out of a zip file or of a directory, read one by one and never unpacked.

A bundle comes from elsewhere, so its size is held before anything is read: a zip file of a few kilobytes can claim
gigabytes, and names may point outside the bundle.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from recserve.errors import ConfigError

_ENTRY_LIMIT = 1 << 30  # bytes of one file
_TOTAL_LIMIT = 4 << 30  # bytes of all files of a zip
_RATIO_LIMIT = 2_000  # zip bombs have more; deflate itself ends at 1,032


class Archive:
    """The files under one root, by their names with forward slashes.

    Attributes:
        path: of the zip file or directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self.names = frozenset(child.relative_to(path).as_posix() for child in path.rglob("*") if child.is_file())
            return
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise ConfigError(
                f"this is neither a directory nor a zip file: {error}", code="damaged_model", where=str(path)
            ) from error
        self.names = frozenset(self._checked(self._zip))

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def _checked(self, archive: zipfile.ZipFile) -> list[str]:
        """The names of the zip's files, once their sizes and names are known to be sane."""
        names, total = [], 0
        for entry in archive.infolist():
            parts = PurePosixPath(entry.filename).parts
            if entry.filename.startswith("/") or ".." in parts or "\\" in entry.filename:
                raise self.damaged(entry.filename, "the name points outside the bundle")
            if entry.is_dir():
                continue
            total += entry.file_size
            if entry.file_size > _ENTRY_LIMIT or total > _TOTAL_LIMIT:
                raise self.damaged(entry.filename, f"it unpacks to more than {_TOTAL_LIMIT >> 30} GiB")
            if entry.file_size > _RATIO_LIMIT * max(entry.compress_size, 1):
                raise self.damaged(entry.filename, f"{entry.compress_size} bytes claim to unpack to {entry.file_size}")
            names.append(entry.filename)
        return names

    def damaged(self, name: str, problem: str) -> ConfigError:
        """The error for a file of this bundle that cannot be used."""
        return ConfigError(problem, code="damaged_model", where=f"{self.path}, {name}")

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            ConfigError: "damaged_model" where it is absent, too large or broken.
        """
        if name not in self.names:
            raise self.damaged(name, "the bundle has no such file")
        try:
            if self._zip is not None:
                return self._zip.read(name)
            file = self.path / name
            if not file.resolve().is_relative_to(self.path.resolve()):
                raise self.damaged(name, "the link points outside the bundle")
            if file.stat().st_size > _ENTRY_LIMIT:
                raise self.damaged(name, f"the file has more than {_ENTRY_LIMIT >> 30} GiB")
            return file.read_bytes()
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise self.damaged(name, f"the file cannot be read: {error}") from error
