"""Building blocks of the zoo: sorting a network's inputs, joining them, and dense layers.

Every module here reads the flat form: {feature: float32[N, dim] or float32[N, L, dim], "<sequence>.lengths": int64[N]}.

Axes: N rows, L steps of a sequence, F fields, W joined width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from recserve.errors import ConfigError, suggest
from recserve.features.outputs import OutputSpec

Inputs = Mapping[str, Tensor]
Activation = Literal["relu", "prelu", "sigmoid", "tanh"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "prelu": nn.PReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


class Mlp(nn.Sequential):
    """Linear layers with an activation after each: float32[..., width] → float32[..., out_width].

    Args:
        width: of the input.
        hidden: widths of the layers with an activation; none makes it linear, or the identity without `out`.
        out: width of a last layer without activation; None for none.
        activation: name of the activation.
        dropout: 0 ≤ share < 1 of activations zeroed in training.

    Raises:
        ConfigError: a width below 1, a dropout out of range, or an unknown activation.
    """

    def __init__(
        self,
        width: int,
        hidden: Sequence[int],
        *,
        out: int | None = None,
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        if min((*hidden, out or 1)) < 1:
            raise ConfigError(f"layers of the widths {[*hidden]} are not all at least 1 wide")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout {dropout} is not in 0 … 1 (1 excluded)")
        if activation not in _ACTIVATIONS:
            hint = suggest(activation, _ACTIVATIONS) or f"Known are {', '.join(_ACTIVATIONS)}"
            raise ConfigError(f"activation {activation!r} is not known", hint=hint)
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), _ACTIVATIONS[activation]()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        if out is not None:
            layers.append(nn.Linear(width, out))
            width = out
        super().__init__(*layers)
        self.out_width = width


def width_of(outputs: Sequence[OutputSpec]) -> int:
    """Width W of these features side by side."""
    return sum(spec.dim for spec in outputs)


def field_of(spec: OutputSpec, inputs: Inputs) -> Tensor:
    """float32[N, dim] of one feature; of a sequence the mean of its steps, zeros where it has none."""
    values = inputs[spec.name]
    if not spec.is_sequence:
        return values
    # Steps beyond the length are zero, so that the sum needs no mask.
    lengths = inputs[f"{spec.sequence}.lengths"].clamp(min=1).unsqueeze(1)
    return values.sum(1) / lengths.to(values.dtype)


def fields(outputs: Sequence[OutputSpec], inputs: Inputs) -> list[Tensor]:
    """float32[N, dim] of each feature; see `field_of`."""
    return [field_of(spec, inputs) for spec in outputs]


def joined(outputs: Sequence[OutputSpec], inputs: Inputs) -> Tensor:
    """float32[N, W]: the features side by side, in the order of `outputs`; sequences as the mean of their steps."""
    return torch.cat(fields(outputs, inputs), 1)


def step_mask(lengths: Tensor, steps: Tensor) -> Tensor:
    """float32[N, L]: 1 within the length, 0 beyond it.

    Args:
        lengths: int64[N].
        steps: float32[N, L, W], of which only L matters.
    """
    numbers = torch.arange(steps.shape[1], device=steps.device)
    return (numbers < lengths.unsqueeze(1)).to(steps.dtype)


def probability(logits: Tensor) -> Tensor:
    """float32[N] from float32[N, 1]."""
    return torch.sigmoid(logits).squeeze(1)


def named(names: Sequence[str], outputs: Sequence[OutputSpec], option: str) -> tuple[OutputSpec, ...]:
    """The features of these names, in the order of `names`.

    Raises:
        ConfigError: there is no such feature.
    """
    known = {spec.name: spec for spec in outputs}
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no feature {name!r}", where=option, hint=suggest(name, known))
    return tuple(known[name] for name in names)
