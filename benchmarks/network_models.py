"""More published model shapes for the network benchmark: DCNv2, RMC1-3 and a target-attention transformer.

Shapes are those of BARS / FuxiCTR (DCNv2 on criteo_x4) and DeepRecSys (RMC1-3); the transformer has the size that
industry papers report for rankers on a CPU. Sides are our declaration, as in `workloads`.
"""

from __future__ import annotations

import itertools
from typing import Final

import torch
from torch import Tensor, nn

from recserve.training.zoo.layers import step_mask
from workloads import HISTORY, WORKLOADS, Outputs, Workload, combo_features, id_features, vector_features

_HEADS: Final = 4


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


class DcnV2(nn.Module):
    """Three full cross layers beside a deep net."""

    def __init__(self, outputs: Outputs) -> None:
        super().__init__()
        self.names = [o.name for o in outputs]
        width = sum(o.dim for o in outputs)
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.deep = _mlp(width, 1000, 1000, 1000, 1000, 1000)
        self.head = nn.Linear(width + 1000, 1)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{ctr: float32[N]}."""
        first = torch.cat([inputs[name] for name in self.names], 1)
        crossed = first
        for layer in self.cross:
            crossed = first * layer(crossed) + crossed
        logits = self.head(torch.cat([crossed, self.deep(first)], 1))
        return {"ctr": torch.sigmoid(logits)[:, 0]}


class Rmc(nn.Module):
    """A bottom net over the dense vector, its output beside the pooled rows, and a top net."""

    def __init__(self, outputs: Outputs, bottom: tuple[int, ...], top: tuple[int, ...]) -> None:
        super().__init__()
        self.dense = [o.name for o in outputs if o.table is None]
        self.sparse = [o.name for o in outputs if o.table is not None]
        self.bottom = _mlp(*bottom)
        self.top = _mlp(bottom[-1] + sum(o.dim for o in outputs if o.table is not None), *top)
        self.head = nn.Linear(top[-1], 1)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{ctr: float32[N]}."""
        dense = self.bottom(torch.cat([inputs[name] for name in self.dense], 1))
        hidden = self.top(torch.cat([dense, *(inputs[name] for name in self.sparse)], 1))
        return {"ctr": torch.sigmoid(self.head(hidden))[:, 0]}


class _Attention(nn.Module):
    """Queries [N, Q, d] over keys [N, L, d], masked behind the last step."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        self.dim = dim

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        size = self.dim // _HEADS
        q = self.query(queries).unflatten(2, (_HEADS, size)).transpose(1, 2)
        k = self.key(keys).unflatten(2, (_HEADS, size)).transpose(1, 2)
        v = self.value(keys).unflatten(2, (_HEADS, size)).transpose(1, 2)
        scores = q @ k.transpose(2, 3) / size**0.5 + (mask[:, None, None, :] - 1) * 1e9
        mixed = (torch.softmax(scores, 3) @ v).transpose(1, 2).flatten(2)
        out: Tensor = self.out(mixed)
        return out


class _Block(nn.Module):
    """Attention and a feed-forward net, each added and normalised."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = _Attention(dim)
        self.deep = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.before, self.after = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        mixed = self.before(queries + self.attention(queries, keys, mask))
        out: Tensor = self.after(mixed + self.deep(mixed))
        return out


class TargetTransformer(nn.Module):
    """Two layers: the history attends to itself, and the candidate to the history."""

    def __init__(self, outputs: Outputs) -> None:
        super().__init__()
        self.steps = [o.name for o in outputs if o.is_sequence]
        self.target = [o.name.removeprefix("click__") for o in outputs if o.is_sequence]
        self.rest = [o.name for o in outputs if not o.is_sequence and o.name not in self.target]
        dim = sum(o.dim for o in outputs if o.is_sequence)
        self.history = nn.ModuleList(_Block(dim) for _ in range(2))
        self.candidate = nn.ModuleList(_Block(dim) for _ in range(2))
        self.deep = _mlp(2 * dim + sum(o.dim for o in outputs if o.name in self.rest), 512, 256)
        self.head = nn.Linear(256, 1)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{ctr: float32[N]}."""
        steps = torch.cat([inputs[name] for name in self.steps], 2)
        mask = step_mask(inputs["click.lengths"], steps).float()
        item = torch.cat([inputs[name] for name in self.target], 1)
        query = item[:, None, :]
        for history, candidate in zip(self.history, self.candidate, strict=True):
            steps = history(steps, steps, mask)
            query = candidate(query, steps, mask)
        parts = [query[:, 0], item, *(inputs[name] for name in self.rest)]
        return {"ctr": torch.sigmoid(self.head(self.deep(torch.cat(parts, 1))))[:, 0]}


def _rmc(name: str, tables: tuple[int, int], dim: int, layers: tuple[tuple[int, ...], tuple[int, ...]]) -> Workload:
    bottom, top = layers
    entries = [*id_features("user", tables[0], dim), *id_features("item", tables[1], dim)]
    return Workload(name, [*entries, *vector_features("user", bottom[0])], lambda o: Rmc(o, bottom, top))


_DIN: Final = next(workload for workload in WORKLOADS if workload.name == "din")

NETWORKS: Final = (
    *WORKLOADS,
    Workload(
        "dcn_v2",
        [*id_features("user", 24, 16), *id_features("item", 13, 16), *combo_features(2, 16)],
        DcnV2,
    ),
    _rmc("rmc1", (4, 4), 32, ((128, 64, 32), (256, 64))),
    _rmc("rmc2", (16, 16), 64, ((256, 128, 64), (128, 64))),
    _rmc("rmc3", (5, 5), 32, ((2560, 1024, 256, 32), (512, 256))),
    Workload("target_transformer", _DIN.entries, TargetTransformer),
)
"""Every model of the network benchmark; histories have `HISTORY` steps."""
STEPS: Final = HISTORY
