"""Request JSON → Python values, with the tokens NaN and Infinity, and however deep a caller nests it.

Depth costs the parsers of C and Python their stack. So of a text that is too deep, what lies deeper than `MAX_DEPTH` is
cut out before it is parsed: a list or object at that depth reads as an empty one, and whoever walks there refuses the
depth.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import orjson

from recserve.errors import RequestError

MAX_DEPTH: Final = 200
"""Lists and objects within one another that are read of a text too deep for the fast parser (which takes 1024)."""

# One without an end goes to the end of the text: to look at each of its quotation marks would take quadratic time.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_COLLECTOR_WAITS: Final = 1 << 16
"""Bytes of a text from which on it is worth it."""
_STEP: Final = np.zeros(256, np.int8)
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1


class JsonError(RequestError):
    """The text is not JSON.

    Attributes:
        reason: what the parser says.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"failed to parse the request JSON buffer: {reason}")
        self.reason = reason


def read_json(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        JsonError: it is none.
    """
    if not text:
        raise JsonError("The document is empty. at 0")
    try:
        return load_json(text)
    except orjson.JSONDecodeError as caught:
        return _read_slowly(text, caught)


def load_json(text: bytes | bytearray) -> Any:
    """`orjson.loads`, in time that is linear in the text: Python's collector waits.

    It would walk all lists and objects so far again and again while they are made, ten times the work of making them.

    Raises:
        orjson.JSONDecodeError: the text is no JSON, or has NaN or Infinity.
    """
    if len(text) < _COLLECTOR_WAITS:
        return orjson.loads(text)
    with collector_waits(len(text)):
        return orjson.loads(text)


@contextmanager
def collector_waits(size_bytes: int) -> Iterator[None]:
    """Hold Python's collector off while a text of this size is read, where that is worth it."""
    if size_bytes < _COLLECTOR_WAITS or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read_slowly(text: bytes, first: orjson.JSONDecodeError) -> Any:
    """Texts with NaN or Infinity, very deep ones, and those that are no JSON at all."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise JsonError(f"Invalid encoding in string. at {error.start}") from None
    is_deep = _depth(text) > MAX_DEPTH
    if not is_deep and not any(token in text for token in (b"NaN", b"Inf")):
        raise JsonError(f"{first.msg} at {first.pos}")
    try:
        with collector_waits(len(text)):
            return json.loads(_cut(text).decode() if is_deep else decoded)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise JsonError(reason) from None


def _depths(text: bytes) -> np.ndarray[Any, np.dtype[np.int32]]:
    """int32[bytes]: how many lists and objects are open after each byte. Brackets in strings do not count."""
    blank = _STRING.sub(lambda found: b" " * len(found[0]), text)
    return np.cumsum(_STEP[np.frombuffer(blank, np.uint8)], dtype=np.int32)


def _depth(text: bytes) -> int:
    return int(_depths(text).max(initial=0))


def _cut(text: bytes) -> bytes:
    """The text without what lies deeper than `MAX_DEPTH`."""
    depths = _depths(text)
    if depths[-1] != 0:
        raise JsonError(f"Missing a comma or ] or }} after an array or object. at {len(text)}")
    before = np.concatenate(([np.int32(0)], depths[:-1]))
    is_kept = np.minimum(depths, before) <= MAX_DEPTH  # the brackets of the first value too deep stay, empty
    cut: bytes = np.frombuffer(text, np.uint8)[is_kept].tobytes()
    return cut
