"""Maps from tokens to ids that a feature's options spell, and their files.

| option                                   | the default_value          | other unknown tokens    | its words          |
|------------------------------------------|----------------------------|-------------------------|--------------------|
| vocab_list                               | 0, or its place in the list | 1                      | 2, 3, ...          |
| vocab_dict                               | 0                          | 1                       | as given           |
| either, with default_bucketize_value     | as any token               | default_bucketize_value | 0, 1, ... or given |
| vocab_file (default_bucketize_value set) | as any token               | default_bucketize_value | line, or as given  |

Of a word that is listed twice the last place counts. In a profile whose unknown words are 0, default_bucketize_value is
0 where it is not set.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from recserve.errors import ConfigError
from recserve.features.declared import Declared, vocabularies_of
from recserve.features.spec_types import MatchFeature

OUT_OF_VOCABULARY = 1
"""Id of an unknown token where default_bucketize_value is not set."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids.

    Attributes:
        ids: (token, id), each token once.
        unknown: id of every other token.
        rows: rows of a table that has room for all ids.
    """

    ids: tuple[tuple[str, int], ...]
    unknown: int
    rows: int

    def id_of(self, token: str) -> int:
        """Id of a token."""
        return dict(self.ids).get(token, self.unknown)


def vocabulary_of(feature: Declared, asset_dir: Path | None) -> Vocabulary | None:
    """The vocabulary that the options spell; None if they spell none.

    Raises:
        ConfigError: the file cannot be read, or its lines are not tokens or `token id` pairs.
    """
    spec = vocabularies_of(feature.spec)
    if spec is None:
        return None
    given = spec.default_bucketize_value
    if given is None and feature.profile.unknown_is_zero:
        given = 0
    unknown = OUT_OF_VOCABULARY if given is None else given
    reserves = given is None
    if spec.vocab_list:
        words = (feature.default, "<OOV>", *spec.vocab_list) if reserves else spec.vocab_list
        extra = 1 if isinstance(feature.spec, MatchFeature) else 0
        return Vocabulary(tuple({word: i for i, word in enumerate(words)}.items()), unknown, len(words) + extra)
    if spec.vocab_dict:
        ids = dict(spec.vocab_dict)
        if reserves and feature.default:
            ids[feature.default] = 0
        return Vocabulary(tuple(ids.items()), unknown, max(*ids.values(), unknown) + 1)
    if spec.vocab_file:
        ids = read_vocabulary(asset_path(feature, spec.vocab_file, asset_dir))
        return Vocabulary(tuple(ids.items()), unknown, max(ids.values()) + 1)
    return None


def asset_path(feature: Declared, name: str, asset_dir: Path | None) -> Path:
    """Where an asset file of a feature lies: its own asset_dir, else that of the feature set, else as written."""
    own = feature.spec.asset_dir
    folder = Path(own) if own else Path()
    return (asset_dir / folder if asset_dir else folder) / name


def read_asset(path: Path) -> bytes:
    """Content of an asset file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from None


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_vocabulary(path: Path) -> dict[str, int]:
    """Tokens and ids of a vocabulary file: `token id` pairs with one space if every line is one, else a token a line.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8 or is empty.
    """
    try:
        lines = read_asset(path).decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise ConfigError(f"vocabulary file {str(path)!r} is not UTF-8") from None
    lines = [line.removesuffix("\r") for line in lines]
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ConfigError(f"vocabulary file {str(path)!r} is empty")
    pairs = [line.rpartition(" ") for line in lines]
    if all(space and number.isascii() and number.isdigit() for _, space, number in pairs):
        return {token: int(number) for token, _, number in pairs}
    return {token: i for i, token in enumerate(lines)}
