"""Deep Interest Network: the steps of a sequence weigh in by how they relate to the item in question.

Axes: N rows, L steps of a sequence, D width of query and keys, E width of a sequence's features without a query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from recserve.errors import ConfigError
from recserve.features.outputs import OutputSpec
from recserve.rates import Rate
from recserve.training.zoo.layers import Activation, Inputs, Mlp, fields, named, probability, step_mask, width_of


@dataclass(frozen=True)
class DinConfig:
    """Settings of DIN.

    Attributes:
        queries: {feature of a sequence: the plain feature that asks}; what is not named is matched by table.
        attention: widths of the attention unit's layers.
        attention_activation: of the attention unit.
        softmax: normalise the weights over the steps; the paper does not, to keep how strong an interest is.
        hidden: widths of the layers after it.
        activation: of those layers.
        dropout: share of their activations zeroed in training.
    """

    queries: Mapping[str, str] = field(default_factory=dict)
    attention: tuple[int, ...] = (64, 32)
    attention_activation: Activation = "relu"
    softmax: bool = False
    hidden: tuple[int, ...] = (128, 64)
    activation: Activation = "relu"
    dropout: float = 0.0


@dataclass(frozen=True)
class Attended:
    """One sequence under attention.

    Attributes:
        group: the sequence's name.
        keys: its features that have a query.
        queries: the plain feature that asks each of `keys`, of the same dim.
        extras: its other features; they join the attention's input and the weighted sum.
    """

    group: str
    keys: tuple[OutputSpec, ...]
    queries: tuple[OutputSpec, ...]
    extras: tuple[OutputSpec, ...]


class Attention(nn.Module):
    """The attention unit over one sequence: float32[N, D + E], the weighted sum of its steps.

    A step's weight is an MLP of [q, k, q - k, q ∘ k, extras], zero beyond the row's length.
    """

    def __init__(self, attended: Attended, config: DinConfig) -> None:
        super().__init__()
        self.attended = attended
        self.softmax = config.softmax
        width = 4 * width_of(attended.keys) + width_of(attended.extras)
        self.unit = Mlp(width, config.attention, out=1, activation=config.attention_activation)

    def forward(self, inputs: Inputs) -> Tensor:
        """float32[N, D + E] from the flat form."""
        keys = torch.cat([inputs[spec.name] for spec in self.attended.keys], 2)
        extras = [inputs[spec.name] for spec in self.attended.extras]
        query = torch.cat([inputs[spec.name] for spec in self.attended.queries], 1).unsqueeze(1).expand_as(keys)
        weights = self.unit(torch.cat([query, keys, query - keys, query * keys, *extras], 2)).squeeze(2)
        mask = step_mask(inputs[f"{self.attended.group}.lengths"], keys)
        if self.softmax:
            # Finite, so that a row without steps has weights (masked to zero below) and not NaN.
            weights = torch.softmax(weights + (mask - 1) * 1e9, 1)
        values = torch.cat([keys, *extras], 2) if extras else keys
        return torch.matmul((weights * mask).unsqueeze(1), values).squeeze(1)


class Din(nn.Module):
    """DIN: attention over each sequence that a plain feature can ask about, then an MLP over everything.

    The query of a sequence's feature is the plain feature that shares its table, the item-rate one if several do.
    Sequences without any query are pooled by mean.

    Raises:
        ConfigError: no sequence has a query, several features could be one, or a query of `config.queries` is unknown
            or of another dim.
    """

    def __init__(self, outputs: Sequence[OutputSpec], goal: str, config: DinConfig | None = None) -> None:
        super().__init__()
        config = config or DinConfig()
        self.goal = goal
        attended = match_queries(outputs, config.queries)
        names = {item.group for item in attended}
        self.others = tuple(spec for spec in outputs if not spec.is_sequence or spec.sequence not in names)
        self.attentions = nn.ModuleList(Attention(item, config) for item in attended)
        width = width_of(self.others) + sum(width_of((*item.keys, *item.extras)) for item in attended)
        self.head = Mlp(width, config.hidden, out=1, activation=config.activation, dropout=config.dropout)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """{goal: float32[N] probability}."""
        interests = [attention(inputs) for attention in self.attentions]
        return {self.goal: probability(self.head(torch.cat([*fields(self.others, inputs), *interests], 1)))}


def match_queries(outputs: Sequence[OutputSpec], overrides: Mapping[str, str]) -> tuple[Attended, ...]:
    """Find who asks each sequence.

    Args:
        outputs: all features.
        overrides: {feature of a sequence: plain feature}.

    Returns:
        The sequences that have at least one query, in the order of `outputs`.

    Raises:
        ConfigError: as `Din` does.
    """
    steps = [spec for spec in outputs if spec.is_sequence]
    plain = [spec for spec in outputs if not spec.is_sequence]
    named(tuple(overrides), steps, "queries")
    groups: dict[str, list[OutputSpec]] = {}
    for spec in steps:
        groups.setdefault(spec.sequence or spec.name, []).append(spec)
    attended = []
    for group, members in groups.items():
        asked = [(key, _query_of(key, plain, overrides)) for key in members]
        pairs = [(key, query) for key, query in asked if query is not None]
        if pairs:
            keys, queries = zip(*pairs, strict=True)
            extras = tuple(key for key, query in asked if query is None)
            attended.append(Attended(group, keys, queries, extras))
    if not attended:
        raise ConfigError(
            "DIN needs a sequence that shares a table with a plain feature, but no sequence does",
            hint="Give an item feature and the sequence's feature one embedding_name, or set queries",
        )
    return tuple(attended)


def _query_of(key: OutputSpec, plain: Sequence[OutputSpec], overrides: Mapping[str, str]) -> OutputSpec | None:
    if key.name in overrides:
        where = f"queries[{key.name!r}]"
        (query,) = named((overrides[key.name],), plain, where)
        if query.dim != key.dim:
            raise ConfigError(
                f"{query.name!r} is {query.dim} wide, but the sequence's steps are {key.dim}", where=where
            )
        return query
    if key.table is None:
        return None
    sharing = [spec for spec in plain if spec.table == key.table]
    if len(sharing) > 1:
        sharing = [spec for spec in sharing if spec.rate is Rate.ITEM] or sharing
    if len(sharing) > 1:
        raise ConfigError(
            f"{', '.join(repr(spec.name) for spec in sharing)} share table {key.table!r} with it",
            where=f"feature {key.name!r}",
            hint=f"Say which one asks: queries={{{key.name!r}: {sharing[0].name!r}}}",
        )
    return sharing[0] if sharing else None
