"""The users that a server keeps, so that a request may name one and need not bring its columns.

One SQLite file, which the workers of a server share: what one of them acknowledges, all of them see, and a crash of the
process loses nothing of it. A look-up takes some 10 µs.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from recserve.errors import ConfigError, DataError, OverloadedError, RequestError

UserId = str | int
FILE: Final = "users.sqlite"
MAX_BYTES: Final = 4 << 30
MAX_ID_LENGTH: Final = 512
_PAGE_BYTES: Final = 4096
_WAIT_S: Final = 5.0
"""Seconds that a change waits for another worker's."""


class UsersFullError(OverloadedError):
    """The store has no room for more users."""

    default_code = "users_full"


class UserStore:
    """Columns by user id. Threads and processes may share it; each thread has a connection of its own.

    Args:
        directory: of the store's file; made where it is missing.
        max_bytes: that the file may grow to.

    Raises:
        ConfigError: the directory cannot be written, or the file is no store.
    """

    def __init__(self, directory: str | Path, max_bytes: int = MAX_BYTES) -> None:
        self._file = Path(directory) / FILE
        self._max_pages = max(16, max_bytes // _PAGE_BYTES)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._opened: list[sqlite3.Connection] = []
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            connection = self._connection()
            connection.execute("CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, columns BLOB) WITHOUT ROWID")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the users cannot be kept: {error}", where=str(self._file), hint="Give a directory that is writable."
            ) from None

    def get(self, user_id: UserId) -> dict[str, Any] | None:
        """The columns of a user; None where there is none."""
        row = self._connection().execute("SELECT columns FROM users WHERE id = ?", (key_of(user_id),)).fetchone()
        if row is None:
            return None
        columns: dict[str, Any] = orjson.loads(row[0])
        return columns

    def upsert(self, users: Mapping[UserId, Mapping[str, Any]]) -> None:
        """Insert or replace users, all of them or none.

        Raises:
            DataError: an id is empty or too long.
            UsersFullError: there is no room.
        """
        rows = [(key_of(user_id), orjson.dumps(columns)) for user_id, columns in users.items()]
        connection = self._connection()
        try:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO users VALUES (?, ?)", rows)
        except sqlite3.OperationalError as error:
            raise UsersFullError(
                f"{len(rows)} users could not be kept: {error}", hint="Delete users, or raise --users-max-bytes."
            ) from None

    def delete(self, user_id: UserId) -> bool:
        """Forget a user; False where there is none."""
        connection = self._connection()
        with connection:
            return connection.execute("DELETE FROM users WHERE id = ?", (key_of(user_id),)).rowcount > 0

    def __len__(self) -> int:
        count: int = self._connection().execute("SELECT COUNT(*) FROM users").fetchone()[0]
        return count

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # `close` may come from another thread; otherwise each thread uses its own.
            connection = sqlite3.connect(self._file, timeout=_WAIT_S, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
            with self._lock:
                self._opened.append(connection)
            self._local.connection = connection
        return connection


def key_of(user_id: UserId) -> str:
    """The id as the store has it. A text and an integer of the same digits are two users.

    Raises:
        DataError: empty or too long.
    """
    if isinstance(user_id, int):
        return f"i{user_id}"
    if not 0 < len(user_id) <= MAX_ID_LENGTH:
        raise DataError(f"a user id has {len(user_id)} characters", hint=f"Give 1 to {MAX_ID_LENGTH}.")
    return f"s{user_id}"


def no_users() -> RequestError:
    """What to tell a caller who names a user to a server that keeps none."""
    return RequestError(
        "this server keeps no users", code="no_users", where="$.user_id", hint="Start it with --users DIR."
    )
