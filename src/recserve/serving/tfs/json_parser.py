"""JSON as TensorFlow Serving reads it: the slow, obvious twin that `exact_reader` is held to. Nothing serves with it.

Beyond RFC 8259: `NaN`, `Inf` and `Infinity`, with a minus or without, are numbers; a byte order mark is skipped; what
follows the first value is ignored; strings need not be UTF-8 (such bytes become lone surrogates); of equal keys the
first counts; integers beyond 64 bits are floats. Nesting costs no recursion, and below `MAX_DEPTH` no memory either:
what is nested deeper is checked, and stands as an empty list.
"""

from __future__ import annotations

import re
from typing import Any, Final

from recserve.serving.tfs.errors import WireError

MAX_DEPTH: Final = 256
"""Levels that are kept; a tensor has fewer dimensions."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]*)?(?P<exponent>[eE][+-]?[0-9]*)?")
_STRING: Final = re.compile(rb'"([^"\\\x00-\x1f]*)"')
_LONG_STRING: Final = re.compile(rb'[^"\\\x00-\x1f]*')
_CONSTANTS: Final = (
    (b"null", None),
    (b"true", True),
    (b"false", False),
    (b"NaN", float("nan")),
    (b"Infinity", float("inf")),
    (b"Inf", float("inf")),
    (b"-NaN", float("nan")),
    (b"-Infinity", float("-inf")),
    (b"-Inf", float("-inf")),
)
_OPENING_RUN: Final = re.compile(rb"\[(?:[ \t\r\n]*\[)*")
_CLOSING_RUN: Final = re.compile(rb"\]+")
_ESCAPES: Final = {ord(a): b for a, b in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True)}
_TOO_DEEP: Final[list[Any]] = []


def parse_exactly(body: bytes) -> Any:
    """The first value of a body.

    Raises:
        WireError: the body is empty or no JSON; the message has the offset.
    """
    if not body:
        raise WireError("JSON Parse error: The document is empty")
    return _Parser(body).parse()


class _Parser:
    """One pass over a body."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 3 if body.startswith(b"\xef\xbb\xbf") else 0
        self._kinds = bytearray()  # `[` or `{` of each open level
        self._open: list[Any] = []  # their containers, down to MAX_DEPTH
        self._keys: list[str] = []  # the key that waits for its value, of each open object down to MAX_DEPTH

    def parse(self) -> Any:
        """The value."""
        if self._peek() == b"":
            raise self._error("The document is empty.")
        value = self._value()
        while self._kinds:
            if value is _OPENED:
                value = self._first()
                continue
            self._add(value)
            value = self._next()
        return value

    def _peek(self) -> bytes:
        space = _SPACE.match(self._body, self._at)
        self._at = space.end() if space else self._at
        return self._body[self._at : self._at + 1]

    def _error(self, problem: str, at: int | None = None) -> WireError:
        return WireError(f"JSON Parse error: {problem} at offset: {self._at if at is None else at}")

    def _value(self) -> Any:
        """A whole scalar, or `_OPENED` after the bracket of a container."""
        first = self._peek()
        if first in (b"[", b"{"):
            self._enter(first)
            return _OPENED
        if first == b'"':
            return self._string()
        for word, value in _CONSTANTS:
            if self._body.startswith(word, self._at):
                self._at += len(word)
                return value
        return self._number()

    def _enter(self, bracket: bytes) -> None:
        """Go into a container; below what is kept, into all that open here."""
        if len(self._kinds) < MAX_DEPTH:
            self._open.append([] if bracket == b"[" else {})
            self._keys.append("")
        elif bracket == b"[" and (run := _OPENING_RUN.match(self._body, self._at)):
            self._kinds += b"[" * (run[0].count(b"[") - 1)
            self._at = run.end() - 1
        self._kinds += bracket
        self._at += 1

    def _first(self) -> Any:
        """What comes after an opening bracket: the first value, or the container itself where it is empty."""
        is_list = self._kinds[-1:] == b"["
        if self._peek() == (b"]" if is_list else b"}"):
            self._at += 1
            return self._close()
        if not is_list:
            self._key()
        return self._value()

    def _next(self) -> Any:
        """What comes after a value inside a container: the next value, or the container where it ends."""
        is_list = self._kinds[-1:] == b"["
        mark = self._peek()
        if mark == (b"]" if is_list else b"}"):
            self._at += 1
            return self._close()
        if mark != b",":
            what = "] after an array element." if is_list else "} after an object member."
            raise self._error(f"Missing a comma or {what}")
        self._at += 1
        if not is_list:
            self._key()
        return self._value()

    def _close(self) -> Any:
        depth = len(self._kinds)
        run = _CLOSING_RUN.match(self._body, self._at - 1, self._at - 1 + max(0, depth - MAX_DEPTH))
        if run is not None and self._kinds[-1:] == b"[":
            count = len(run[0])
            if not self._kinds.endswith(b"[" * count):
                count = depth - len(self._kinds.rstrip(b"["))  # the bracket after these is wrong
            self._at += count - 1
            del self._kinds[-count:]
            return _TOO_DEEP
        del self._kinds[-1:]
        if depth > MAX_DEPTH:
            return _TOO_DEEP
        self._keys.pop()
        return self._open.pop()

    def _add(self, value: Any) -> None:
        if len(self._kinds) > MAX_DEPTH:
            return
        container = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        else:
            container.setdefault(self._keys[-1], value)

    def _key(self) -> None:
        if self._peek() != b'"':
            raise self._error("Missing a name for object member.")
        key = self._string()
        if len(self._kinds) <= MAX_DEPTH:
            self._keys[-1] = key
        if self._peek() != b":":
            raise self._error("Missing a colon after a name of object member.")
        self._at += 1

    def _string(self) -> str:
        if whole := _STRING.match(self._body, self._at):
            self._at = whole.end()
            return whole[1].decode("utf-8", "surrogateescape")
        begin = self._at
        self._at += 1
        parts: list[str] = []
        while True:
            plain = _LONG_STRING.match(self._body, self._at)
            if plain:
                parts.append(plain[0].decode("utf-8", "surrogateescape"))
                self._at = plain.end()
            mark = self._body[self._at : self._at + 1]
            if mark == b'"':
                self._at += 1
                return "".join(parts)
            if mark != b"\\":
                known = mark in (b"", b"\x00")
                what = "Missing a closing quotation mark in string." if known else "Invalid encoding in string."
                raise self._error(what, begin if known else None)
            parts.append(self._escape())

    def _escape(self) -> str:
        begin = self._at
        letter = self._body[begin + 1 : begin + 2]
        if letter != b"u":
            if not letter or letter[0] not in _ESCAPES:
                raise self._error("Invalid escape character in string.")
            self._at += 2
            return _ESCAPES[letter[0]]
        code = self._hex(begin)
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)
        if code <= 0xDBFF and self._body[self._at : self._at + 2] == b"\\u":
            low = self._hex(begin)
            if 0xDC00 <= low <= 0xDFFF:
                return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
        raise self._error("The surrogate pair in string is invalid.", begin)

    def _hex(self, begin: int) -> int:
        digits = self._body[self._at + 2 : self._at + 6]
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", digits):
            raise self._error("Incorrect hex digit after \\u escape in string.", begin)
        self._at += 6
        return int(digits, 16)

    def _number(self) -> int | float:
        begin = self._at
        match = _NUMBER.match(self._body, begin)
        if match is None:
            raise self._error("Invalid value.", begin + (self._body[begin : begin + 1] == b"-"))
        self._at = match.end()
        if match["fraction"] == b".":
            raise self._error("Miss fraction part in number.")
        if match["exponent"] is not None and not match["exponent"][-1:].isdigit():
            raise self._error("Miss exponent in number.")
        if match["fraction"] is None and match["exponent"] is None and len(match[0]) <= 20:
            number = int(match[0])
            if -(1 << 63) <= number < 1 << 64:
                return number
        value = float(match[0])
        if value in (float("inf"), float("-inf")):
            raise self._error("Number too big to be stored in double.", begin)
        return value


_OPENED: Final = object()
