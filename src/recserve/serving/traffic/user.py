"""Whose call it is that runs here, for the calls whose body does not say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final

USER_HEADER: Final = b"x-user-id"
"""HTTP header, and gRPC metadata, with the id of the user."""
USER_COLUMN: Final = "user_id"
"""User column of rank calls with the id."""

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


def user_of(user: Mapping[str, Any]) -> str | None:
    """The id among the user columns of a rank call; None where there is none."""
    value = user.get(USER_COLUMN)
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return None if value is None else str(value)
