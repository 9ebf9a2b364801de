"""Universal Binary JSON as XGBoost writes it: typed arrays become NumPy arrays."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from recserve.importers.mojo.archive import damaged

MAX_DEPTH = 64
_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_INTEGERS = b"iUIlL"


def parse_ubjson(data: bytes, where: str) -> Any:
    """The value that `data` holds: dicts, lists, arrays, str, int, float, bool, None.

    Args:
        data: the whole document.
        where: the file, for messages.

    Raises:
        ConfigError: "damaged_model": the bytes end early, a marker is unknown, or the nesting is deeper than MAX_DEPTH.
    """
    reader = _Reader(data, where)
    try:
        value = reader.value(reader.marker(), 0)
    except UnicodeDecodeError:
        raise damaged(f"a text before byte {reader.at} is not UTF-8", where) from None
    except (IndexError, struct.error, ValueError):
        raise damaged(f"the document ends early, at byte {reader.at} of {len(data)}", where) from None
    return value


class _Reader:
    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where
        self.at = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise IndexError
        self.at += count
        return self.data[self.at - count : self.at]

    def marker(self) -> bytes:
        mark = self.take(1)
        return self.marker() if mark == b"N" else mark

    def integer(self) -> int:
        mark = self.take(1)
        if mark not in _INTEGERS:
            raise damaged(f"a length at byte {self.at} has the type {mark!r}", self.where)
        return int(self.number(mark))

    def number(self, mark: bytes) -> int | float:
        dtype = np.dtype(_NUMBERS[mark])
        value: int | float = np.frombuffer(self.take(dtype.itemsize), dtype)[0].item()
        return value

    def text(self) -> str:
        return self.take(self.integer()).decode("utf-8")

    def value(self, mark: bytes, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise damaged(f"nests deeper than {MAX_DEPTH} at byte {self.at}", self.where)
        if mark in _NUMBERS:
            return self.number(mark)
        if mark in b"SH":
            return self.text()
        if mark == b"C":
            return self.take(1).decode("latin-1")
        if mark in (b"T", b"F", b"Z"):
            return {b"T": True, b"F": False, b"Z": None}[mark]
        if mark == b"[":
            return self.array(depth)
        if mark == b"{":
            return self.object(depth)
        raise damaged(f"the marker {mark!r} at byte {self.at - 1} is unknown", self.where)

    def head(self) -> tuple[bytes | None, int | None]:
        """The type and the count of an optimised container."""
        kind, count = None, None
        if self.data[self.at : self.at + 1] == b"$":
            self.at += 1
            kind = self.take(1)
        if self.data[self.at : self.at + 1] == b"#":
            self.at += 1
            count = self.integer()
            if kind in _NUMBERS and kind is not None and count > len(self.data):
                raise IndexError
        return kind, count

    def array(self, depth: int) -> Any:
        kind, count = self.head()
        if kind is not None and kind in _NUMBERS and count is not None:
            dtype = np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(count * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
        items: list[Any] = []
        while count is None or len(items) < count:
            mark = kind or self.marker()
            if mark == b"]" and count is None:
                break
            items.append(self.value(mark, depth + 1))
        return items

    def object(self, depth: int) -> dict[str, Any]:
        kind, count = self.head()
        items: dict[str, Any] = {}
        number = 0
        while count is None or number < count:
            if count is None and self.data[self.at : self.at + 1] == b"}":
                self.at += 1
                break
            key = self.text()
            items[key] = self.value(kind or self.marker(), depth + 1)
            number += 1
        return items
