"""model.ini: what a MOJO says of itself, its columns and the levels of the categorical ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.mojo.archive import Archive, damaged

MAX_COLUMNS = 1_000_000
_ASSIGN = re.compile(r"\s*=\s*")


@dataclass(frozen=True)
class Info:
    """A parsed model.ini.

    Attributes:
        archive: the files beside it.
        values: key → text of the section [info].
        columns: names of the columns, the response last in a supervised model.
        domains: for each column its levels in code order, or None where it is numeric.
    """

    archive: Archive
    values: dict[str, str]
    columns: tuple[str, ...]
    domains: tuple[tuple[str, ...] | None, ...]

    def where(self, key: str) -> str:
        """The place of a key, for messages."""
        return f"{self.archive.where('model.ini')}: {key}"

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.values.get(key, "null") != "null"

    def text(self, key: str, default: str | None = None) -> str:
        """The text of a key; `default` where it is absent or null."""
        value = self.values.get(key, "null")
        if value != "null":
            return value
        if default is None:
            raise damaged(f"lacks the key {key!r}", self.archive.where("model.ini"))
        return default

    def number(self, key: str, default: float | None = None) -> float:
        """A key's number."""
        if default is not None and not self.has(key):
            return default
        return self._float(key, self.text(key))

    def integer(self, key: str, default: int | None = None) -> int:
        """A key's whole number."""
        if default is not None and not self.has(key):
            return default
        text = self.text(key)
        try:
            return int(text)
        except ValueError:
            raise damaged(f"is {text[:60]!r}, not a whole number", self.where(key)) from None

    def count(self, key: str, limit: int, default: int | None = None) -> int:
        """A key's whole number between 0 and `limit`, for sizes."""
        value = self.integer(key, default)
        if not 0 <= value <= limit:
            raise damaged(f"is {value}; it must lie in 0 … {limit}", self.where(key))
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """A key's true or false."""
        value = self.text(key, None if default is None else str(default).lower())
        if value not in ("true", "false"):
            raise damaged(f"is {value!r}, neither true nor false", self.where(key))
        return value == "true"

    def numbers(self, key: str, default: tuple[float, ...] | None = None) -> np.ndarray:
        """A key's list `[a, b]` as float64 [n]."""
        if default is not None and not self.has(key):
            return np.array(default, np.float64)
        text = self.text(key)
        if not (text.startswith("[") and text.endswith("]")):
            raise damaged(f"is {text[:60]!r}, no list in square brackets", self.where(key))
        inside = text[1:-1].strip()
        return np.array([self._float(key, part) for part in inside.split(",")] if inside else [], np.float64)

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> list[int]:
        """A key's list of whole numbers."""
        values = self.numbers(key, default)
        if not np.all(values == np.trunc(values)):
            raise damaged("has a number that is not whole", self.where(key))
        return [int(value) for value in values]

    def _float(self, key: str, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise damaged(f"is {text[:60]!r}, not a number", self.where(key)) from None

    def big_endian(self, name: str, count: int, skip: int = 0) -> np.ndarray:
        """`count` doubles of a binary file in Java's byte order, as float64, after `skip` bytes."""
        data = self.archive.data(name)
        if len(data) < skip + 8 * count:
            raise damaged(f"has {len(data)} bytes where {skip + 8 * count} are due", self.archive.where(name))
        return np.frombuffer(data, ">f8", count, skip).astype(np.float64)

    # ---- what every model has

    @property
    def algorithm(self) -> str:
        """The short name of the algorithm: "gbm", "glm" ..."""
        return self.text("algo", self.text("algorithm")).lower()

    @property
    def category(self) -> str:
        """H2O's model category: "Binomial", "Regression" ..."""
        return self.text("category")

    @property
    def version(self) -> float:
        """The version of the MOJO of this algorithm."""
        return self.number("mojo_version")

    @property
    def supervised(self) -> bool:
        """Whether the last column is the response."""
        return self.flag("supervised")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that the model reads, in the order of its rows."""
        return self.columns[: self.count("n_features", len(self.columns))]

    @property
    def classes(self) -> int:
        """How many classes the response has; 1 for none."""
        return self.count("n_classes", 1 << 20)

    @property
    def threshold(self) -> float:
        """The probability of the second class from which it is the label."""
        return self.number("default_threshold", 0.5)

    @property
    def response_domain(self) -> tuple[str, ...] | None:
        """The labels, in class order."""
        return self.domains[-1] if self.supervised and self.domains else None


def unescape(text: str) -> str:
    r"""Undo `\n`, `\r` and `\\`."""
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), text)


def read_info(archive: Archive) -> Info:
    """Read model.ini and the domain files.

    Raises:
        ConfigError: "damaged_model" where a section, a key or a domain file is missing or contradicts another.
    """
    values: dict[str, str] = {}
    columns: list[str] = []
    domains: dict[int, str] = {}
    section = ""
    for number, raw in enumerate(archive.lines("model.ini"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{archive.where('model.ini')}: line {number}"
        if line in ("[info]", "[columns]", "[domains]"):
            section = line
        elif section == "[info]":
            key, found, value = _split(_ASSIGN, line)
            if not found:
                raise damaged(f"{line[:60]!r} is no `key = value`", where)
            values[key] = value
        elif section == "[columns]":
            columns.append(line)
        elif section == "[domains]":
            index, found, value = _split(re.compile(r":\s*"), line)
            if not found or not index.isdecimal():
                raise damaged(f"{line[:60]!r} is no `column: size file`", where)
            domains[int(index)] = value
    info = Info(archive, values, tuple(columns), ())
    stated = info.count("n_columns", MAX_COLUMNS)
    if stated != len(columns):
        raise damaged(f"n_columns is {stated}, the section [columns] has {len(columns)}", archive.where("model.ini"))
    levels = tuple(_read_domain(info, domains[i]) if i in domains else None for i in range(len(columns)))
    return Info(archive, values, tuple(columns), levels)


def _split(mark: re.Pattern[str], line: str) -> tuple[str, bool, str]:
    parts = mark.split(line, maxsplit=1)
    return (parts[0], True, parts[1]) if len(parts) == 2 else (line, False, "")


def _read_domain(info: Info, entry: str) -> tuple[str, ...]:
    size, _, name = entry.partition(" ")
    if not size.isdecimal() or not name:
        raise damaged(f"{entry[:60]!r} is no `size file` of a domain", info.archive.where("model.ini"))
    return read_levels(info, f"domains/{name}", int(size), info.flag("escape_domain_values", False))


def read_levels(info: Info, name: str, size: int, escaped: bool) -> tuple[str, ...]:
    """The levels in a text file, one a line.

    Raises:
        ConfigError: "damaged_model" where there are not `size` of them.
    """
    lines = info.archive.lines(name)
    if len(lines) != size:
        raise damaged(f"has {len(lines)} levels where model.ini says {size}", info.archive.where(name))
    return tuple(unescape(line) for line in lines) if escaped else tuple(lines)


def unsupported(problem: str, where: str, hint: str | None = None) -> ConfigError:
    """The error of a model that uses what recserve lacks."""
    return ConfigError(problem, code="unsupported_element", where=where, hint=hint)
