"""Raw cells as the dtype that a program declares for their column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from recserve.errors import DataError
from recserve.scoring.cells import MISSING, Cell, valid
from recserve.scoring.numbers_as_text import number_text, parse_boolean, parse_number


def parse_cell(raw: Any, dtype: str) -> tuple[Cell, bool]:
    """A raw cell as a dtype, and whether it is there but is none of that dtype (the cell is missing then).

    Args:
        raw: str, float, int, bool, a NumPy scalar, or None. NaN is missing.
        dtype: `number`, `boolean` or `string`.

    Raises:
        DataError: it is of another type.
    """
    if isinstance(raw, np.generic):
        raw = raw.item()
    if raw is None or (isinstance(raw, float) and math.isnan(raw)):
        return MISSING, False
    if not isinstance(raw, str | int | float):
        raise DataError(
            f"a cell is {type(raw).__name__}, not str, float, int, bool or None", code="unsupported_cell_type"
        )
    value: Any
    if dtype == "string":
        value = _text_of(raw)
    elif dtype == "number":
        value = parse_number(raw) if isinstance(raw, str) else _float_of(raw)
    elif isinstance(raw, str):
        value = parse_boolean(raw)
    else:
        value = bool(raw) if raw in {0, 1} else None
    if isinstance(value, float) and math.isnan(value):
        return MISSING, False
    return valid(value), value is None


def _float_of(raw: float) -> float:
    try:
        return float(raw)
    except OverflowError:  # an int beyond 1e308
        return math.copysign(math.inf, raw)


def _text_of(raw: str | float) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return str(raw) if isinstance(raw, int) else number_text(raw)
