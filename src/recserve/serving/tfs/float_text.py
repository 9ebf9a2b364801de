"""Numbers as TensorFlow Serving writes them.

A float is written with six digits (`%g`) if that text reads back as the same value, and else with as many as its type
can need (9 for float32, 17 for float64). A whole number without exponent gets `.0`; what is not finite is a token.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recserve.serving.json_tensors.written import write_rows

SHORT_DIGITS: Final = 6
_FULL_DIGITS: Final = {np.dtype(np.float32): 9, np.dtype(np.float64): 17}


def double_text(value: float) -> str:
    """The text of one float64."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if float(text) != value:
        text = f"{value:.17g}"
    return text if "." in text or "e" in text else f"{text}.0"


def float_texts(values: NDArray[Any]) -> list[str]:
    """The texts of an array.

    Args:
        values: float32[n] or float64[n].

    Returns:
        One text for each value.
    """
    if not values.size:
        return []
    text = write_rows({b"": values}, separator="\n")
    return exact_texts(values) if text is None else text.decode("ascii").split("\n")


def exact_texts(values: NDArray[Any]) -> list[str]:
    """The texts of an array by the C library's formatting, as `double_text` makes them one by one."""
    texts = _format(values.tolist(), SHORT_DIGITS)
    with np.errstate(over="ignore"):
        read_back = np.array(list(map(float, texts)), np.float64).astype(values.dtype)
    places = np.flatnonzero((read_back != values) & np.isfinite(values))
    full = _format(values[places].tolist(), _FULL_DIGITS[values.dtype])
    for place, text in zip(places.tolist(), full, strict=True):
        texts[place] = text
    return [_finish(text) for text in texts]


def _format(values: list[float], digits: int) -> list[str]:
    """`%.{digits}g` of each value, in one call."""
    return (f"%.{digits}g\n" * len(values) % tuple(values)).split()


def _finish(text: str) -> str:
    if "." in text or "e" in text:
        return text
    match text:
        case "nan" | "-nan":
            return "NaN"
        case "inf":
            return "Infinity"
        case "-inf":
            return "-Infinity"
    return f"{text}.0"
