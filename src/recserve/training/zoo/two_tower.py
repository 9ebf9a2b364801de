"""Two towers: a user vector and an item vector that meet in a dot product.

Axes: N rows, D floats of a tower's vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recserve.errors import ConfigError
from recserve.features.outputs import OutputSpec
from recserve.rates import Rate
from recserve.training.zoo.layers import Activation, Inputs, Mlp, joined, width_of


@dataclass(frozen=True)
class TwoTowerConfig:
    """Settings of a two-tower model.

    Attributes:
        dim: D.
        user_hidden: widths of the user tower's layers before its vector.
        item_hidden: widths of the item tower's layers before its vector.
        activation: of those layers.
        dropout: share of their activations zeroed in training.
        normalize: scale both vectors to length 1, so that the dot product is a cosine.
        temperature: > 0; divides the dot product.
        leave_out_candidate_features: neither tower can read features of the candidate rate; leave them out, instead
            of refusing them.
    """

    dim: int = 32
    user_hidden: tuple[int, ...] = (128, 64)
    item_hidden: tuple[int, ...] = (128, 64)
    activation: Activation = "relu"
    dropout: float = 0.0
    normalize: bool = True
    temperature: float = 0.2
    leave_out_candidate_features: bool = False


class TwoTower(nn.Module):
    """sigmoid(user vector · item vector / temperature + bias).

    The user tower reads the request-rate features, the item tower the item-rate ones; sequences as the mean of steps.

    Raises:
        ConfigError: a tower has no features, a feature of the candidate rate, or a temperature that is not positive.
    """

    def __init__(self, outputs: Sequence[OutputSpec], goal: str, config: TwoTowerConfig | None = None) -> None:
        super().__init__()
        config = config or TwoTowerConfig()
        if not config.temperature > 0:
            raise ConfigError(f"temperature {config.temperature} is not positive")
        self.goal, self.normalize, self.temperature = goal, config.normalize, config.temperature
        self.user_outputs = _of_rate(outputs, Rate.REQUEST)
        self.item_outputs = _of_rate(outputs, Rate.ITEM)
        crossed = [spec.name for spec in outputs if spec.rate is Rate.CANDIDATE]
        if crossed and not config.leave_out_candidate_features:
            raise ConfigError(
                f"neither tower can read {', '.join(map(repr, crossed))}, which depend on both user and item",
                hint="Remove these features, or set leave_out_candidate_features",
            )
        self.user = self._tower(self.user_outputs, config.user_hidden, config)
        self.item = self._tower(self.item_outputs, config.item_hidden, config)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{goal: float32[N] probability}."""
        user = self._scaled(self.user(joined(self.user_outputs, inputs)))
        item = self._scaled(self.item(joined(self.item_outputs, inputs)))
        return {self.goal: torch.sigmoid((user * item).sum(1) / self.temperature + self.bias)}

    def _scaled(self, vector: Tensor) -> Tensor:
        # The small constant keeps the gradient of a zero vector finite.
        return vector / ((vector * vector).sum(1, keepdim=True) + 1e-12).sqrt() if self.normalize else vector

    @staticmethod
    def _tower(outputs: Sequence[OutputSpec], hidden: Sequence[int], config: TwoTowerConfig) -> Mlp:
        return Mlp(width_of(outputs), hidden, out=config.dim, activation=config.activation, dropout=config.dropout)


def _of_rate(outputs: Sequence[OutputSpec], rate: Rate) -> tuple[OutputSpec, ...]:
    found = tuple(spec for spec in outputs if spec.rate is rate)
    if not found:
        raise ConfigError(
            f"a two-tower model needs features of the {rate.value} rate, but there are none",
            hint="Declare features of user columns for one tower and of item columns for the other",
        )
    return found
