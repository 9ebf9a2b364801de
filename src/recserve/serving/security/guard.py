"""Whether a caller may do what it asks: its token, looked up, and the rules.

The access file is JSON or TOML:

    {"tokens": {"reader": {"env": "READER_TOKEN"}, "admin": {"file": "/run/secrets/admin"}},
     "rules": [{"kinds": ["health"], "tokens": ["*"]},
               {"kinds": ["admin"], "tokens": ["admin"]},
               {"models": ["rank*"], "tokens": ["reader", "admin"]}]}

The first rule that fits a call decides; what no rule fits is refused.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from recserve.errors import ConfigError, RecserveError, suggest
from recserve.serving.refusals import ForbiddenError, UnauthenticatedError
from recserve.serving.security.rules import Rule, read_rules
from recserve.serving.security.targets import Target
from recserve.serving.security.tokens import Tokens, read_tokens

_SECTIONS: Final = ("tokens", "rules")
_HINT: Final = "Send the header Authorization: Bearer TOKEN."


class Guard:
    """Admits or refuses calls. Threads may share it.

    Args:
        tokens: that the server knows.
        rules: of which the first that fits decides.
    """

    def __init__(self, tokens: Tokens, rules: tuple[Rule, ...]) -> None:
        self._tokens, self._rules = tokens, rules

    def admit(self, protocol: str, target: Target, authorization: str) -> Callable[[str], None]:
        """Let a call pass, or refuse it.

        Args:
            protocol: dialect of the port.
            target: what the call asks for.
            authorization: value of the header `Authorization`; empty for none.

        Returns:
            what checks a model that the call turns out to ask, and raises as this does.

        Raises:
            UnauthenticatedError: the caller shows no token, and one would do; or a token that is not known.
            ForbiddenError: the token is known, and does not allow this.
        """
        token = self._token_of(authorization)
        rules = [rule for rule in self._rules if rule.fits(protocol, target.kind)]
        what = f"{target.kind} calls"

        def check(model: str) -> None:
            rule = next((rule for rule in rules if rule.fits_model(model)), None)
            if rule is None or not rule.admits(token):
                raise _refusal(f"{what} of model {model!r}" if model else what, token)

        if not target.names_later:
            check(target.model)
        elif not any(rule.admits(token) for rule in rules):
            raise _refusal(what, token)
        return check

    def _token_of(self, authorization: str) -> str | None:
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        name = self._tokens.name_of(token.strip().encode()) if scheme.lower() == "bearer" else None
        if name is None:
            raise UnauthenticatedError("the token is not known", where="header authorization", hint=_HINT)
        return name


def read_guard(
    path: str | Path, protocols: list[str], environment: Mapping[str, str] = os.environ
) -> tuple[Guard, object]:
    """The guard of an access file, JSON or TOML by its ending; and what equals that of another one that says the same.

    Args:
        path: of the file.
        protocols: names that rules may name.
        environment: where tokens may be.

    Raises:
        ConfigError: the file cannot be read, or is wrong.
    """
    file = Path(path)
    document = _read_document(file)
    for name in document:
        if name not in _SECTIONS:
            raise ConfigError(
                f"unknown section {name!r}",
                where=str(file),
                hint=suggest(name, _SECTIONS) or f"Sections: {', '.join(_SECTIONS)}.",
            )
    table = document.get("tokens", {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"expected a table, got {table!r:.80}", where=f"{file}: tokens")
    if not document.get("rules"):
        raise ConfigError("no rules", where=str(file), hint='Without one, nobody may call: add {"tokens": [...]}.')
    rules = read_rules(document["rules"], list(table), protocols, str(file))
    tokens = read_tokens(table, environment, str(file))
    return Guard(tokens, rules), (tokens.digests, rules)


def _read_document(file: Path) -> dict[str, Any]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"the access file cannot be read: {error}", where=str(file)) from None
    try:
        document = tomllib.loads(content.decode()) if file.suffix == ".toml" else orjson.loads(content)
    except ValueError as error:
        raise ConfigError(f"the access file is neither JSON nor TOML: {error}", where=str(file)) from None
    if not isinstance(document, dict):
        raise ConfigError("expected an object", where=str(file), hint=f"Sections: {', '.join(_SECTIONS)}.")
    return document


def _refusal(what: str, token: str | None) -> RecserveError:
    if token is None:
        return UnauthenticatedError(f"{what} need a token", where="header authorization", hint=_HINT)
    return ForbiddenError(f"token {token!r} does not allow {what}")
