"""Numbers and booleans as text, both ways."""

from __future__ import annotations

import math
import re
from typing import Final

_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(Infinity|Inf)|NaN", re.IGNORECASE | re.ASCII)
_JAVA_PLAIN: Final = (1e-3, 1e7)


def parse_number(text: str) -> float | None:
    """The number that a text is, spaces around it aside; None where it is none. `NaN` and `Infinity` are numbers."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def parse_boolean(text: str) -> bool | None:
    """True for `true` and `1`, False for `false` and `0`, in any case; else None."""
    return {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower())


def number_text(x: float, style: str = "shortest") -> str:
    """A number as text: `shortest` writes 2, `float` 2.0 as Python does, `java` as Double.toString (2.0, 1.0E10)."""
    if style != "java":
        if style == "shortest" and math.isfinite(x) and x == math.floor(x) and abs(x) < 1e16:
            return str(int(x))
        return repr(float(x))
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else ("Infinity" if x > 0 else "-Infinity")
    if x == 0.0 or _JAVA_PLAIN[0] <= abs(x) < _JAVA_PLAIN[1]:
        text = f"{x!r}"
        if "e" not in text:
            return text
        return f"{x:.20f}".rstrip("0")
    digits, _, exponent = f"{x!r}".partition("e")
    sign = "-" if digits.startswith("-") else ""
    whole, _, fraction = digits.lstrip("-").partition(".")
    scale = int(exponent or 0) + len(whole) - 1
    figures = (whole + fraction).rstrip("0")
    leading = len(figures) - len(figures.lstrip("0"))
    figures, scale = figures.lstrip("0"), scale - leading
    return f"{sign}{figures[0]}.{figures[1:] or '0'}E{scale}"
