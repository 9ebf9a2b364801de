"""What the demo is asked for, and how large it is."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recserve.errors import ConfigError


@dataclass(frozen=True)
class DemoOptions:
    """Options of `recserve demo`.

    Attributes:
        data: folder of MovieLens 100K; None for the simulated shop.
        out: folder for everything that the demo writes, empty or not there yet; None for a new temporary one.
        seed: of the shop, of the training and of the drawn requests, at least 0.
        quick: a tiny shop and one epoch, for tests: the path is the same, the figures mean nothing.
        serve: keep serving at the end; None does so where there is a terminal and no CI.
        port: of the server; 0 for a free one.
        json_file: also write the figures there, as JSON.
    """

    data: Path | None = None
    out: Path | None = None
    seed: int = 0
    quick: bool = False
    serve: bool | None = None
    port: int = 0
    json_file: Path | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} is below 0", where="--seed")
        if self.out is not None and self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise ConfigError("is not an empty folder", where=str(self.out), hint="Give a new folder with --out.")

    @property
    def keeps_serving(self) -> bool:
        """Whether the server stays up at the end."""
        if self.serve is not None:
            return self.serve
        return sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")


@dataclass(frozen=True)
class Size:
    """How much the demo does.

    Attributes:
        users, items, rounds: of the shop, see `simulator.Shop`.
        epochs: at most.
        ratings: of MovieLens, the first so many; None for all.
        live_users: users whose requests the server ranks.
        candidates: items of each such request in the shop.
    """

    users: int
    items: int
    rounds: int
    epochs: int
    ratings: int | None
    live_users: int
    candidates: int


FULL: Final = Size(users=600, items=1_500, rounds=12, epochs=4, ratings=None, live_users=300, candidates=500)
QUICK: Final = Size(users=60, items=120, rounds=4, epochs=1, ratings=4_000, live_users=10, candidates=60)
