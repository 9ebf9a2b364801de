"""Texts as numbers: a program's own texts have fixed codes, those first met in a call get codes for that call."""

from __future__ import annotations

from typing import Any


class Codes:
    """Codes of texts, from 0. Those of a program never change once it runs; a call adds its own behind them.

    Args:
        base: codes to begin with; None for none. It must not grow any more.
    """

    def __init__(self, base: Codes | None = None) -> None:
        self._base: dict[str, int] = {} if base is None else base._own
        self._start = 0 if base is None else len(base)
        self._texts: list[Any] = []
        self._own: dict[str, int] = {}
        self._base_texts: list[Any] = [] if base is None else base._texts

    def __len__(self) -> int:
        """Number of codes."""
        return self._start + len(self._texts)

    @property
    def known(self) -> dict[str, int]:
        """Codes by text, of all but the base."""
        return self._own

    def code(self, value: Any) -> int:
        """The code of a text; a tuple gets a new one each time."""
        if type(value) is not str:
            self._texts.append(value)
            return len(self) - 1
        found = self._base.get(value)
        if found is None:
            found = self._own.get(value)
        if found is None:
            found = self._own[value] = len(self)
            self._texts.append(value)
        return found

    def text(self, code: int) -> Any:
        """The text, or the tuple, of a code."""
        return self._base_texts[code] if code < self._start else self._texts[code - self._start]
