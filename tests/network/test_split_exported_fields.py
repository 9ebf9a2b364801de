"""Models over pairs of fields (factorisation machines, DLRM, attention over fields), by both exporters of torch."""

from __future__ import annotations

from itertools import combinations, pairwise
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


class FwFmLoop(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.r = nn.Parameter(torch.randn(6, 6))

    def forward(self, *f: Any) -> Any:
        t = 0
        for i, j in combinations(range(6), 2):
            t = t + self.r[i, j] * (f[i] * f[j]).sum(1)
        return torch.sigmoid(t)


class FwFmIndex(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.r = nn.Linear(15, 1)
        p = list(combinations(range(6), 2))
        self.register_buffer("a", torch.tensor([x[0] for x in p]))
        self.register_buffer("b", torch.tensor([x[1] for x in p]))

    def forward(self, *f: Any) -> Any:
        v = torch.stack(f, 1)
        ip = (v[:, self.a] * v[:, self.b]).sum(-1)
        return torch.sigmoid(self.r(ip))


class FwFmSelect(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.r = nn.Linear(15, 1)
        p = list(combinations(range(6), 2))
        self.register_buffer("a", torch.tensor([x[0] for x in p]))
        self.register_buffer("b", torch.tensor([x[1] for x in p]))

    def forward(self, *f: Any) -> Any:
        v = torch.stack(f, 1)
        ip = (torch.index_select(v, 1, self.a) * torch.index_select(v, 1, self.b)).sum(-1)
        return torch.sigmoid(self.r(ip))


class FwFmMatrix(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.r = nn.Parameter(torch.randn(6, 6))

    def forward(self, *f: Any) -> Any:
        v = torch.stack(f, 1)
        z = v @ v.transpose(1, 2)
        return torch.sigmoid((z * torch.triu(self.r, 1)).sum((1, 2)))


class FwFmMix(Fields):
    """FmFM-ish: field matrix applied then product."""

    def __init__(self) -> None:
        super().__init__()
        self.r = nn.Parameter(torch.randn(6, 6))

    def forward(self, *f: Any) -> Any:
        v = torch.stack(f, 1)
        w = torch.einsum("nfd,fg->ngd", v, torch.triu(self.r, 1))
        return torch.sigmoid((w * v).sum((1, 2)))


class BiInteraction(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(8)
        self.top = mlp(8, 16, 1, norm=True)

    def forward(self, *f: Any) -> Any:
        v = torch.stack(f, 1)
        return torch.sigmoid(self.top(self.bn(0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)))))


class FmBmm(Fields):
    def forward(self, *f: Any) -> Any:
        v = torch.cat([x.unsqueeze(1) for x in f], 1)
        sq = torch.square(torch.sum(v, 1, keepdim=True))
        ss = torch.sum(torch.square(v), 1, keepdim=True)
        return torch.sigmoid(0.5 * torch.sum(sq - ss, 2))


class _Dlrm(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.bot = mlp(8, 16, 8)
        self.top = mlp(8 + 21, 32, 1)

    def forward(self, *f: Any) -> Any:
        x = self.bot(f[0])
        t = torch.cat([x, *f], 1).view(-1, 7, 8)
        return torch.sigmoid(self.top(torch.cat([x, self.pairs(t)], 1)))


class DlrmIndex(_Dlrm):
    def pairs(self, t: Any) -> Any:
        z = torch.bmm(t, t.transpose(1, 2))
        li = torch.tensor([i for i in range(7) for j in range(i)])
        lj = torch.tensor([j for i in range(7) for j in range(i)])
        return z[:, li, lj]


class DlrmFlat(_Dlrm):
    def pairs(self, t: Any) -> Any:
        z = torch.matmul(t, t.permute(0, 2, 1)).flatten(1)
        idx = torch.tensor([i * 7 + j for i in range(7) for j in range(i)])
        return z[:, idx]


class DlrmMask(_Dlrm):
    """torchrec InteractionArch."""

    def pairs(self, t: Any) -> Any:
        tri = torch.triu_indices(7, 7, offset=1)
        z = torch.bmm(t, torch.transpose(t, 1, 2))
        return z[:, tri[0], tri[1]]


class DlrmStackMasked(_Dlrm):
    def pairs(self, t: Any) -> Any:
        z = torch.bmm(t, t.transpose(1, 2))
        z = torch.tril(z, -1)
        return torch.nn.functional.pad(z.flatten(1)[:, :21], (0, 0))


class AutoInt(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.r = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.top = nn.Linear(48, 1)

    def forward(self, *f: Any) -> Any:
        x = torch.stack(f, 1)
        q, k, v, r = self.q(x), self.k(x), self.v(x), self.r(x)
        q, k, v = (torch.cat(y.split(4, 2), 0) for y in (q, k, v)) if False else (q, k, v)
        y = torch.relu(torch.softmax(q @ k.transpose(1, 2), -1) @ v + r)
        return torch.sigmoid(self.top(y.flatten(1)))


class Pnn(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.top = mlp(48 + 15, 16, 1)

    def forward(self, *f: Any) -> Any:
        p = [(f[i] * f[j]).sum(1, keepdim=True) for i, j in combinations(range(6), 2)]
        return torch.sigmoid(self.top(torch.cat([*f, *p], 1)))


class Fibinet(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Linear(8, 8, bias=False)
        self.se = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6), nn.ReLU())
        self.top = mlp(240, 16, 1)

    def bi(self, x: Any) -> Any:
        return torch.cat([self.w(x[:, i]) * x[:, j] for i, j in combinations(range(6), 2)], 1)

    def forward(self, *f: Any) -> Any:
        x = torch.stack(f, 1)
        v = x * self.se(x.mean(2)).unsqueeze(2)
        return torch.sigmoid(self.top(torch.cat([self.bi(x), self.bi(v)], 1)))


class Cin(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv1d(36, 10, 1)
        self.top = nn.Linear(10, 1)

    def forward(self, *f: Any) -> Any:
        x = torch.stack(f, 1)
        z = torch.einsum("nhd,nmd->nhmd", x, x).reshape(-1, 36, 8)
        return torch.sigmoid(self.top(torch.relu(self.c(z)).sum(2)))


class Nfm(Fields):
    """A bi-interaction layer, then a deep net; the linear part beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.top = nn.Linear(48, 1), mlp(8, 16, 1)

    def forward(self, *f: Any) -> Any:
        v = torch.stack(f, 1)
        pooled = ((v.sum(1) ** 2) - (v * v).sum(1)) / 2
        return torch.sigmoid(self.linear(torch.cat(f, 1)) + self.top(pooled))


class FmFm(Fields):
    """A matrix for each pair of fields."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(15, 8, 8) * 0.3)

    def forward(self, *f: Any) -> Any:
        total = 0
        for k, (i, j) in enumerate(combinations(range(6), 2)):
            total = total + (torch.matmul(f[i], self.w[k]) * f[j]).sum(1)
        return torch.sigmoid(total)


class Afm(Fields):
    """Pairs of fields, weighted by an attention net."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(combinations(range(6), 2))
        self.left, self.right = [i for i, _ in pairs], [j for _, j in pairs]
        self.attention, self.top = mlp(8, 4, 1), nn.Linear(8, 1)

    def forward(self, *f: Any) -> Any:
        v = torch.stack(f, 1)
        products = v[:, self.left] * v[:, self.right]
        weights = torch.softmax(self.attention(products), 1)
        return torch.sigmoid(self.top((weights * products).sum(1)))


class OuterPnn(Fields):
    """The outer product of the sum over fields."""

    def __init__(self) -> None:
        super().__init__()
        self.top = mlp(48 + 64, 16, 1)

    def forward(self, *f: Any) -> Any:
        total = torch.stack(f, 1).sum(1)
        outer = torch.bmm(total.unsqueeze(2), total.unsqueeze(1)).flatten(1)
        return torch.sigmoid(self.top(torch.cat([*f, outer], 1)))


class XDeepFm(Fields):
    """Two layers of a compressed interaction network, a deep net and a linear part."""

    def __init__(self) -> None:
        super().__init__()
        self.cin = nn.ModuleList([nn.Conv1d(36, 8, 1), nn.Conv1d(48, 8, 1)])
        self.deep, self.linear, self.top = mlp(48, 16, 1), nn.Linear(48, 1), nn.Linear(16, 1)

    def forward(self, *f: Any) -> Any:
        x = torch.stack(f, 1)
        state, pooled = x, []
        for layer in self.cin:
            outer = torch.einsum("nhd,nmd->nhmd", state, x)
            state = torch.relu(layer(outer.reshape(outer.shape[0], -1, 8)))
            pooled.append(state.sum(-1))
        flat = torch.cat(f, 1)
        return torch.sigmoid(self.top(torch.cat(pooled, 1)) + self.deep(flat) + self.linear(flat))


class AutoIntHeads(Fields):
    """Two heads of self attention over the fields, twice, with residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleList([nn.Linear(8, 8, bias=False) for _ in range(4)]) for _ in range(2)])
        self.top = nn.Linear(48, 1)

    def forward(self, *f: Any) -> Any:
        x = torch.stack(f, 1)
        for q, k, v, r in self.layers:
            heads = [y.view(-1, 6, 2, 4).transpose(1, 2) for y in (q(x), k(x), v(x))]
            mixed = torch.softmax(heads[0] @ heads[1].transpose(-1, -2) / 2.0, -1) @ heads[2]
            x = torch.relu(mixed.transpose(1, 2).reshape(-1, 6, 8) + r(x))
        return torch.sigmoid(self.top(x.flatten(1)))


class FibinetEach(Fields):
    """A bilinear matrix for each left field, squeeze and excitation before it."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.ModuleList([nn.Linear(8, 8, bias=False) for _ in range(6)])
        self.squeeze, self.top = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6), nn.ReLU()), mlp(240, 16, 1)

    def pairs(self, f: Any) -> Any:
        return torch.stack([self.w[i](f[i]) * f[j] for i, j in combinations(range(6), 2)], 1)

    def forward(self, *f: Any) -> Any:
        x = torch.stack(f, 1)
        scaled = x * self.squeeze(x.mean(-1)).unsqueeze(-1)
        both = torch.cat([self.pairs(f), self.pairs(scaled.unbind(1))], 1)
        return torch.sigmoid(self.top(both.flatten(1)))


class FmSumOfSquares(Fields):
    """A factorisation machine with its linear part, `(Σv)² - Σv²`, by `pow` and `sum`."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.ModuleList([nn.Linear(8, 1, bias=False) for _ in range(6)])
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, *f: Any) -> Any:
        first = sum(w(x) for w, x in zip(self.linear, f, strict=True)) + self.bias
        v = torch.stack(f, 1)
        return torch.sigmoid(first + 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(1, keepdim=True))


FLAT_SHARE: dict[Any, float | tuple[float, float]] = {
    FwFmLoop: 0.62,
    FwFmIndex: 0.63,
    FwFmSelect: 0.63,
    FwFmMatrix: 0.26,
    FwFmMix: 0.22,
    BiInteraction: 0.81,
    FmBmm: 0.26,
    DlrmIndex: 0.36,
    DlrmFlat: 0.36,
    DlrmMask: 0.36,
    DlrmStackMasked: 0.54,
    AutoInt: 0.26,
    Pnn: 0.23,
    Fibinet: 0.78,
    Cin: 0.99,
    Nfm: 0.65,
    FmFm: 0.08,
    Afm: 0.98,
    OuterPnn: 0.59,
    XDeepFm: 0.92,
    AutoIntHeads: 0.68,
    FibinetEach: 0.78,
    FmSumOfSquares: 0.17,
}
"""How much of the flat graph's operations the candidate part may have: with dynamo and legacy where they differ."""

QUICK = {DlrmIndex}
"""Exported with dynamo, which takes seconds, in every run of the tests; the others in the slow ones."""


def test_a_published_model_splits_and_scores_like_the_flat_one(module: Any, is_dynamo: bool, prove_export: Any) -> None:
    prove_export(module, is_dynamo, FLAT_SHARE[module], steps=7)
