"""One model that is watched: its base directory, and where each of its versions stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from recserve.serving.lifecycle.base import Base, Fingerprint
from recserve.serving.lifecycle.model_config import ModelConfig
from recserve.serving.lifecycle.options import LifecycleOptions
from recserve.serving.lifecycle.policy import Next, Progress, Situation
from recserve.serving.registry import Registry


@dataclass(frozen=True)
class Failure:
    """The last failed try of a version.

    Attributes:
        tries: that failed so far.
        retry_at_s: when the next one is due, by the clock of the process; None for never.
        fingerprint: of what could not be loaded.
    """

    tries: int
    retry_at_s: float | None
    fingerprint: Fingerprint


@dataclass(eq=False)
class Watched:
    """A model. The lifecycle holds its lock around every method but `look`.

    Attributes:
        config: what is wanted of it.
        base: where its versions come from.
        found: what `look` saw last: version → place; None where the base directory is not there.
        whole: the versions among them that have arrived.
        progress: where every version stands that was begun.
        places: of the versions that were begun.
        failures: of the versions that could not be loaded.
        looked_s: when `look` was called last; None for never.
        told: what `want` said when it was logged last.
        is_removed: whether the model is no longer served by this process.
    """

    config: ModelConfig
    base: Base
    found: dict[int, str] | None = None
    whole: frozenset[int] = frozenset()
    progress: dict[int, Progress] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    looked_s: float | None = None
    told: str = ""
    is_removed: bool = False

    def is_due(self, now_s: float, options: LifecycleOptions) -> bool:
        """Whether it is time to look at the base directory."""
        if self.looked_s is None:
            return options.poll_s >= 0
        if options.poll_s <= 0:
            return False
        least_s = max(options.poll_s, options.remote_poll_s) if self.base.is_remote else options.poll_s
        return now_s - self.looked_s >= least_s

    def look(self) -> tuple[dict[int, str] | None, frozenset[int], dict[int, Fingerprint]]:
        """Look at the base directory, without the lock, since that takes a while.

        Returns:
            What is there, what of it is whole, and what the versions that could not be loaded hold now.
        """
        found = self.base.versions()
        if found is None:
            return None, frozenset(), {}
        settled = {v for v, p in list(self.progress.items()) if p in ("available", "loading", "unloading")}
        whole = {v for v, place in found.items() if v in settled or self.base.is_whole(place)}
        failed = {v: self.base.fingerprint(found[v]) for v in list(self.failures) if v in found}
        return found, frozenset(whole), failed

    def take(self, seen: tuple[dict[int, str] | None, frozenset[int], dict[int, Fingerprint]], now_s: float) -> None:
        """Remember what `look` saw. A version that could not be loaded and has changed counts as new."""
        self.found, self.whole, failed = seen
        self.looked_s = now_s
        for version, fingerprint in failed.items():
            failure = self.failures.get(version)
            if failure is not None and fingerprint != failure.fingerprint:
                self._forget(version)
        for version in [v for v in self.failures if self.found is not None and v not in self.found]:
            self._forget(version)

    def want(self) -> str:
        """What keeps the model from versions that it could have, as the last look saw it; empty for nothing."""
        if self.found is None:
            return f"the base directory {self.config.base} is not there or cannot be read; waiting for it"
        if not self.found:
            return (
                f"the base directory {self.config.base} holds no version; a version's directory has a number for a name"
            )
        late = ", ".join(str(version) for version in sorted(self.found.keys() - self.whole))
        return f"{self.config.base}: waiting until version {late} has arrived whole" if late else ""

    def sync(self, registry: Registry, now_s: float) -> None:
        """Follow what happened elsewhere: closed versions, those that callers (un)loaded, and retries that are due."""
        states = {state.version: state.state for state in registry.states(self.config.name)}
        for version, progress in list(self.progress.items()):
            match progress:
                case "unloading" if states.get(version) != "UNLOADING":
                    del self.progress[version]
                    self.base.forget(self.places[version])
                case "available" if not registry.is_available(self.config.name, version):
                    self.progress[version] = "withdrawn"
                case "failed" | "given up" | "withdrawn" if registry.is_available(self.config.name, version):
                    self.progress[version] = "available"
                case "failed":
                    retry_at_s = self.failures[version].retry_at_s
                    if retry_at_s is not None and retry_at_s <= now_s:
                        self.progress[version] = "retry"

    def decide(self, options: LifecycleOptions, held: Callable[[str], frozenset[int]]) -> Next:
        """What to load and unload now."""
        is_known = self.found is not None and (bool(self.whole) or not self.found)
        present = self.whole if is_known else None
        return Situation(self.config.policy, present, self.progress, held(self.config.name), options.swap).decide()

    def fail(self, version: int, options: LifecycleOptions, now_s: float) -> Failure:
        """Note a failed try; returns when the next one is due."""
        tries = self.failures[version].tries + 1 if version in self.failures else 1
        wait_s = options.retries.wait_s(tries)
        fingerprint = self.base.fingerprint(self.places[version])
        self.failures[version] = Failure(tries, None if wait_s is None else now_s + wait_s, fingerprint)
        self.progress[version] = "given up" if wait_s is None else "failed"
        return self.failures[version]

    def is_settled(self, nothing_to_do: bool) -> bool:
        """Whether the base directory was looked at, nothing loads, and nothing is to be loaded."""
        is_loading = any(progress == "loading" for progress in self.progress.values())
        return self.looked_s is not None and nothing_to_do and not is_loading

    def served(self) -> set[int]:
        """The versions that are served."""
        return {version for version, progress in self.progress.items() if progress == "available"}

    def _forget(self, version: int) -> None:
        self.failures.pop(version, None)
        if self.progress.get(version) in ("failed", "given up", "retry"):
            self.progress.pop(version, None)
