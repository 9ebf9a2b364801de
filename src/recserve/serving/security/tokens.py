"""The tokens that a server knows: read from files or the environment, kept as digests, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recserve.errors import ConfigError, suggest

MIN_TOKEN_BYTES: Final = 16
_SOURCES: Final = ("file", "env", "sha256")


class Tokens:
    """Digest of each token, by the token's name.

    Args:
        digests: name → SHA-256 digests; several while a token is replaced by a new one.

    Attributes:
        digests: (name, digest) of each.
    """

    def __init__(self, digests: Mapping[str, tuple[bytes, ...]]) -> None:
        self.digests = [(name, digest) for name, found in digests.items() for digest in found]

    def name_of(self, token: bytes) -> str | None:
        """The name of a token that a caller shows, or None. Takes the same time whatever the token is."""
        shown = hashlib.sha256(token).digest()
        found = None
        for name, digest in self.digests:  # all of them, so that the time tells nothing
            if hmac.compare_digest(digest, shown):
                found = name
        return found


def read_tokens(table: Mapping[str, Any], environment: Mapping[str, str], where: str) -> Tokens:
    """The tokens of the table `tokens` of an access file.

    Each is `{"file": path}`, with one token a line, `{"env": variable}`, or `{"sha256": hexadecimal digest}`.

    Raises:
        ConfigError: a source is unknown or cannot be read, or a token is too short to be one.
    """
    return Tokens({name: _read_token(source, environment, f"{where}: tokens.{name}") for name, source in table.items()})


def _read_token(source: Any, environment: Mapping[str, str], where: str) -> tuple[bytes, ...]:
    if not isinstance(source, Mapping) or len(source) != 1:
        raise ConfigError(
            f"expected one of {', '.join(_SOURCES)}, got {source!r:.80}", where=where, hint='Write {"env": "VARIABLE"}.'
        )
    kind, value = next(iter(source.items()))
    if kind not in _SOURCES:
        raise ConfigError(
            f"there is no source {kind!r}", where=where, hint=suggest(kind, _SOURCES) or f"Sources: {_SOURCES}."
        )
    if not isinstance(value, str):
        raise ConfigError(f"expected a text for {kind!r}, got {value!r:.80}", where=where)
    if kind == "sha256":
        return (_read_digest(value, where),)
    texts = _read_file(value, where) if kind == "file" else [environment.get(value, "")]
    tokens = [text.strip() for text in texts if text.strip()]
    if not tokens:
        raise ConfigError(f"{kind} {value!r} holds no token", where=where)
    if short := [token for token in tokens if len(token.encode()) < MIN_TOKEN_BYTES]:
        raise ConfigError(
            f"a token has {len(short[0].encode())} bytes",
            where=where,
            hint=f"Take at least {MIN_TOKEN_BYTES} random ones, such as of `openssl rand -hex 32`.",
        )
    return tuple(hashlib.sha256(token.encode()).digest() for token in tokens)


def _read_digest(text: str, where: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ConfigError("expected 64 hexadecimal digits", where=where, hint="Take those of `sha256sum`.")
    return digest


def _read_file(path: str, where: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file cannot be read: {error}", where=where) from None
