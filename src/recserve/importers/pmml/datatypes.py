"""PMML's data types: what the scoring core holds for each, and how a text of the document becomes a value.

Dates are numbers: days since 1970-01-01, times seconds since midnight, date-times seconds since 1970-01-01T00:00; the
`...Since[year]` types count from their own epoch.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time
from typing import Final

NUMBERS: Final = ("integer", "float", "double")
_SINCE: Final = re.compile(r"(dateDays|dateTimeSeconds)Since\[(0|1960|1970|1980)\]")
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?[dDfF]?")
_SPECIAL: Final = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}

DATA_TYPES: Final = (
    *NUMBERS,
    "boolean",
    "string",
    "date",
    "time",
    "dateTime",
    "timeSeconds",
    *(f"{unit}Since[{year}]" for unit in ("dateDays", "dateTimeSeconds") for year in ("0", "1960", "1970", "1980")),
)


def dtype_of(data_type: str) -> str:
    """What the scoring core holds: "number", "boolean" or "string"."""
    return data_type if data_type in ("boolean", "string") else "number"


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
    return value


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


def epoch_day(year: int) -> int:
    """Days from 1970-01-01 to the first of January of `year`; year 0 as astronomers count."""
    # Python knows no year 0; the Gregorian calendar repeats every 400 years of 146,097 days.
    return date(year, 1, 1).toordinal() - date(1970, 1, 1).toordinal() if year else epoch_day(400) - 146_097


def parse_date(text: str, data_type: str) -> float:
    """An ISO 8601 text as the type's number.

    Raises:
        ValueError: it is none.
    """
    word = text.strip()
    if data_type == "date":
        return float(_days(word))
    if data_type in ("time", "timeSeconds"):
        return _seconds_of_day(time.fromisoformat(word))
    if data_type == "dateTime":
        return _seconds(word)
    found = _SINCE.fullmatch(data_type)
    if found is None:
        raise ValueError(f"{data_type!r} is no type of dates")
    epoch = epoch_day(int(found[2]))
    return float(_days(word) - epoch) if found[1] == "dateDays" else _seconds(word) - 86_400.0 * epoch


def _days(word: str) -> int:
    return date.fromisoformat(word).toordinal() - date(1970, 1, 1).toordinal()


def _seconds_of_day(value: time) -> float:
    return value.hour * 3600.0 + value.minute * 60.0 + value.second + value.microsecond / 1e6


def _seconds(word: str) -> float:
    value = datetime.fromisoformat(word)
    days = value.date().toordinal() - date(1970, 1, 1).toordinal()
    return 86_400.0 * days + _seconds_of_day(value.time())


def format_date(value: float, data_type: str) -> str:
    """The ISO 8601 text of a date, a time or a date-time; the plain number of the other types."""
    if data_type == "date":
        return date.fromordinal(int(value) + date(1970, 1, 1).toordinal()).isoformat()
    if data_type == "time":
        return _clock(value)
    if data_type == "dateTime":
        days = math.floor(value / 86_400.0)
        return f"{format_date(days, 'date')}T{_clock(value - 86_400.0 * days)}"
    return str(int(value))


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def format_number(value: float, data_type: str) -> str:
    """A number as text: whole numbers of `integer` bare, others as Java writes them (1.0, 1.5E10)."""
    if data_type == "integer" and math.isfinite(value):
        return str(int(value))
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if value != 0.0 and not 1e-3 <= abs(value) < 1e7:
        digits, _, exponent = f"{value!r}".partition("e")
        if not exponent:  # Java turns to exponents earlier than Python
            digits, _, exponent = _scientific(value).partition("e")
        return f"{digits if '.' in digits else digits + '.0'}E{int(exponent)}"
    return repr(float(value))


def _scientific(value: float) -> str:
    """The shortest digits that give the number back, with an exponent."""
    return next(text for text in (f"{value:.{digits}e}" for digits in range(17)) if float(text) == value)
