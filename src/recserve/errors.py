"""Every error of recserve: one tree, by who can mend it.

    RecserveError
    ├── ConfigError        the author of a config, model or bundle     (at load or build)
    │   └── BundleError    whoever copied or changed a bundle          (at open)
    ├── RequestError       the caller                                  (at each call)
    │   └── DataError      the caller: a column or a cell of the input
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
        return f"{text}. {self.hint}" if self.hint else text

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
