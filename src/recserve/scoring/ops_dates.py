"""Ops on dates and on the order of texts. They run in Python, once for each distinct combination of arguments.

A date is a number: days since 1970-01-01; a time: seconds since midnight; a date-time: seconds since
1970-01-01T00:00, without a zone. The kinds `...Since[year]` count from the first of January of their year.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Any, Final

from recserve.scoring.cells import RowFailure
from recserve.scoring.op import define
from recserve.scoring.params import Param

Params = Mapping[str, Any]
_DAY: Final = 86_400.0
_SINCE: Final = re.compile(r"(dateDays|dateTimeSeconds)Since\[(0|1960|1970|1980)\]")
KINDS: Final = (
    "date",
    "time",
    "dateTime",
    "timeSeconds",
    *(f"{unit}Since[{year}]" for unit in ("dateDays", "dateTimeSeconds") for year in (0, 1960, 1970, 1980)),
)
_KIND: Final = Param("text", choices=KINDS)


def epoch_day(year: int) -> int:
    """Days from 1970-01-01 to the first of January of `year`; year 0 as astronomers count."""
    # Python knows no year 0; the Gregorian calendar repeats every 400 years of 146,097 days.
    return date(year, 1, 1).toordinal() - date(1970, 1, 1).toordinal() if year else epoch_day(400) - 146_097


def parse_date(text: str, kind: str) -> float:
    """An ISO 8601 text as the number of its kind.

    Raises:
        ValueError: it is none.
    """
    word = text.strip()
    if kind == "date":
        return float(_days(word))
    if kind in {"time", "timeSeconds"}:
        return _seconds_of_day(time.fromisoformat(word))
    if kind == "dateTime":
        return _seconds(word)
    found = _SINCE.fullmatch(kind)
    if found is None:
        raise ValueError(f"{kind!r} is no kind of dates")
    epoch = epoch_day(int(found[2]))
    return float(_days(word) - epoch) if found[1] == "dateDays" else _seconds(word) - _DAY * epoch


def _days(word: str) -> int:
    return date.fromisoformat(word).toordinal() - date(1970, 1, 1).toordinal()


def _seconds_of_day(value: time) -> float:
    return value.hour * 3600.0 + value.minute * 60.0 + value.second + value.microsecond / 1e6


def _seconds(word: str) -> float:
    value = datetime.fromisoformat(word)
    days = value.date().toordinal() - date(1970, 1, 1).toordinal()
    return _DAY * days + _seconds_of_day(value.time())


def moment(value: float, kind: str) -> datetime:
    """The date-time that a number stands for; a time is on 1970-01-01.

    Raises:
        ValueError, OverflowError: it is outside the years 1 to 9999.
    """
    found = _SINCE.fullmatch(kind)
    shift = epoch_day(int(found[2])) if found else 0
    is_days = kind == "date" or (found is not None and found[1] == "dateDays")
    seconds = (value + shift) * _DAY if is_days else value + shift * _DAY
    days = math.floor(seconds / _DAY)
    rest = seconds - days * _DAY
    clock = time(int(rest) // 3600, int(rest) // 60 % 60, int(rest) % 60)
    return datetime.combine(date.fromordinal(days + date(1970, 1, 1).toordinal()), clock)


@define("parse_date", "string", "number", params={"data_type": _KIND})
def parse(params: Params, text: str) -> float | None:
    """The number of an ISO 8601 text; missing where it is none."""
    try:
        return parse_date(text, params["data_type"])
    except ValueError:
        return None


@define("format_date", "number", "string", params={"data_type": _KIND})
def format_date(params: Params, value: float) -> str:
    """The ISO 8601 text of a date, a time or a date-time; the whole number of the other kinds.

    Raises:
        RowFailure: the number is outside the years 1 to 9999.
    """
    kind = params["data_type"]
    if kind not in {"date", "time", "dateTime"}:
        return str(int(value)) if math.isfinite(value) else repr(value)
    found = _moment(value, kind)
    if kind == "date":
        return found.date().isoformat()
    return found.time().isoformat() if kind == "time" else found.isoformat()


def _moment(value: float, kind: str) -> datetime:
    try:
        return moment(value, kind)
    except (ValueError, OverflowError):
        raise RowFailure(f"{value!r} is no {kind} between the years 1 and 9999") from None


_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip

_LETTERS: Final[dict[str, Callable[[datetime], str]]] = {
    "Y": lambda d: f"{d.year:04d}",
    "y": lambda d: f"{d.year % 100:02d}",
    "C": lambda d: f"{d.year // 100:02d}",
    "m": lambda d: f"{d.month:02d}",
    "d": lambda d: f"{d.day:02d}",
    "e": lambda d: f"{d.day}",
    "j": lambda d: f"{d.timetuple().tm_yday:03d}",
    "H": lambda d: f"{d.hour:02d}",
    "k": lambda d: f"{d.hour}",
    "I": lambda d: f"{(d.hour - 1) % 12 + 1:02d}",
    "l": lambda d: f"{(d.hour - 1) % 12 + 1}",
    "M": lambda d: f"{d.minute:02d}",
    "S": lambda d: f"{d.second:02d}",
    "p": lambda d: "AM" if d.hour < 12 else "PM",
    "A": lambda d: _DAYS[d.weekday()],
    "a": lambda d: _DAYS[d.weekday()][:3],
    "B": lambda d: _MONTHS[d.month - 1],
    "b": lambda d: _MONTHS[d.month - 1][:3],
    "h": lambda d: _MONTHS[d.month - 1][:3],
    "u": lambda d: f"{d.isoweekday()}",
    "w": lambda d: f"{d.isoweekday() % 7}",
    "D": lambda d: f"{d.month:02d}/{d.day:02d}/{d.year % 100:02d}",
    "F": lambda d: d.date().isoformat(),
    "T": lambda d: d.time().isoformat(),
    "R": lambda d: f"{d.hour:02d}:{d.minute:02d}",
    "%": lambda _: "%",
    "n": lambda _: "\n",
    "t": lambda _: "\t",
}
"""What each letter after `%` writes: C's strftime in English, whatever the machine's language is."""


@define("format_datetime", "number string", "string", params={"data_type": _KIND})
def format_datetime(params: Params, value: float, pattern: str) -> str:
    """A date or time in the pattern of C's strftime, in English.

    Raises:
        RowFailure: the pattern has a letter that is none, or the number is outside the years 1 to 9999.
    """
    found = _moment(value, params["data_type"])

    def write(match: re.Match[str]) -> str:
        letter = match[1]
        if letter not in _LETTERS:
            raise RowFailure(f"{pattern!r} has %{letter}, which is no part of a date")
        return _LETTERS[letter](found)

    return re.sub(r"%(.?)", write, pattern)


@define("compare_text", "string string", "number")
def compare_text(left: str, right: str) -> float:
    """-1, 0 or 1 as the first text is before, equal to or after the second, by code points."""
    return float((left > right) - (left < right))
