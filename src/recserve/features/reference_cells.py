"""Cells of raw columns as plain Python: what texts, lists, maps and numbers mean as tokens, numbers and pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from recserve.errors import DataError
from recserve.features.op import MAX_TEXT_BYTES
from recserve.features.operators import is_number

Cell: TypeAlias = Any
"""None, str, bytes, int, float, bool, a list of cells, or a map."""


def is_missing(cell: Cell) -> bool:
    """The cell holds nothing: null, NaN, empty text, list or map."""
    if isinstance(cell, float):
        return math.isnan(cell)
    return cell is None or (isinstance(cell, (str, bytes, Sequence, Mapping)) and len(cell) == 0)


def as_bytes(text: str | bytes) -> bytes:
    """UTF-8 of text; bytes as they are."""
    try:
        return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise DataError(f"text {text!r} cannot be written as UTF-8") from None


def as_text(token: bytes) -> str:
    """A token for people, and for numbers; bytes that are not UTF-8 become lone surrogates."""
    return token.decode("utf-8", "surrogateescape")


def split(text: bytes, separators: Sequence[str]) -> list[bytes]:
    """Text cut at any of `separators`, empty parts kept; whole without separators."""
    if not separators:
        return [text]
    first = separators[0].encode()
    for separator in separators[1:]:
        text = text.replace(separator.encode(), first)
    return text.split(first)


def write_number(number: float) -> bytes:
    """Decimal text: an integral float without its ".0", others in shortest form that reads back the same."""
    if isinstance(number, int):
        return str(number).encode()
    if math.isfinite(number) and number.is_integer() and abs(number) < 1e16:
        return str(int(number)).encode()
    return repr(float(number)).encode()


def token_of(value: Cell) -> bytes:
    """One value as a token; "" of nothing."""
    if isinstance(value, (str, bytes)):
        return as_bytes(value)
    if isinstance(value, (bool, np.bool_)):
        return b"true" if value else b"false"
    if isinstance(value, (int, float)):
        return b"" if is_missing(value) else write_number(value)
    if value is None:
        return b""
    raise DataError(f"a value is {value!r}, not text, a number or a bool")


def rounded(value: Cell) -> Cell:
    """A finite float rounded half away from zero; any other value itself."""
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    return math.copysign(math.floor(abs(value) + 0.5), value)


def elements(cell: Cell, separators: Sequence[str]) -> Iterator[Cell]:
    """The values of a cell: parts of a text, elements of lists, a scalar itself."""
    if isinstance(cell, (str, bytes)):
        yield from split(as_bytes(cell), separators)
    elif isinstance(cell, Mapping):
        raise DataError(f"the cell is a map, not values: {cell!r}")
    elif isinstance(cell, Sequence):
        for value in cell:
            if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
                yield from elements(value, separators)
            else:
                yield value
    else:
        yield cell


def tokens(cell: Cell, separators: Sequence[str], keeps_empty: bool = False, rounds: bool = False) -> list[bytes]:
    """See ops.ParseTokens."""
    if is_missing(cell):
        return []
    values = elements(cell, separators)
    found = [token_of(rounded(value) if rounds else value) for value in values]
    return found if keeps_empty else [token for token in found if token]


def number_of(value: Cell) -> float:
    """One value as a number: a number itself, or the text of one.

    Raises:
        DataError: it is something else.
    """
    if isinstance(value, (bytes, str)):
        text = as_text(as_bytes(value))
        if not is_number(text):
            raise DataError(f"{text!r} is not a number")
        return float(text.strip())
    if not isinstance(value, (int, float)):
        raise DataError(f"a value is {value!r}, not a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def numbers(cell: Cell, separators: Sequence[str]) -> list[float]:
    """See ops.ParseNumbers."""
    if is_missing(cell):
        return []
    return [number_of(value) for value in elements(cell, separators) if value is not None and value not in (b"", "")]


def pairs(cell: Cell, separators: Sequence[str], delimiter: str) -> list[tuple[bytes, Cell]]:
    """Key and value of each pair; None where a pair has no value (see ops.PairKeys)."""
    if is_missing(cell):
        return []
    if isinstance(cell, Mapping):
        return [(token_of(key), value) for key, value in cell.items()]
    result: list[tuple[bytes, Cell]] = []
    for token in tokens(cell, separators):
        key, found, value = token.partition(delimiter.encode())
        result.append((key, value if found else None))
    return result


def nested_pairs(cell: Cell) -> list[tuple[bytes, bytes, bytes]]:
    """Outer key, inner key and value of each innermost pair (see ops.NestedPairs)."""
    if is_missing(cell):
        return []
    result: list[tuple[bytes, bytes, bytes]] = []
    size = 0
    for outer, inside in pairs(cell, ("|",), "^"):
        for inner, value in pairs(inside, (",",), ":"):
            result.append((outer, inner, token_of(value)))
            size += len(outer)
    check_bytes(size)
    return result


def check_bytes(size: int) -> None:
    """Refuse tokens of one row with more bytes than MAX_TEXT_BYTES.

    Raises:
        DataError: they have.
    """
    if size > MAX_TEXT_BYTES:
        raise DataError(f"its tokens have more than {MAX_TEXT_BYTES} bytes", hint="Give fewer or shorter values")


def steps(cell: Cell, delimiter: str, limit: int | None, fills_empty: bool) -> list[Cell]:
    """The cells of the steps of a sequence (see ops.SplitSteps)."""
    if is_missing(cell):
        return [None] if fills_empty else []
    if isinstance(cell, (str, bytes)):
        found: list[Cell] = list(as_bytes(cell).split(delimiter.encode()))
    elif isinstance(cell, Sequence):
        found = list(cell)
    else:
        found = [cell]
    return found[:limit] if limit else found
