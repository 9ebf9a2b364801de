"""Which tokens open which calls: the rules of an access file, of which the first that fits a call decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from recserve.errors import ConfigError, suggest
from recserve.serving.security.targets import KINDS

ANYBODY: Final = "*"
"""In a rule's tokens: callers without a token, too."""

_FIELDS: Final = ("protocols", "kinds", "models", "tokens")


@dataclass(frozen=True)
class Rule:
    """Who may call what it fits. Empty sequences of the first three fit everything.

    Attributes:
        protocols: dialects of ports.
        kinds: kinds of calls, see `targets.Kind`.
        models: patterns of model names (`*`, `?`, `[a-z]`).
        tokens: names of tokens, any of which will do; `*` for no token at all; empty for nobody.
    """

    protocols: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()

    def fits(self, protocol: str, kind: str) -> bool:
        """Whether the rule is about these calls, for some model at least."""
        return (not self.protocols or protocol in self.protocols) and (not self.kinds or kind in self.kinds)

    def fits_model(self, model: str) -> bool:
        """Whether the rule is about the model."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)

    def admits(self, token: str | None) -> bool:
        """Whether a caller with that token, or None, may go on."""
        return ANYBODY in self.tokens or token in self.tokens


def read_rules(rows: Any, tokens: Sequence[str], protocols: Sequence[str], where: str) -> tuple[Rule, ...]:
    """The rules of the list `rules` of an access file.

    Args:
        rows: the list.
        tokens: names of the known tokens.
        protocols: names of the known protocols.
        where: the file.

    Raises:
        ConfigError: no list of tables, an unknown field, or a name that nothing has.
    """
    if not isinstance(rows, list):
        raise ConfigError(f"expected a list of tables, got {rows!r:.80}", where=f"{where}: rules")
    known = {"protocols": protocols, "kinds": KINDS, "tokens": (*tokens, ANYBODY)}
    return tuple(_read_rule(row, known, f"{where}: rules[{n}]") for n, row in enumerate(rows))


def _read_rule(row: Any, known: Mapping[str, Sequence[str]], where: str) -> Rule:
    if not isinstance(row, Mapping):
        raise ConfigError(f"expected a table, got {row!r:.80}", where=where)
    values: dict[str, tuple[str, ...]] = {}
    for name, value in row.items():
        if name not in _FIELDS:
            hint = suggest(name, _FIELDS) or f"Fields: {', '.join(_FIELDS)}."
            raise ConfigError(f"unknown field {name!r}", where=where, hint=hint)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise ConfigError(f"expected a list of texts, got {value!r:.80}", where=f"{where}.{name}")
        for text in value:
            if name in known and text not in known[name]:
                hint = suggest(text, known[name]) or f"Known: {', '.join(known[name])}."
                raise ConfigError(f"there is no {name.removesuffix('s')} {text!r}", where=f"{where}.{name}", hint=hint)
        values[name] = tuple(value)
    if "tokens" not in values:
        raise ConfigError("no 'tokens'", where=where, hint='Name them, ["*"] for anybody, [] for nobody.')
    return Rule(**values)
