"""Which version answers a user: a stable hash of the user's id against shares in basis points."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recserve.errors import ConfigError

WHOLE_BP: Final = 10_000
"""Basis points of all calls."""


def bucket_of(user_id: str, salt: str) -> int:
    """The bucket of a user: 0 ≤ bucket < 10,000, the same in every process and for ever.

    Args:
        user_id: of the user.
        salt: the model's name, so that two models split their users independently.
    """
    digest = hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest, "little") % WHOLE_BP


@dataclass(frozen=True)
class Split:
    """Shares of versions.

    Attributes:
        stable: version that takes what the others leave.
        shares: version → basis points, of at most 10,000 in all. A version's buckets grow and shrink at one end, so
            that a change of the last share moves only the users that it must.
    """

    stable: int
    shares: Mapping[int, int]

    def __post_init__(self) -> None:
        for version, share in self.shares.items():
            if not 0 <= share <= WHOLE_BP:
                raise ConfigError(
                    f"the share of version {version} is {share} basis points", hint="It is between 0 and 10000."
                )
        if sum(self.shares.values()) > WHOLE_BP:
            raise ConfigError(
                f"the shares are {sum(self.shares.values())} basis points together", hint="They are at most 10000."
            )

    def choose(self, bucket: int) -> int:
        """The version that answers a bucket."""
        end = 0
        for version, share in self.shares.items():
            end += share
            if bucket < end:
                return version
        return self.stable


def draw_bucket() -> int:
    """A bucket for a call of nobody in particular."""
    return secrets.randbelow(WHOLE_BP)
