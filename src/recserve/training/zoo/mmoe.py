"""Multi-gate mixture of experts: several goals share experts, and each goal mixes them in its own way.

Axes: N rows, X experts, H width of an expert's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recserve.errors import ConfigError
from recserve.features.outputs import OutputSpec
from recserve.training.zoo.layers import Activation, Inputs, Mlp, joined, probability, width_of


@dataclass(frozen=True)
class MmoeConfig:
    """Settings of MMoE.

    Attributes:
        experts: X, at least 1.
        expert_hidden: widths of an expert's layers; the last is H.
        gate_hidden: widths of a gate's layers before its X weights.
        tower_hidden: widths of a goal's layers before its logit.
        activation: of all of them.
        dropout: share of the experts' and towers' activations zeroed in training.
    """

    experts: int = 4
    expert_hidden: tuple[int, ...] = (128, 64)
    gate_hidden: tuple[int, ...] = ()
    tower_hidden: tuple[int, ...] = (32,)
    activation: Activation = "relu"
    dropout: float = 0.0


class Mmoe(nn.Module):
    """MMoE over all features, sequences as the mean of their steps; one probability per goal.

    Goals are predicted each on its own: a label that only exists for some rows (a purchase after a click) is left
    unknown (NaN) in the others, and its goal then predicts the probability given that it exists.

    Raises:
        ConfigError: no goals, or fewer than one expert.
    """

    def __init__(self, outputs: Sequence[OutputSpec], goals: Sequence[str], config: MmoeConfig | None = None) -> None:
        super().__init__()
        config = config or MmoeConfig()
        if not goals:
            raise ConfigError("MMoE needs at least one goal")
        if config.experts < 1:
            raise ConfigError(f"{config.experts} experts are fewer than 1")
        self.outputs, self.goals = tuple(outputs), tuple(goals)
        width, activation, dropout = width_of(outputs), config.activation, config.dropout
        experts = [
            Mlp(width, config.expert_hidden, activation=activation, dropout=dropout) for _ in range(config.experts)
        ]
        self.experts = nn.ModuleList(experts)
        self.gates = nn.ModuleList(
            Mlp(width, config.gate_hidden, out=config.experts, activation=activation) for _ in goals
        )
        self.towers = nn.ModuleList(
            Mlp(experts[0].out_width, config.tower_hidden, out=1, activation=activation, dropout=dropout) for _ in goals
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{goal: float32[N] probability} of each goal."""
        features = joined(self.outputs, inputs)
        opinions = torch.stack([expert(features) for expert in self.experts], 1)
        results: dict[str, Tensor] = {}
        for goal, gate, tower in zip(self.goals, self.gates, self.towers, strict=True):
            shares = torch.softmax(gate(features), 1).unsqueeze(2)
            results[goal] = probability(tower((shares * opinions).sum(1)))
        return results
