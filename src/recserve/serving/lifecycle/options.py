"""How versions come and go: what a process is told at its start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recserve.errors import ConfigError, suggest
from recserve.serving.lifecycle.base import Arrival
from recserve.serving.lifecycle.model_config import ModelConfig
from recserve.serving.lifecycle.policy import SWAPS, Swap


@dataclass(frozen=True)
class Retries:
    """When a version that could not be loaded is tried again. Its files changing is a reason to try at once.

    Attributes:
        first_s: seconds before the first retry.
        factor: by which each further wait is longer.
        longest_s: no wait is longer.
        most: retries; None for no end.
    """

    first_s: float = 1.0
    factor: float = 2.0
    longest_s: float = 60.0
    most: int | None = None

    def wait_s(self, tries: int) -> float | None:
        """Seconds before the next try after `tries` failed ones (at least 1); None where there is none."""
        if self.most is not None and tries > self.most:
            return None
        wait_s: float = self.first_s * self.factor ** min(tries - 1, 64)
        return min(self.longest_s, wait_s)


@dataclass(frozen=True)
class LifecycleOptions:
    """What is served, and how it changes.

    Attributes:
        models: to serve; empty where `config_file` says them.
        config_file: a TensorFlow Serving `model_config_file`, or None.
        config_poll_s: seconds between looks at it; 0 reads it once.
        poll_s: seconds between looks at a local base directory; 0 looks once, below 0 never.
        remote_poll_s: the least seconds between looks at a remote one, since each look costs.
        arrival: when a version counts as whole.
        swap: how a new version takes the place of an old one.
        load_threads: versions that load at once.
        unload_threads: versions that close at once.
        is_nice: whether loading threads have a low priority.
        retries: of versions that cannot be loaded.
        allows_unavailable_labels: whether a label may stand for a version that is not served (yet).
        config_wait_s: seconds that a new configuration has until its models are served; it is taken back then.
        state_dir: where a configuration that came by request is kept for the next start and for other workers of this
            host; None keeps it in memory.
        cache_dir: where remote versions are copied to; None for a temporary directory.
    """

    models: Sequence[ModelConfig] = ()
    config_file: Path | None = None
    config_poll_s: float = 0.0
    poll_s: float = 1.0
    remote_poll_s: float = 30.0
    arrival: Arrival = field(default_factory=Arrival)
    swap: Swap = "availability"
    load_threads: int = 1
    unload_threads: int = 1
    is_nice: bool = True
    retries: Retries = field(default_factory=Retries)
    allows_unavailable_labels: bool = False
    config_wait_s: float = 300.0
    state_dir: Path | None = None
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.swap not in SWAPS:
            hint = suggest(self.swap, SWAPS) or f"Kinds: {', '.join(SWAPS)}."
            raise ConfigError(f"there is no swap {self.swap!r}", hint=hint)
        if bool(self.models) == (self.config_file is not None):
            raise ConfigError("models to watch come from base directories or from a config file", hint="Give one.")
        if not self.arrival.settle_s >= 0:
            raise ConfigError(f"settle_s is {self.arrival.settle_s}", hint="It is at least 0.")
        for name in ("load_threads", "unload_threads"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", hint="It is at least 0; 0 means 1.")
