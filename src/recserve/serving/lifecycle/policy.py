"""Which versions of a model are wanted, and what to load and unload next. Nothing here touches a file or a model."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Final, Literal

from recserve.errors import ConfigError

Swap = Literal["availability", "resource"]
"""`availability` loads a new version beside the old one, which takes the memory of both; `resource` unloads the old one
first, which leaves a gap in which the model is not served."""

SWAPS: Final = ("availability", "resource")

Progress = Literal["loading", "available", "unloading", "failed", "retry", "given up", "withdrawn"]
"""Where a version stands. `failed` waits for its next try, `retry` may be tried now, `given up` is not tried again
before its files change, `withdrawn` was unloaded by a caller and stays so."""

_BAD: Final = ("failed", "given up")


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions in a base directory are wanted.

    Attributes:
        kind: `latest` wants the highest `count`, `all` every one, `specific` those of `versions`.
        count: at least 1.
        versions: of `specific`; at least one.
    """

    kind: Literal["latest", "all", "specific"] = "latest"
    count: int = 1
    versions: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.kind == "latest" and self.count < 1:
            raise ConfigError(f"latest num_versions is {self.count}", hint="It is at least 1.")
        if self.kind == "specific" and not self.versions:
            raise ConfigError("a specific version policy names no version", hint="Write specific { versions: 7 }.")

    def choose(self, present: Set[int]) -> set[int]:
        """The wanted ones among the versions that are there."""
        match self.kind:
            case "latest":
                return set(sorted(present)[-self.count :])
            case "specific":
                return set(present & self.versions)
        return set(present)


@dataclass(frozen=True)
class Next:
    """What to do now with a model's versions.

    Attributes:
        load: highest first.
        unload: in any order.
    """

    load: tuple[int, ...] = ()
    unload: tuple[int, ...] = ()


@dataclass(frozen=True)
class Situation:
    """A model at one moment.

    Attributes:
        policy: of the model.
        present: the versions that have arrived whole; None where the base directory is not there.
        progress: of every version that was ever begun.
        held: versions that a rollout needs, whatever the policy says.
        swap: which way versions change places.
    """

    policy: VersionPolicy
    present: frozenset[int] | None
    progress: Mapping[int, Progress]
    held: frozenset[int] = field(default_factory=frozenset)
    swap: Swap = "availability"

    def decide(self) -> Next:
        """What to load and unload now.

        While every wanted version is bad, the highest other one that is there stands in for them. The last version
        that is served is unloaded only where another one is, where the swap is of the resource kind, or where an empty
        base directory says so.
        """
        if self.present is None:  # a share that is away for a moment must not take the model away
            return Next()
        aspired = self.policy.choose(self.present) | (self.held & self.present)
        served = {v for v, progress in self.progress.items() if progress == "available"}
        kept = aspired | self._stand_in(aspired, served)
        obsolete = served - kept
        wanted = sorted((v for v in kept if self.progress.get(v) in (None, "retry")), reverse=True)
        if self.swap == "resource":
            return self._free_first(kept, served, obsolete, wanted)
        may_unload = not self.present or bool(kept & served)
        return Next(tuple(wanted), tuple(sorted(obsolete)) if may_unload else ())

    def _free_first(self, kept: set[int], served: set[int], obsolete: set[int], wanted: list[int]) -> Next:
        """The resource kind: nothing is loaded while something obsolete is in memory.

        A version that failed is not tried again at the cost of one that serves.
        """
        is_busy = any(progress == "unloading" for progress in self.progress.values())
        fresh = [v for v in wanted if self.progress.get(v) is None]
        if obsolete and (fresh or not self.present or kept & served):
            return Next(unload=tuple(sorted(obsolete)))
        if obsolete or is_busy:
            return Next()
        return Next(tuple(wanted if not (served - self.policy.choose(self.present or frozenset())) else fresh))

    def _stand_in(self, aspired: set[int], served: set[int]) -> set[int]:
        """The version that serves while no wanted one can; what serves already is kept."""
        if not aspired or any(self.progress.get(v) not in (*_BAD, "retry") for v in aspired):
            return set()
        others = (self.present or frozenset()) - aspired
        if served & others:
            return {max(served & others)}
        usable = [v for v in others if self.progress.get(v) in (None, "loading", "retry")]
        return {max(usable)} if usable else set()
