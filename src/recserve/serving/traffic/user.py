"""Whose call it is that runs here, for the calls whose body does not say."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

USER_HEADER: Final = b"x-user-id"
"""HTTP header, and gRPC metadata, with the id of the user."""

_current: Final[ContextVar[str | None]] = ContextVar("recserve_user", default=None)

current_user: Final = _current.get
"""The id of the user whose call runs here; None where nobody said."""


def enter_user(headers: Iterable[tuple[bytes | str, bytes | str]]) -> None:
    """Take the user of this task or thread from its headers or metadata."""
    for name, value in headers:
        if name in (USER_HEADER, "x-user-id"):
            _current.set(value if isinstance(value, str) else value.decode("latin-1"))
            return
    _current.set(None)
