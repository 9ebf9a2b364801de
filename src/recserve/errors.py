"""Every error of recserve: one tree, by who can mend it.

    RecserveError
    ├── ConfigError        the author of a config, model or bundle     (at load or build)
    │   └── BundleError    whoever copied or changed a bundle          (at open)
    ├── RequestError       the caller                                  (at each call)
    │   └── DataError      the caller: a column or a cell of the input
    │       └── CellError  the caller: one cell of a feature's input
    ├── NotFoundError      the caller: no such model, version or route
    ├── OverloadedError    nobody; try again later
    └── InvariantError     us: a bug in recserve

Each error carries a stable `code` for programs, and for people a place, the problem with the offending value, and a
hint. Only the transports know about statuses.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RecserveError(Exception):
    """Base of all errors.

    Attributes:
        code: stable identifier for programs, in snake_case.
        where: the place: a file, a feature, a JSON path; None where there is none.
        problem: what is wrong, with the value.
        hint: how to mend it, or None.
    """

    default_code = "internal"

    def __init__(
        self, problem: str, *, code: str | None = None, where: str | None = None, hint: str | None = None
    ) -> None:
        self.code = code or self.default_code
        self.where = where
        self.problem = problem
        self.hint = hint
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text.removesuffix('.')}. {self.hint}" if self.hint else text

    def at(self, where: str) -> RecserveError:
        """The same error with an outer place in front: `feature 'a'` becomes `features.json: feature 'a'`."""
        self.where = f"{where}: {self.where}" if self.where else where
        self.args = (self._text(),)
        return self


class ConfigError(RecserveError):
    """A config, a model or a bundle is wrong; its author can mend it. Raised at load or build, never while serving."""

    default_code = "invalid_config"


class BundleError(ConfigError):
    """A bundle is damaged, incomplete, tampered with or of another format version."""

    default_code = "invalid_bundle"


class RequestError(RecserveError):
    """A call is wrong; the caller can mend it."""

    default_code = "invalid_request"


class DataError(RequestError):
    """A column or cell of the input is wrong."""

    default_code = "invalid_data"


class CellError(DataError):
    """One cell of a batch is wrong; knows its place, so that who cut the batch can tell the caller's own row.

    Attributes:
        feature: that reads the cell, or "".
        column: that holds it, or "" where several do.
        row: of the batch; None where unknown.
        step: within the row's sequence; None outside sequences.
    """

    def __init__(
        self,
        problem: str,
        *,
        feature: str = "",
        column: str = "",
        row: int | None = None,
        step: int | None = None,
        code: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.feature, self.column, self.row, self.step = feature, column, row, step
        super().__init__(problem, code=code, where=self._place("row"), hint=hint)

    def _place(self, word: str) -> str | None:
        place = [f"feature {self.feature!r}"] if self.feature else []
        place += [f"column {self.column!r}"] if self.column else []
        place += [f"{word} {self.row}"] if self.row is not None else []
        place += [f"step {self.step}"] if self.step is not None else []
        return ", ".join(place) or None

    def shift(self, rows: int, word: str = "row") -> CellError:
        """The same error, of a batch that began `rows` rows into the caller's, whose rows are called `word`."""
        self.row = None if self.row is None else self.row + rows
        self.where = self._place(word)
        self.args = (self._text(),)
        return self


class NotFoundError(RequestError):
    """There is no such model, version or route."""

    default_code = "not_found"


class OverloadedError(RecserveError):
    """The server has more work than it can do in time; try again later."""

    default_code = "overloaded"


class InvariantError(RecserveError):
    """A bug in recserve."""

    default_code = "internal"


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The hint `Did you mean 'x'?` for the known word nearest to `word`, or None where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else None
