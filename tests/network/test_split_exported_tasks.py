"""Models of several goals (MMoE, PLE, ESMM, AITM, STAR), by both exporters of torch."""

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


class _Pair(nn.Module):  # type: ignore[misc]
    rates: ClassVar = {"user": USER, "item": ITEM}
    shapes: ClassVar = dict.fromkeys(rates, (8,))


class _Moe(_Pair):
    goals = ("ctr", "cvr")

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 16, 6) * 0.2)
        self.b = nn.Parameter(torch.randn(3, 6) * 0.2)
        self.w2 = nn.Parameter(torch.randn(3, 6, 6) * 0.2)
        self.gates = nn.ModuleList([nn.Linear(16, 3) for _ in range(2)])
        self.towers = nn.ModuleList([nn.Linear(6, 1) for _ in range(2)])

    def forward(self, user: Any, item: Any) -> Any:
        x = torch.cat([user, item], 1)
        e = self.experts(x)  # N,E,H
        out = []
        for g, t in zip(self.gates, self.towers, strict=False):
            w = torch.softmax(g(x), -1)
            out.append(torch.sigmoid(t(torch.einsum("ne,neh->nh", w, e))))
        return tuple(out)


class MmoeEinsum(_Moe):
    def experts(self, x: Any) -> Any:
        return torch.relu(torch.einsum("nd,edh->neh", x, self.w) + self.b)


class MmoeMatmulLeft(_Moe):
    def experts(self, x: Any) -> Any:
        return torch.relu(torch.matmul(x, self.w) + self.b[:, None, :]).transpose(0, 1)


class MmoeBmm(_Moe):
    def experts(self, x: Any) -> Any:
        return torch.relu(torch.bmm(x.unsqueeze(0).expand(3, -1, -1), self.w) + self.b[:, None, :]).permute(1, 0, 2)


class MmoeMatmulRows(_Moe):
    def experts(self, x: Any) -> Any:
        return torch.relu(torch.matmul(x[:, None, None, :], self.w) + self.b[:, None, :]).squeeze(2)


class MmoeTensordot(_Moe):
    def experts(self, x: Any) -> Any:
        return torch.relu(torch.tensordot(x, self.w.permute(1, 0, 2), dims=1) + self.b)


class MmoeOneLinear(_Moe):
    def experts(self, x: Any) -> Any:
        return torch.relu(
            nn.functional.linear(x, self.w.permute(0, 2, 1).reshape(18, 16), self.b.reshape(-1)).view(-1, 3, 6)
        )


class MmoeTwoLayers(_Moe):
    def experts(self, x: Any) -> Any:
        return torch.einsum("neh,ehk->nek", torch.relu(torch.einsum("nd,edh->neh", x, self.w) + self.b), self.w2)


class MmoeGateStack(_Moe):
    """gates stacked [G,E], output by matmul"""

    def forward(self, user: Any, item: Any) -> Any:
        x = torch.cat([user, item], 1)
        e = torch.relu(torch.einsum("nd,edh->neh", x, self.w) + self.b)
        g = torch.softmax(torch.stack([f(x) for f in self.gates], 1), -1)
        m = torch.matmul(g, e)
        return tuple(torch.sigmoid(t(m[:, k])) for k, t in enumerate(self.towers))


class Ple(_Pair):
    goals = ("ctr", "cvr")

    def __init__(self) -> None:
        super().__init__()
        self.e = nn.ModuleList([nn.ModuleList([mlp(16, 8) for _ in range(2)]) for _ in range(3)])
        self.g = nn.ModuleList([nn.Linear(16, 4), nn.Linear(16, 4), nn.Linear(16, 6)])
        self.e2 = nn.ModuleList([nn.ModuleList([mlp(8, 8) for _ in range(2)]) for _ in range(3)])
        self.g2 = nn.ModuleList([nn.Linear(8, 4), nn.Linear(8, 4)])
        self.t = nn.ModuleList([nn.Linear(8, 1) for _ in range(2)])

    def forward(self, user: Any, item: Any) -> Any:
        x = torch.cat([user, item], 1)
        E = [[torch.relu(f(x)) for f in g] for g in self.e]

        def mixed(es: Any, w: Any) -> Any:
            return (torch.stack(es, 1) * torch.softmax(w, -1).unsqueeze(-1)).sum(1)

        a = mixed(E[0] + E[2], self.g[0](x))
        b = mixed(E[1] + E[2], self.g[1](x))
        c = mixed(E[0] + E[1] + E[2], self.g[2](x))
        E2 = [[torch.relu(f(v)) for f in g] for g, v in zip(self.e2, (a, b, c), strict=False)]
        return tuple(torch.sigmoid(self.t[k](mixed(E2[k] + E2[2], self.g2[k](v)))) for k, v in enumerate((a, b)))


class Esmm(_Pair):
    """Two towers over the same input; the second goal is the product."""

    goals = ("ctr", "ctcvr")

    def __init__(self) -> None:
        super().__init__()
        self.ctr, self.cvr = mlp(16, 12, 6, 1), mlp(16, 12, 6, 1)

    def forward(self, user: Any, item: Any) -> Any:
        x = torch.cat([user, item], 1)
        ctr, cvr = torch.sigmoid(self.ctr(x)), torch.sigmoid(self.cvr(x))
        return ctr, ctr * cvr


class Aitm(_Pair):
    """Adaptive information transfer from the first goal to the second."""

    goals = ("ctr", "cvr")

    def __init__(self) -> None:
        super().__init__()
        self.towers, self.info = nn.ModuleList([mlp(16, 12, 6), mlp(16, 12, 6)]), nn.Linear(6, 6)
        self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(3))
        self.tops = nn.ModuleList([nn.Linear(6, 1) for _ in range(2)])

    def forward(self, user: Any, item: Any) -> Any:
        x = torch.cat([user, item], 1)
        first, second = (t(x) for t in self.towers)
        both = torch.stack([self.info(first), second], 1)
        weights = torch.softmax((self.q(both) * self.k(both)).sum(2, keepdim=True) / 6**0.5, 1)
        second = (weights * self.v(both)).sum(1)
        return torch.sigmoid(self.tops[0](first)), torch.sigmoid(self.tops[1](second))


class Star(_Pair):
    """A shared net times a net of the request's domain, both stacked by domain."""

    rates: ClassVar = {"user": USER, "item": ITEM, "domain": USER}
    shapes: ClassVar = {"user": (8,), "item": (8,), "domain": (3,)}

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.ParameterList(
            [nn.Parameter(torch.randn(16, 12) * 0.3), nn.Parameter(torch.randn(12, 1) * 0.3)]
        )
        self.own = nn.ParameterList([nn.Parameter(torch.rand(3, 16, 12)), nn.Parameter(torch.rand(3, 12, 1))])

    def forward(self, user: Any, item: Any, domain: Any) -> Any:
        x = torch.cat([user, item], 1).unsqueeze(1)
        for k, (shared, own) in enumerate(zip(self.shared, self.own, strict=True)):
            w = shared * torch.einsum("ns,sdh->ndh", domain, own)
            x = torch.bmm(x, w)
            x = torch.relu(x) if k == 0 else x
        return torch.sigmoid(x.squeeze(1))


class SharedBottom(_Pair):
    """One net for both goals, a tower each."""

    goals = ("ctr", "cvr")

    def __init__(self) -> None:
        super().__init__()
        self.bottom, self.towers = mlp(16, 24, 12), nn.ModuleList([mlp(12, 6, 1) for _ in range(2)])

    def forward(self, user: Any, item: Any) -> Any:
        hidden = torch.relu(self.bottom(torch.cat([user, item], 1)))
        return tuple(torch.sigmoid(t(hidden)) for t in self.towers)


class PepNet(_Pair):
    """Gates made of one side scale the hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 12), nn.Linear(12, 6)])
        self.gates, self.top = nn.ModuleList([mlp(8, 12, 12), mlp(8, 12, 6)]), nn.Linear(6, 1)

    def forward(self, user: Any, item: Any) -> Any:
        x = torch.cat([user, item], 1)
        for layer, gate in zip(self.layers, self.gates, strict=True):
            x = torch.relu(layer(x)) * 2 * torch.sigmoid(gate(user))
        return torch.sigmoid(self.top(x))


FLAT_SHARE: dict[Any, float] = {
    MmoeEinsum: 0.19,
    MmoeMatmulLeft: 0.19,
    MmoeBmm: 0.19,
    MmoeMatmulRows: 0.19,
    MmoeTensordot: 0.19,
    MmoeOneLinear: 0.17,
    MmoeTwoLayers: 0.35,
    MmoeGateStack: 0.19,
    Ple: 0.46,
    Esmm: 0.36,
    Aitm: 0.59,
    Star: 0.14,
    SharedBottom: 0.6,
    PepNet: 0.15,
}
"""How much of the flat graph's operations the candidate part may have."""

QUICK = {Ple}
"""Exported with dynamo, which takes seconds, in every run of the tests; the others in the slow ones."""


def test_a_published_model_splits_and_scores_like_the_flat_one(module: Any, is_dynamo: bool, prove_export: Any) -> None:
    prove_export(module, is_dynamo, FLAT_SHARE[module], steps=7)
