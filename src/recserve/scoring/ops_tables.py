"""Ops that look things up: key tables, intervals, piecewise linear functions, vectors by number; and casts."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from recserve.scoring.cells import Cell, DType, RowFailure, merged, valid
from recserve.scoring.numbers_as_text import number_text, parse_boolean, parse_number
from recserve.scoring.op import define, numbers, of_dtype
from recserve.scoring.params import Param

Params = Mapping[str, Any]


def dtype_of(value: Any) -> DType:
    """The dtype of a parameter's value that is not None."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _wrong_value(params: Params, dtype: str, names: Sequence[str]) -> str | None:
    for name in names:
        found = params[name]
        for value in found if isinstance(found, tuple) else (found,):
            if value is not None and dtype_of(value) != dtype:
                return f"{value!r} in {name!r} is no {dtype}"
    return None


def _check_values(dtypes: Sequence[DType], params: Params) -> str | None:  # noqa: ARG001
    return _wrong_value(params, params["dtype"], ("values",))


RESULT = {"dtype": Param("text", "number", ("number", "string", "boolean"))}


@define("isin", "any", "boolean", params={"values": Param("values")})
def isin(params: Params, x: Any) -> bool:
    """Whether a value is one of `values`."""
    return any(dtype_of(value) == dtype_of(x) and value == x for value in params["values"])


def _check_lookup(dtypes: Sequence[DType], params: Params) -> str | None:
    keys, values = params["keys"], params["values"]
    if len(keys) != len(values):
        return f"{len(keys)} keys for {len(values)} values"
    for key in keys:
        if len(key) != len(dtypes):
            return f"key {key!r} has {len(key)} parts for {len(dtypes)} arguments"
        for part, dtype in zip(key, dtypes, strict=True):
            if part is None or dtype_of(part) != dtype:
                return f"{part!r} in 'keys' is no {dtype}"
    return _wrong_value(params, params["dtype"], ("values", "default", "missing"))


@define(
    "lookup",
    "any any*",
    of_dtype,
    params={
        "keys": Param("rows"),
        "values": Param("values"),
        "default": Param("value", None),
        "missing": Param("value", None),
        **RESULT,
    },
    is_strict=False,
    check=_check_lookup,
)
def lookup(params: Params, *cells: Cell) -> Cell:
    """The value of the first key equal to all arguments; `default` for none; `missing` where an argument is missing."""
    problem = merged(cells)
    if problem is not None:
        return problem if problem.is_failed else valid(params["missing"])
    wanted = tuple(cell.value for cell in cells)
    for key, value in zip(params["keys"], params["values"], strict=True):
        if key == wanted:
            return valid(value)
    return valid(params["default"])


def _check_discretize(dtypes: Sequence[DType], params: Params) -> str | None:  # noqa: ARG001
    intervals, values = params["intervals"], params["values"]
    if len(intervals) != len(values):
        return f"{len(intervals)} intervals for {len(values)} values"
    for interval in intervals:
        kinds = [type(part) for part in interval]
        if len(kinds) != 4 or kinds[2:] != [bool, bool] or not set(kinds[:2]) <= {float, type(None)}:
            return f"interval {interval!r} is not (low or None, high or None, low is closed, high is closed)"
    return _wrong_value(params, params["dtype"], ("values", "default"))


@define(
    "discretize",
    "number",
    of_dtype,
    params={"intervals": Param("rows"), "values": Param("values"), "default": Param("value", None), **RESULT},
    check=_check_discretize,
)
def discretize(params: Params, x: float) -> Any:
    """The value of the first interval with x; `intervals` are (low or None, high or None, low closed, high closed)."""
    for (low, high, low_closed, high_closed), value in zip(params["intervals"], params["values"], strict=True):
        above = low is None or x > low or (low_closed and x == low)
        below = high is None or x < high or (high_closed and x == high)
        if above and below and not math.isnan(x):
            return value
    return params["default"]


def _check_points(dtypes: Sequence[DType], params: Params) -> str | None:  # noqa: ARG001
    xs, ys = params["xs"], params["ys"]
    if len(xs) != len(ys) or len(xs) < 2:
        return f"{len(xs)} xs and {len(ys)} ys; it needs as many of each, and two at least"
    if any(not a <= b for a, b in pairwise(xs)):
        return "'xs' is not in ascending order"
    return None


@define(
    "piecewise",
    "number",
    "number",
    params={
        "xs": Param("numbers"),
        "ys": Param("numbers"),
        "outside": Param("text", "extrapolate", ("extrapolate", "clamp", "missing")),
    },
    check=_check_points,
)
def piecewise(params: Params, x: float) -> float | None:
    """Linear between points: y0 + (x - x0) / (x1 - x0) · (y1 - y0), of the last points with x0 <= x."""
    xs, ys = params["xs"].tolist(), params["ys"].tolist()
    if math.isnan(x):
        return x
    if x < xs[0] or x > xs[-1]:
        if params["outside"] == "missing":
            return None
        if params["outside"] == "clamp":
            return float(ys[0] if x < xs[0] else ys[-1])
    i = min(max(bisect_right(xs, x) - 1, 0), len(xs) - 2)
    if xs[i + 1] == xs[i]:
        return float(ys[i + 1])
    return float(ys[i] + (x - xs[i]) / (xs[i + 1] - xs[i]) * (ys[i + 1] - ys[i]))


@define(
    "gather",
    "number",
    numbers(lambda params: params["table"].shape[1]),
    params={"table": Param("matrix")},
    has_many=True,
)
def gather(params: Params, index: float) -> tuple[float | None, ...]:
    """Row number `index` (from 0) of a table, one result a column; missing where there is no such row."""
    table = params["table"]
    if not 0.0 <= index < len(table):
        return (None,) * int(table.shape[1])
    row: list[float] = table[int(index)].tolist()
    return tuple(None if math.isnan(x) else x for x in row)


@define(
    "pick",
    "number",
    of_dtype,
    params={"values": Param("values"), **RESULT},
    check=_check_values,
)
def pick(params: Params, index: float) -> Any:
    """Value number `index` (from 0) of a list; missing where there is none, or it is None."""
    return params["values"][int(index)] if 0.0 <= index < len(params["values"]) else None


@define(
    "one_hot",
    "any",
    numbers(lambda params: len(params["values"])),
    params={"values": Param("values")},
    has_many=True,
)
def one_hot(params: Params, x: Any) -> tuple[float, ...]:
    """1.0 for each of `values` that the argument equals, else 0.0: one result a value."""
    return tuple(float(dtype_of(value) == dtype_of(x) and value == x) for value in params["values"])


@define(
    "number_to_string", "number", "string", params={"style": Param("text", "shortest", ("shortest", "float", "java"))}
)
def number_to_string(params: Params, x: float) -> str:
    """A number as text: `shortest` writes 2, `float` 2.0 (Python), `java` 2.0 and 1.0E10 (Double.toString)."""
    return number_text(x, params["style"])


@define("string_to_number", "string", "number", params={"message": Param("value", None)})
def string_to_number(params: Params, text: str) -> float | None:
    """The number that a text is; where it is none: missing, or a failure with `message`."""
    number = parse_number(text)
    if number is None and params["message"] is not None:
        raise RowFailure(str(params["message"]))
    return number


@define("boolean_to_number", "boolean", "number")
def boolean_to_number(x: bool) -> float:
    """1.0 or 0.0."""
    return float(x)


@define("number_to_boolean", "number", "boolean")
def number_to_boolean(x: float) -> bool:
    """Whether it is not 0; NaN is true."""
    return x != 0.0


@define("boolean_to_string", "boolean", "string")
def boolean_to_string(x: bool) -> str:
    """`true` or `false`."""
    return "true" if x else "false"


@define("string_to_boolean", "string", "boolean")
def string_to_boolean(text: str) -> bool | None:
    """`true` and `1`, `false` and `0` in any case; else missing."""
    return parse_boolean(text)


@define("nan_to_missing", "number", "number")
def nan_to_missing(x: float) -> float | None:
    """Missing for NaN."""
    return None if math.isnan(x) else x


@define("missing_to_nan", "number", "number", is_strict=False)
def missing_to_nan(x: Cell) -> Cell:
    """NaN, a valid value, for missing."""
    return valid(math.nan) if x.is_missing else x
