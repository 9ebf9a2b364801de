"""Protobuf text format without a schema: messages as plain Python, for configs of other systems.

    feature_configs {              {"feature_configs": [{"id_feature": [{
      id_feature {                     "feature_name": ["a"],
        feature_name: "a"    →         "boundaries": [1, 2.5],
        boundaries: [1, 2.5]           "weighted": [True]}]}]}
        weighted: true
      }
    }

A field holds the list of its values, since only a schema knows which fields repeat. Names of enum values are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from recserve.errors import ConfigError

Message: TypeAlias = dict[str, list[Any]]
"""Fields of a message: texts, ints, floats, bools and messages."""

MAX_DEPTH: Final = 100
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fF]?(?![\w.]))
      | (?P<word>-?[A-Za-z_][\w.]*)
      | (?P<extension>\[[A-Za-z_][\w./]*[./][\w./]*\])
      | (?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_LETTERS: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_WORDS: Final = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "inf": float("inf"),
    "-inf": float("-inf"),
    "nan": float("nan"),
}
_CLOSING: Final = {"{": "}", "<": ">"}


def parse(text: str) -> Message:
    """The message that a text spells.

    Raises:
        ConfigError: it is not protobuf text; names the line.
    """
    return _Reader(text).message("", 0)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


class _Reader:
    """Reads tokens one after the other."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def message(self, closing: str, depth: int) -> Message:
        """The fields up to `closing`, or up to the end if that is ""."""
        if depth > MAX_DEPTH:
            raise _wrong(self._next, f"messages are nested more than {MAX_DEPTH} deep")
        fields: Message = {}
        while self._next.text != closing or self._next.kind == "text":
            name = self._take()
            if name.kind not in ("word", "extension"):
                raise _wrong(name, f"a field name is wanted, not {name.text or 'the end'!r}")
            has_colon = self._next.text == ":" and self._next.kind == "mark"
            if has_colon:
                self._take()
            fields.setdefault(name.text, []).extend(self._values(has_colon, depth))
            if self._next.kind == "mark" and self._next.text in ",;":
                self._take()
        self._take()
        return fields

    def _values(self, has_colon: bool, depth: int) -> list[Any]:
        if self._next.kind != "mark" or self._next.text != "[":
            return [self._value(has_colon, depth)]
        self._take()
        values = []
        while self._next.kind != "mark" or self._next.text != "]":
            values.append(self._value(has_colon, depth))
            if self._next.kind == "mark" and self._next.text == ",":
                self._take()
        self._take()
        return values

    def _value(self, has_colon: bool, depth: int) -> Any:
        token = self._take()
        if token.kind == "mark" and token.text in _CLOSING:
            return self.message(_CLOSING[token.text], depth + 1)
        if not has_colon:
            raise _wrong(token, "a colon or a message is wanted")
        if token.kind == "text":
            parts = [token.text]
            while self._next.kind == "text":
                parts.append(self._take().text)
            return b"".join(_unescaped(part) for part in parts).decode("utf-8", "surrogateescape")
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "word":
            return _WORDS.get(token.text, token.text)
        raise _wrong(token, f"a value is wanted, not {token.text or 'the end'!r}")


def _tokens(text: str) -> Iterator[_Token]:
    line, position = 1, 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _wrong(_Token("", "", line), f"cannot read {text[position : position + 20]!r}")
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found.group(), line)
        line += found.group().count("\n")
        position = found.end()
    yield _Token("end", "", line)


def _wrong(token: _Token, problem: str) -> ConfigError:
    return ConfigError(f"{problem}. It is no protobuf text", where=f"line {token.line}")


def _number(text: str) -> int | float:
    if "x" in text.lower():
        return int(text, 16)
    if re.fullmatch(r"[+-]?0[0-7]+", text):
        return int(text, 8)
    return int(text) if text.lstrip("+-").isdigit() else float(text.rstrip("fF"))


def _unescaped(quoted: str) -> bytes:
    """Bytes of a quoted text."""
    return _ESCAPE.sub(_replacement, quoted[1:-1].encode("utf-8"))


def _replacement(found: re.Match[bytes]) -> bytes:
    code = found.group(1)
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code[:1] in b"uU" and len(code) > 1:
        return chr(int(code[1:], 16)).encode("utf-8", "surrogatepass")
    if code[:1].isdigit() and code[:1] < b"8":
        return bytes([int(code, 8) & 0xFF])
    return _LETTERS.get(code, code)
