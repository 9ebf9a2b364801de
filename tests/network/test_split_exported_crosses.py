"""Cross networks, masks, gates and norms over the fields of both sides, by both exporters of torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import pytest

from recserve.rates import Rate

torch = pytest.importorskip("torch")
nn = torch.nn

USER, ITEM = Rate.REQUEST, Rate.ITEM


def mlp(*widths: int, norm: bool = False) -> Any:
    layers: list[Any] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Fields(nn.Module):  # type: ignore[misc]
    rates: ClassVar = {"u0": USER, "i0": ITEM, "u1": USER, "i1": ITEM, "u2": USER, "i2": ITEM}
    shapes: ClassVar = dict.fromkeys(rates, (8,))


class _Cross(Fields):
    W = 48

    def forward(self, *f: Any) -> Any:
        x0 = torch.cat(f, 1)
        x = x0
        for k in range(3):
            x = self.layer(k, x0, x)
        return torch.sigmoid(self.top(x))


class CrossV1(_Cross):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.ModuleList([nn.Linear(48, 1, bias=False) for _ in range(3)])
        self.b = nn.ParameterList([nn.Parameter(torch.randn(48)) for _ in range(3)])
        self.top = nn.Linear(48, 1)

    def layer(self, k: Any, x0: Any, x: Any) -> Any:
        return x0 * self.w[k](x) + self.b[k] + x


class CrossV1Keras(_Cross):
    """matmul with column vectors (fuxi / deepctr)"""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 48, 1) * 0.1)
        self.b = nn.Parameter(torch.randn(3, 48, 1) * 0.1)
        self.top = nn.Linear(48, 1)

    def forward(self, *f: Any) -> Any:
        x0 = torch.cat(f, 1).unsqueeze(2)
        x = x0
        for k in range(3):
            xw = torch.tensordot(x, self.w[k], dims=([1], [0]))
            x = torch.matmul(x0, xw) + self.b[k] + x
        return torch.sigmoid(self.top(torch.squeeze(x, 2)))


class CrossV2(_Cross):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.ModuleList([nn.Linear(48, 48) for _ in range(3)])
        self.top = nn.Linear(48, 1)

    def layer(self, k: Any, x0: Any, x: Any) -> Any:
        return x0 * self.w[k](x) + x


class CrossV2Column(_Cross):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 48, 48) * 0.1)
        self.b = nn.Parameter(torch.randn(3, 48, 1) * 0.1)
        self.top = nn.Linear(48, 1)

    def forward(self, *f: Any) -> Any:
        x0 = torch.cat(f, 1).unsqueeze(2)
        x = x0
        for k in range(3):
            x = x0 * (torch.matmul(self.w[k], x) + self.b[k]) + x
        return torch.sigmoid(self.top(torch.squeeze(x, 2)))


class CrossLowRank(_Cross):
    def __init__(self) -> None:
        super().__init__()
        self.v = nn.ModuleList([nn.Linear(48, 8, bias=False) for _ in range(3)])
        self.u = nn.ModuleList([nn.Linear(8, 48) for _ in range(3)])
        self.top = nn.Linear(48, 1)

    def layer(self, k: Any, x0: Any, x: Any) -> Any:
        return x0 * self.u[k](self.v[k](x)) + x


class CrossMix(_Cross):
    """DCN-Mix: experts stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.randn(3, 4, 48, 8) * 0.1)
        self.c = nn.Parameter(torch.randn(3, 4, 8, 8) * 0.1)
        self.u = nn.Parameter(torch.randn(3, 4, 8, 48) * 0.1)
        self.g = nn.ModuleList([nn.Linear(48, 4) for _ in range(3)])
        self.top = nn.Linear(48, 1)

    def layer(self, k: Any, x0: Any, x: Any) -> Any:
        h = torch.einsum("nd,edr->ner", x, self.v[k]).tanh()
        h = torch.einsum("ner,erq->neq", h, self.c[k]).tanh()
        h = torch.einsum("neq,eqd->ned", h, self.u[k])
        g = torch.softmax(self.g[k](x), 1)
        return x0 * torch.einsum("ned,ne->nd", h, g) + x


class Dcnv2Parallel(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.c = CrossV2()
        self.deep = mlp(48, 32, 16)
        self.top = nn.Linear(64, 1)

    def forward(self, *f: Any) -> Any:
        x0 = torch.cat(f, 1)
        x = x0
        for k in range(3):
            x = self.c.layer(k, x0, x)
        return torch.sigmoid(self.top(torch.cat([x, self.deep(x0)], 1)))


class BnStacked(Fields):
    """BN over [N,F,d] fields (channels F), then flatten -> linear"""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(6)
        self.top = mlp(48, 16, 1)

    def forward(self, *f: Any) -> Any:
        return torch.sigmoid(self.top(self.bn(torch.stack(f, 1)).flatten(1)))


class BnSliced(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(48)
        self.a = mlp(20, 16, 1)
        self.b = mlp(28, 16, 1)

    def forward(self, *f: Any) -> Any:
        x = self.bn(torch.cat(f, 1))
        return torch.sigmoid(self.a(x[:, 5:25]) + self.b(torch.cat([x[:, :5], x[:, 25:]], 1)))


class BnReshaped(Fields):
    """cat -> view [N, 12, 4] -> BN over 12 -> view back -> linear"""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(12)
        self.top = mlp(48, 16, 1, norm=True)

    def forward(self, *f: Any) -> Any:
        x = self.bn(torch.cat(f, 1).view(-1, 12, 4)).view(-1, 48)
        return torch.sigmoid(self.top(x))


class Interleaved(Fields):
    """stack on the last axis: columns of different sides alternate"""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(48)
        self.top = mlp(48, 16, 1)

    def forward(self, *f: Any) -> Any:
        return torch.sigmoid(self.top(self.bn(torch.stack(f, -1).reshape(-1, 48))))


class ColumnPick(Fields):
    """x[:, perm] before the layer"""

    def __init__(self) -> None:
        super().__init__()
        self.top = mlp(48, 16, 1)
        self.register_buffer("p", torch.randperm(48))

    def forward(self, *f: Any) -> Any:
        return torch.sigmoid(self.top(torch.cat(f, 1)[:, self.p]))


class LayerNormed(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(48)
        self.top = mlp(48, 16, 1)

    def forward(self, *f: Any) -> Any:
        return torch.sigmoid(self.top(self.ln(torch.cat(f, 1))))


class Gdcn(_Cross):
    """A cross network with gates."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.g = (nn.ModuleList([nn.Linear(48, 48) for _ in range(3)]) for _ in range(2))
        self.top = nn.Linear(48, 1)

    def layer(self, k: Any, x0: Any, x: Any) -> Any:
        return x0 * self.w[k](x) * torch.sigmoid(self.g[k](x)) + x


class MaskNet(Fields):
    """A mask made of all fields times a normed copy of them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.hidden_norm = nn.LayerNorm(48), nn.LayerNorm(16)
        self.mask, self.hidden, self.top = mlp(48, 64, 48), nn.Linear(48, 16), nn.Linear(16, 1)

    def forward(self, *f: Any) -> Any:
        x = torch.cat(f, 1)
        hidden = torch.relu(self.hidden_norm(self.hidden(self.mask(x) * self.norm(x))))
        return torch.sigmoid(self.top(hidden))


class MaskNetByField(Fields):
    """As published: each field has a norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(8) for _ in range(6)])
        self.mask, self.hidden, self.top = mlp(48, 64, 48), nn.Linear(48, 16), nn.Linear(16, 1)

    def forward(self, *f: Any) -> Any:
        normed = torch.cat([n(x) for n, x in zip(self.norms, f, strict=True)], 1)
        return torch.sigmoid(self.top(torch.relu(self.hidden(self.mask(torch.cat(f, 1)) * normed))))


class FinalMlp(Fields):
    """Two streams, gated by fields, joined by a bilinear form of two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList([mlp(8, 48), mlp(8, 48)])
        self.streams = nn.ModuleList([mlp(48, 32, 8), mlp(48, 32, 8)])
        self.linear, self.w = (
            nn.ModuleList([nn.Linear(8, 1) for _ in range(2)]),
            nn.Parameter(torch.randn(2, 4, 4) * 0.3),
        )

    def forward(self, *f: Any) -> Any:
        flat = torch.cat(f, 1)
        a, b = (s(flat * torch.sigmoid(g(x)) * 2) for s, g, x in zip(self.streams, self.gates, f[:2], strict=True))
        left, right = a.view(-1, 2, 1, 4), b.view(-1, 2, 4, 1)
        both = torch.matmul(torch.matmul(left, self.w), right).reshape(-1, 2).sum(1, keepdim=True)
        return torch.sigmoid(both + self.linear[0](a) + self.linear[1](b))


class EulerNet(Fields):
    """Fields as complex numbers: phases and log moduli are mixed linearly."""

    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.rand(1, 6, 1) + 0.5)
        self.inter, self.top = nn.Linear(48, 16, bias=False), nn.Linear(32, 1)

    def forward(self, *f: Any) -> Any:
        x = torch.stack(f, 1)
        real, imaginary = self.mu * torch.cos(x), self.mu * torch.sin(x)
        modulus = 0.5 * torch.log(real**2 + imaginary**2 + 1e-8)
        phase, modulus = self.inter(torch.atan2(imaginary, real).flatten(1)), self.inter(modulus.flatten(1))
        radius = torch.exp(modulus)
        return torch.sigmoid(self.top(torch.cat([radius * torch.cos(phase), radius * torch.sin(phase)], 1)))


class WideDeepBatchNorm(Fields):
    """A norm over all columns first, then the wide and the deep part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.deep, self.wide = nn.BatchNorm1d(48), mlp(48, 32, 16, 1, norm=True), nn.Linear(48, 1)

    def forward(self, *f: Any) -> Any:
        x = self.norm(torch.cat(f, 1))
        return torch.sigmoid(self.deep(x) + self.wide(x))


FLAT_SHARE: dict[Any, float] = {
    CrossV1: 0.91,
    CrossV1Keras: 0.77,
    CrossV2: 0.7,
    CrossV2Column: 0.7,
    CrossLowRank: 0.74,
    CrossMix: 0.87,
    Dcnv2Parallel: 0.61,
    BnStacked: 0.05,
    BnSliced: 0.09,
    BnReshaped: 0.05,
    Interleaved: 0.05,
    ColumnPick: 0.05,
    LayerNormed: 1.04,
    Gdcn: 0.7,
    MaskNet: 0.59,
    MaskNetByField: 0.58,
    FinalMlp: 0.5,
    EulerNet: 0.5,
    WideDeepBatchNorm: 0.28,
}
"""How much of the flat graph's operations the candidate part may have."""

QUICK = {CrossV2}
"""Exported with dynamo, which takes seconds, in every run of the tests; the others in the slow ones."""


def test_a_published_model_splits_and_scores_like_the_flat_one(module: Any, is_dynamo: bool, prove_export: Any) -> None:
    prove_export(module, is_dynamo, FLAT_SHARE[module], steps=7)
