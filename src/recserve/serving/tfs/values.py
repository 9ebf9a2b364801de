"""JSON values in error messages, and the names that TensorFlow has for types.

A value is what a reader of JSON makes of it: None, bool, int (within int64 or uint64), float, str, list or dict. A byte
that is no UTF-8 is a lone surrogate in a str.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from recserve.serving.tfs.float_text import double_text

MAX_SHOWN: Final = 256
"""Bytes of a value that a message shows."""

INDENT: Final = "    "

TYPE_NAMES: Final = {
    "float32": "float",
    "float64": "double",
    "float16": "half",
    **{name: name for name in ("bool", "bfloat16", "string", "complex64", "complex128")},
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""Dtype of `recserve.signatures` → what TensorFlow calls it."""


def json_type(value: Any) -> str:
    """What messages call the type of a value."""
    match value:
        case None:
            return "Null"
        case True:
            return "True"
        case False:
            return "False"
        case str():
            return "String"
        case list():
            return "Array"
        case dict():
            return "Object"
    return "Number"


def show(value: Any) -> str:
    """A value as messages show it: indented, and cut after 256 bytes. Costs no more for a large value."""
    parts: list[str] = []
    length = 0
    for part in _pieces(value):
        parts.append(part)
        length += len(part)
        if length >= MAX_SHOWN:
            break
    shown = "".join(parts).encode("utf-8", "surrogateescape")[:MAX_SHOWN]
    return shown.decode("utf-8", "replace" if len(shown) < MAX_SHOWN else "ignore")


def quote(text: str) -> bytes:
    """A text as a JSON string in UTF-8, whatever it holds."""
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")


def _pieces(value: Any) -> Iterator[str]:
    """The text of a value, piece by piece; nesting costs no recursion."""
    stack: list[Iterator[Any]] = []
    closers: list[str] = []
    current: Any = value
    entry: Any = None
    while True:
        if isinstance(current, list | dict) and current:
            yield "[" if isinstance(current, list) else "{"
            closers.append("]" if isinstance(current, list) else "}")
            stack.append(iter(current if isinstance(current, list) else current.items()))
            is_first = True
        else:
            yield _leaf(current)
            is_first = False
        while stack:
            entry = next(stack[-1], _END)
            if entry is not _END:
                break
            stack.pop()
            yield f"\n{INDENT * len(stack)}{closers.pop()}"
            is_first = False
        if not stack:
            return
        yield f"{'' if is_first else ','}\n{INDENT * len(stack)}"
        if closers[-1] == "}":
            key, current = entry
            yield f"{_string(key)}: "
        else:
            current = entry


_END: Final[Any] = object()


def _leaf(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return double_text(value)
        case str():
            return _string(value)
        case list():
            return "[]"
        case dict():
            return "{}"
    return str(value)


def _string(text: str) -> str:
    return json.dumps(text[: MAX_SHOWN + 1], ensure_ascii=False)
