"""Ops on text. They run in Python, once for each distinct combination of arguments of a call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from recserve.scoring.cells import MISSING, Cell, RowFailure, merged, valid
from recserve.scoring.op import define
from recserve.scoring.params import Param

Params = Mapping[str, Any]


@lru_cache(maxsize=1024)
def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression in Java's and PCRE's spelling.

    Raises:
        RowFailure: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise RowFailure(f"{pattern!r} is no regular expression: {error}") from None


SIMPLE: Final[dict[str, Callable[[str], str]]] = {
    "uppercase": str.upper,
    "lowercase": str.lower,
    "trim": lambda text: text.strip(),
}


def _define_simple() -> None:
    for name, function in SIMPLE.items():
        define(name, "string", "string")(lambda text, function=function: function(text))


_define_simple()


@define("text_length", "string", "number")
def text_length(text: str) -> float:
    """Number of characters."""
    return float(len(text))


@define("substring", "string number number", "string")
def substring(text: str, start: float, length: float) -> str:
    """`length` characters from number `start` (from 1); fewer where the text ends.

    Raises:
        RowFailure: start is below 1, or the length is negative.
    """
    if not (start >= 1 and length >= 0):
        raise RowFailure(f"substring from {start:g} of length {length:g}: it starts at 1")
    first = int(min(start, 2**53)) - 1
    return text[first : first + int(min(length, 2**53))]


@define("replace_pattern", "string string string", "string")
def replace_pattern(text: str, pattern: str, replacement: str) -> str:
    r"""Every match of a regular expression replaced; `$1` or `\1` stand for groups."""
    template = re.sub(r"\$(\d+)", r"\\g<\1>", replacement)
    try:
        return compiled_pattern(pattern).sub(template, text)
    except (re.error, IndexError) as error:
        raise RowFailure(f"replacement {replacement!r}: {error}") from None


@define("find_pattern", "string string", "boolean")
def find_pattern(text: str, pattern: str) -> bool:
    """Whether a regular expression matches anywhere in a text."""
    return compiled_pattern(pattern).search(text) is not None


@define("full_match", "string string", "boolean")
def full_match(text: str, pattern: str) -> bool:
    """Whether a regular expression matches a whole text."""
    return compiled_pattern(pattern).fullmatch(text) is not None


@define("concat", "string*", "string", params={"separator": Param("text", "")})
def concat(params: Params, *texts: str) -> str:
    """All texts, one after the other."""
    return str(params["separator"].join(texts))


@define("format_number", "number string", "string")
def format_number(x: float, pattern: str) -> str:
    """A number in the C format of the pattern, such as `%5.2f` or `%3d`.

    Raises:
        RowFailure: the pattern is none for one number.
    """
    if re.fullmatch(r"[^%]*%[-+ 0#,]*\d*(\.\d+)?[diouxXeEfFgG][^%]*", pattern) is None:
        raise RowFailure(f"{pattern!r} is no format of one number")
    kind = re.search(r"%[-+ 0#,]*\d*(?:\.\d+)?([a-zA-Z])", pattern)
    is_whole = kind is not None and kind.group(1) in "dioxXu"
    try:
        return pattern.replace(",", "") % (int(x) if is_whole else x)
    except (ValueError, OverflowError, TypeError) as error:
        raise RowFailure(f"format {pattern!r} of {x!r}: {error}") from None


@define("make_list", "any*", "object", params={"skip_missing": Param("flag", True)}, is_strict=False)
def make_list(params: Params, *cells: Cell) -> Cell:
    """A list of the arguments; missing ones are left out, or make the list missing."""
    problem = merged(cells)
    if problem is not None and (problem.is_failed or not params["skip_missing"]):
        return problem
    return valid(tuple(cell.value for cell in cells if not cell.is_missing)) if cells else MISSING
