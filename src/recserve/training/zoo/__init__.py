"""A small zoo of ranking models over the network's flat-form inputs.

Each is an `nn.Module` built from the features it reads, with `forward(inputs) -> {goal: float32[N] probability}`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from recserve.errors import ConfigError, suggest
from recserve.features.outputs import OutputSpec
from recserve.training.zoo.din import Din, DinConfig
from recserve.training.zoo.factors import (
    DeepFm,
    DeepFmConfig,
    Fm,
    FmConfig,
    Lr,
    LrConfig,
    WideDeep,
    WideDeepConfig,
)
from recserve.training.zoo.mmoe import Mmoe, MmoeConfig
from recserve.training.zoo.two_tower import TwoTower, TwoTowerConfig

Config = LrConfig | FmConfig | WideDeepConfig | DeepFmConfig | DinConfig | TwoTowerConfig | MmoeConfig


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        module: its class.
        config: the class of its settings.
        many_goals: it predicts any number of goals, else one.
    """

    module: Callable[..., nn.Module]
    config: type[Any]
    many_goals: bool = False


MODELS: Final[dict[str, Entry]] = {
    "lr": Entry(Lr, LrConfig),
    "fm": Entry(Fm, FmConfig),
    "wide_deep": Entry(WideDeep, WideDeepConfig),
    "deepfm": Entry(DeepFm, DeepFmConfig),
    "din": Entry(Din, DinConfig),
    "two_tower": Entry(TwoTower, TwoTowerConfig),
    "mmoe": Entry(Mmoe, MmoeConfig, many_goals=True),
}
"""The models by name."""


def build_model(
    name: str, outputs: Sequence[OutputSpec], goals: Sequence[str] = ("ctr",), config: Config | None = None
) -> nn.Module:
    """Build a model of the zoo, with weights drawn from torch's global generator.

    Args:
        name: one of `MODELS`.
        outputs: the features it reads, in the order in which they are joined.
        goals: what it predicts; one goal, except for "mmoe".
        config: its settings, of the class that `MODELS[name].config` names; None for the defaults.

    Raises:
        ConfigError: an unknown name, a config of another model, several goals where one is predicted, no features, or
            what the model itself refuses.
    """
    if name not in MODELS:
        hint = suggest(name, MODELS) or f"Known are {', '.join(MODELS)}"
        raise ConfigError(f"model {name!r} is not in the zoo", hint=hint)
    entry = MODELS[name]
    if config is not None and not isinstance(config, entry.config):
        raise ConfigError(f"model {name!r} takes a {entry.config.__name__}, not a {type(config).__name__}")
    if not outputs:
        raise ConfigError(f"model {name!r} has no features to read", hint="Declare at least one feature")
    if entry.many_goals:
        return entry.module(outputs, tuple(goals), config)
    if len(goals) != 1:
        raise ConfigError(
            f"model {name!r} predicts one goal, not {len(goals)}: {', '.join(goals)}",
            hint="Use 'mmoe' for several goals",
        )
    return entry.module(outputs, goals[0], config)
