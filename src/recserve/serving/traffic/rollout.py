"""What is wanted of the versions of one model."""

from __future__ import annotations

import pydantic

from recserve.errors import ConfigError
from recserve.serving.traffic.rule import RolloutRule
from recserve.serving.traffic.split import WHOLE_BP, Split


class Rollout(pydantic.BaseModel, extra="forbid", frozen=True):
    """The rollout of one model.

    Attributes:
        stable: version that answers what no other one does.
        canary: version that answers a share of the users; None for none.
        canary_bp: that share, in basis points.
        arms: further versions and their shares, in basis points: an A/B test.
        shadows: versions that are asked too, and whose answers only count.
        shadow_bp: share of the calls that shadows are asked, in basis points.
        rule: that promotes the canary or rolls it back; None where somebody does.
    """

    stable: int = pydantic.Field(ge=0, lt=1 << 63)
    canary: int | None = pydantic.Field(default=None, ge=0, lt=1 << 63)
    canary_bp: int = pydantic.Field(default=0, ge=0, le=WHOLE_BP)
    arms: dict[int, int] = pydantic.Field(default_factory=dict)
    shadows: tuple[int, ...] = ()
    shadow_bp: int = pydantic.Field(default=WHOLE_BP, ge=0, le=WHOLE_BP)
    rule: RolloutRule | None = None

    def split(self) -> Split:
        """The shares. The canary's buckets come last, so that it grows without moving a user of an arm.

        Raises:
            ConfigError: they are more than all calls together.
        """
        canary = {} if self.canary is None else {self.canary: self.canary_bp}
        return Split(self.stable, {**self.arms, **canary})

    def versions(self) -> frozenset[int]:
        """Every version that must be loaded."""
        canary = () if self.canary is None else (self.canary,)
        return frozenset((self.stable, *canary, *self.arms, *self.shadows))

    def promoted(self) -> Rollout:
        """The canary as the stable version.

        Raises:
            ConfigError: there is no canary.
        """
        if self.canary is None:
            raise ConfigError("there is no canary to promote", code="no_canary", hint="Give a version a share first.")
        return Rollout(stable=self.canary)

    def rolled_back(self) -> Rollout:
        """The stable version alone."""
        return Rollout(stable=self.stable)


def read_rollout(document: object, where: str) -> Rollout:
    """A rollout from JSON.

    Raises:
        ConfigError: a field is unknown or wrong, or the shares are too many; names the field.
    """
    try:
        rollout = Rollout.model_validate(document)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise ConfigError(f"{place}: {first['msg']}", code="bad_rollout", where=where) from error
    if rollout.canary is not None and (rollout.canary == rollout.stable or rollout.canary in rollout.arms):
        raise ConfigError(f"version {rollout.canary} is the canary and something else", where=where)
    if rollout.stable in rollout.arms:
        raise ConfigError(f"version {rollout.stable} is stable and an arm", where=where)
    if rollout.stable in rollout.shadows:
        raise ConfigError(f"version {rollout.stable} is stable and its own shadow", where=where)
    rollout.split()
    return rollout
