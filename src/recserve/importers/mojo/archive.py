"""The files of a MOJO, from its zip or from the directory it unpacks to: bounded, and never outside of it."""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recserve.errors import ConfigError

MAX_ENTRY = 1 << 30  # bytes of one file, unpacked
MAX_TOTAL = 4 << 30  # bytes of all files, unpacked
MAX_RATIO = 200  # unpacked to packed, of files over _SMALL: real MOJOs stay under 60
_SMALL = 16 << 20
_LINE_END = re.compile(r"\r\n|\n|\r")


def damaged(problem: str, where: str, hint: str | None = None) -> ConfigError:
    """The error of a file that is not what its format says."""
    return ConfigError(problem, code="damaged_model", where=where, hint=hint)


@dataclass(frozen=True)
class Archive:
    """A MOJO's files by name.

    Attributes:
        path: of the zip file or the directory.
        sizes: name of each file, with `/`, to its size unpacked in bytes.
        prefix: what stands before the names of this model's files: "" or the folder of a model inside another.
    """

    path: Path
    sizes: dict[str, int]
    prefix: str = ""

    def inner(self, folder: str) -> Archive:
        """The files of a model that lies in `folder` of this one (as model.ini writes it, ending in `/`)."""
        return Archive(self.path, self.sizes, self.prefix + folder)

    def where(self, name: str) -> str:
        """The place of a file, for messages."""
        return f"{self.path}: {self.prefix}{name}"

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.sizes

    def data(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            ConfigError: "damaged_model": there is none, or it does not unpack to the size that the zip states.
        """
        full = self.prefix + name
        if full not in self.sizes:
            raise damaged("the MOJO lacks this file", self.where(name))
        try:
            if self.path.is_dir():
                return (self.path / full).read_bytes()
            with zipfile.ZipFile(self.path) as file:
                return file.read(full)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise damaged(f"cannot be unpacked: {error}", self.where(name)) from error

    def text(self, name: str) -> str:
        """A file's text in UTF-8."""
        try:
            return self.data(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise damaged(f"is not UTF-8 at byte {error.start}", self.where(name)) from error

    def lines(self, name: str) -> list[str]:
        """A file's lines, as Java's readLine cuts them."""
        lines = _LINE_END.split(self.text(name))
        return lines[:-1] if lines[-1] == "" else lines


def open_archive(path: Path) -> Archive:
    """List a MOJO's files and refuse those that could do harm.

    Raises:
        ConfigError: "damaged_model": no zip file, or an entry that leaves the archive, comes twice, is encrypted or
            unpacks to more than MAX_ENTRY, MAX_TOTAL or MAX_RATIO allow.
    """
    if path.is_dir():
        sizes = {
            file.relative_to(path).as_posix(): file.stat().st_size
            for file in sorted(path.rglob("*"))
            if file.is_file() and not file.is_symlink()
        }
        _check_sizes(sizes, path)
        return Archive(path, sizes)
    try:
        with zipfile.ZipFile(path) as file:
            entries = [entry for entry in file.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise damaged(f"is no readable zip file: {error}", str(path)) from error
    found: dict[str, int] = {}
    for entry in entries:
        _check_entry(entry, f"{path}: {entry.filename}")
        if entry.filename in found:
            raise damaged("the zip file has two entries of this name", f"{path}: {entry.filename}")
        found[entry.filename] = entry.file_size
    _check_sizes(found, path)
    return Archive(path, found)


def _check_entry(entry: zipfile.ZipInfo, where: str) -> None:
    name = PurePosixPath(entry.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in name.parts[0]:
        raise damaged("the entry's name leads out of the archive", where)
    if entry.flag_bits & 1:
        raise damaged("the entry is encrypted", where)
    if entry.file_size > _SMALL and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        raise damaged(
            f"unpacks {entry.compress_size} to {entry.file_size} bytes; over {MAX_RATIO} to 1 is refused", where
        )


def _check_sizes(sizes: dict[str, int], path: Path) -> None:
    for name, size in sizes.items():
        if size > MAX_ENTRY:
            raise damaged(f"has {size} bytes; a MOJO's file may have {MAX_ENTRY}", f"{path}: {name}")
    if (total := sum(sizes.values())) > MAX_TOTAL:
        raise damaged(f"the files have {total} bytes; a MOJO may have {MAX_TOTAL}", str(path))
