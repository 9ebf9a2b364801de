"""Texts as numbers: a program's own texts have fixed codes, those first met in a call get codes for that call."""

from __future__ import annotations

from typing import Any


class Codes:
    """Codes of texts, from 0. Those of a program never change once it runs; a call adds its own behind them.

    Args:
        base: codes to begin with; None for none. What is added to it later is not seen here.
    """

    def __init__(self, base: Codes | None = None) -> None:
        self._base = base
        self._start = 0 if base is None else len(base)
        self._texts: list[Any] = []
        self._own: dict[str, int] = {}

    def __len__(self) -> int:
        """Number of codes."""
        return self._start + len(self._texts)

    @property
    def known(self) -> dict[str, int]:
        """Codes by text, of all but the base."""
        return self._own

    def find(self, value: str) -> int | None:
        """The code of a text that has one."""
        found = self._own.get(value)
        if found is None and self._base is not None:
            found = self._base.find(value)
            return found if found is not None and found < self._start else None
        return found

    def code(self, value: Any) -> int:
        """The code of a text; a tuple gets a new one each time."""
        found = self.find(value) if type(value) is str else None
        if found is None:
            found = len(self)
            self._texts.append(value)
            if type(value) is str:
                self._own[value] = found
        return found

    def text(self, code: int) -> Any:
        """The text, or the tuple, of a code."""
        if self._base is not None and code < self._start:
            return self._base.text(code)
        return self._texts[code - self._start]
