"""Parameters of ops: what an importer may pass, in one canonical, immutable form that can be compared and stored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recserve.errors import ConfigError, suggest

REQUIRED: Final = object()
"""Default of a parameter that must be given."""

ARRAYS: Final[dict[str, tuple[str, int]]] = {
    "numbers": ("float64", 1),
    "matrix": ("float64", 2),
    "integers": ("int64", 1),
}
"""Kinds that are arrays: (dtype, axes)."""


@dataclass(frozen=True)
class Param:
    """One parameter.

    Attributes:
        kind: `number` (float), `integer`, `flag`, `text`, `value` (float, bool, str or None), `values` (tuple of
            those), `rows` (tuple of such tuples), or one of `ARRAYS`.
        default: taken where it is left out; `REQUIRED` for none.
        choices: the texts allowed; empty for all.
    """

    kind: str
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()


def canonical_value(value: Any) -> Any:
    """A float, bool, str or None; None for NaN.

    Raises:
        TypeError: it is something else.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.integer | np.floating):
        number = float(value)
        return None if math.isnan(number) else number
    raise TypeError(f"{value!r} is no number, boolean or text")


def canonical(param: Param, value: Any) -> Any:
    """A parameter's value in its canonical form.

    Raises:
        TypeError, ValueError, OverflowError: it is not of the kind.
    """
    if param.kind in ARRAYS:
        dtype, axes = ARRAYS[param.kind]
        array = np.array(value, dtype=dtype, order="C")
        if array.ndim != axes:
            raise ValueError(f"has {array.ndim} axes, not {axes}")
        array.setflags(write=False)
        return array
    if param.kind == "values":
        return tuple(canonical_value(item) for item in value)
    if param.kind == "rows":
        return tuple(tuple(canonical_value(item) for item in row) for row in value)
    if param.kind == "value":
        return canonical_value(value)
    if param.kind == "flag" and not isinstance(value, bool | np.bool_):
        raise TypeError(f"{value!r} is neither True nor False")
    if param.kind == "text" and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    if param.choices and value not in param.choices:
        raise ValueError(f"{value!r} is none of {', '.join(param.choices)}")
    kinds: dict[str, Any] = {"number": float, "integer": int, "flag": bool, "text": str}
    return kinds[param.kind](value)


def check_params(op: str, known: Mapping[str, Param], given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of an op, in canonical form and in the order of `known`.

    Raises:
        ConfigError: one is unknown, absent or of the wrong kind.
    """
    for name in given:
        if name not in known:
            raise ConfigError(f"op {op!r} has no parameter {name!r}", hint=suggest(name, known))
    checked: dict[str, Any] = {}
    for name, param in known.items():
        value = given.get(name, param.default)
        if value is REQUIRED:
            raise ConfigError(f"op {op!r} needs parameter {name!r}")
        if value is None:
            if param.kind != "value" and param.default is not None:
                raise ConfigError(f"parameter {name!r} of op {op!r} must not be None")
            checked[name] = None
            continue
        try:
            checked[name] = canonical(param, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"parameter {name!r} of op {op!r}: {error}") from None
    return checked


def identity(params: Mapping[str, Any]) -> tuple[Any, ...]:
    """A key that is equal for equal parameters only: NaN equals NaN, 0.0 is not -0.0, and 1.0 is not True."""
    parts: list[Any] = []
    for name, value in params.items():
        if isinstance(value, np.ndarray):
            parts.append((name, value.dtype.str, value.shape, value.tobytes()))
        else:
            parts.append((name, json.dumps(value)))
    return tuple(parts)
