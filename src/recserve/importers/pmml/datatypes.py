"""PMML's data types: what the scoring core holds for each, and how a text of the document becomes a value.

Dates are numbers: days since 1970-01-01, times seconds since midnight, date-times seconds since 1970-01-01T00:00; the
`...Since[year]` types count from their own epoch.
"""

from __future__ import annotations

import math
import re
from typing import Final

import numpy as np

from recserve.scoring.cells import DType
from recserve.scoring.ops_dates import KINDS, parse_date

NUMBERS: Final = ("integer", "float", "double")
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?[dDfF]?")
_SPECIAL: Final = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}

DATA_TYPES: Final = (*NUMBERS, "boolean", "string", *KINDS)


def dtype_of(data_type: str) -> DType:
    """What the scoring core holds: "number", "boolean" or "string"."""
    if data_type == "boolean":
        return "boolean"
    return "string" if data_type == "string" else "number"


def is_date(data_type: str) -> bool:
    """Whether values are dates or times, held as numbers and written as texts."""
    return data_type not in NUMBERS and dtype_of(data_type) == "number"


def parse(text: str, data_type: str) -> float | bool | str:
    """A text as a value of the type.

    Raises:
        ValueError: it is none.
    """
    if data_type == "string":
        return text
    if data_type == "boolean":
        return _parse_boolean(text)
    if is_date(data_type):
        return parse_date(text, data_type)
    value = parse_number(text)
    if data_type == "integer" and value != math.floor(value):
        raise ValueError(f"{text!r} is no whole number")
    return float(np.float32(value)) if data_type == "float" else value


def parse_number(text: str) -> float:
    """A decimal number, as XML Schema or Java write it.

    Raises:
        ValueError: it is none.
    """
    word = text.strip()
    if _NUMBER.fullmatch(word):
        return float(word.rstrip("dDfF"))
    sign, plain = (-1.0, word[1:]) if word.startswith("-") else (1.0, word.removeprefix("+"))
    if plain.lower() in _SPECIAL:
        return sign * _SPECIAL[plain.lower()]
    raise ValueError(f"{text!r} is no number")


def _parse_boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in ("true", "false"):
        return word == "true"
    value = parse_number(text)
    if value not in (0.0, 1.0):
        raise ValueError(f"{text!r} is no boolean")
    return value == 1.0
