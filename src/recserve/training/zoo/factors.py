"""Linear and factorisation models: LR, FM, Wide&Deep and DeepFM.

These models were defined over one scalar weight per id. A network in flat form sees no ids, only their embeddings, so
the weight of an id is a learned linear function of its embedding here: w(i) = aᵀ·v(i), with `a` per feature. Since the
tables are trained along, an id still gets a weight of its own; pooled features give the sum or mean of their weights.

Axes: N rows, F fields, D floats of a factor, W joined width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recserve.errors import ConfigError
from recserve.features.outputs import OutputSpec
from recserve.training.zoo.layers import Activation, Inputs, Mlp, fields, joined, named, probability, width_of


@dataclass(frozen=True)
class LrConfig:
    """Logistic regression has nothing to set."""


@dataclass(frozen=True)
class FmConfig:
    """Settings of a factorisation machine.

    Attributes:
        factor_dim: D; None takes the widest embedding. Features of another width get a learned projection to it.
    """

    factor_dim: int | None = None


@dataclass(frozen=True)
class WideDeepConfig:
    """Settings of Wide&Deep.

    Attributes:
        wide: features of the linear part (crosses, usually); None for all.
        deep: features of the deep part; None for all.
        hidden: widths of the deep layers.
        activation: of the deep layers.
        dropout: share of activations zeroed in training.
    """

    wide: tuple[str, ...] | None = None
    deep: tuple[str, ...] | None = None
    hidden: tuple[int, ...] = (256, 128, 64)
    activation: Activation = "relu"
    dropout: float = 0.0


@dataclass(frozen=True)
class DeepFmConfig:
    """Settings of DeepFM: those of `FmConfig`, and `hidden`, `activation` and `dropout` of the deep part."""

    factor_dim: int | None = None
    hidden: tuple[int, ...] = (256, 128, 64)
    activation: Activation = "relu"
    dropout: float = 0.0


class Lr(nn.Module):
    """Logistic regression: sigmoid of a linear function of all features; sequences count as the mean of their steps."""

    def __init__(self, outputs: Sequence[OutputSpec], goal: str, config: LrConfig | None = None) -> None:  # noqa: ARG002
        super().__init__()
        self.outputs, self.goal = tuple(outputs), goal
        self.linear = nn.Linear(width_of(outputs), 1)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{goal: float32[N] probability}."""
        return {self.goal: probability(self.linear(joined(self.outputs, inputs)))}


class Factors(nn.Module):
    """The second-order term of a factorisation machine: ½ · Σ_D ((Σ_F v)² - Σ_F v²), as float32[N, 1]."""

    def __init__(self, outputs: Sequence[OutputSpec], factor_dim: int | None) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        widest = max((spec.dim for spec in outputs if spec.is_sparse), default=8)
        dim = factor_dim or widest
        self.projections = nn.ModuleList(
            nn.Identity() if spec.is_sparse and spec.dim == dim else nn.Linear(spec.dim, dim, bias=False)
            for spec in outputs
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """float32[N, 1] from the flat form."""
        pairs = zip(self.projections, fields(self.outputs, inputs), strict=True)
        factors = torch.stack([project(field) for project, field in pairs], 1)
        total = factors.sum(1)
        squares = (factors * factors).sum(1)
        return 0.5 * (total * total - squares).sum(1, keepdim=True)


class Fm(nn.Module):
    """Factorisation machine: a linear part plus the products of all pairs of features."""

    def __init__(self, outputs: Sequence[OutputSpec], goal: str, config: FmConfig | None = None) -> None:
        super().__init__()
        config = config or FmConfig()
        self.outputs, self.goal = tuple(outputs), goal
        self.linear = nn.Linear(width_of(outputs), 1)
        self.factors = Factors(outputs, config.factor_dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{goal: float32[N] probability}."""
        return {self.goal: probability(self.linear(joined(self.outputs, inputs)) + self.factors(inputs))}


class WideDeep(nn.Module):
    """Wide&Deep: a linear part beside an MLP."""

    def __init__(self, outputs: Sequence[OutputSpec], goal: str, config: WideDeepConfig | None = None) -> None:
        super().__init__()
        config = config or WideDeepConfig()
        self.goal = goal
        self.wide_outputs = tuple(outputs) if config.wide is None else named(config.wide, outputs, "wide")
        self.deep_outputs = tuple(outputs) if config.deep is None else named(config.deep, outputs, "deep")
        for option, part in (("wide", self.wide_outputs), ("deep", self.deep_outputs)):
            if not part:
                raise ConfigError("names no features", where=option, hint="Leave it out for all features, or use 'lr'")
        self.wide = nn.Linear(width_of(self.wide_outputs), 1)
        self.deep = Mlp(
            width_of(self.deep_outputs), config.hidden, out=1, activation=config.activation, dropout=config.dropout
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{goal: float32[N] probability}."""
        wide = self.wide(joined(self.wide_outputs, inputs))
        return {self.goal: probability(wide + self.deep(joined(self.deep_outputs, inputs)))}


class DeepFm(nn.Module):
    """DeepFM: a factorisation machine beside an MLP over the same features."""

    def __init__(self, outputs: Sequence[OutputSpec], goal: str, config: DeepFmConfig | None = None) -> None:
        super().__init__()
        config = config or DeepFmConfig()
        self.outputs, self.goal = tuple(outputs), goal
        width = width_of(outputs)
        self.linear = nn.Linear(width, 1)
        self.factors = Factors(outputs, config.factor_dim)
        self.deep = Mlp(width, config.hidden, out=1, activation=config.activation, dropout=config.dropout)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{goal: float32[N] probability}."""
        features = joined(self.outputs, inputs)
        return {self.goal: probability(self.linear(features) + self.factors(inputs) + self.deep(features))}
