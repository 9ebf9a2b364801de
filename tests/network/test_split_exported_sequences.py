"""Models over a history (DIN, DIEN, transformers, HSTU), by both exporters of torch."""

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


class _Sides(nn.Module):  # type: ignore[misc]
    rates: ClassVar = {"user": USER, "item": ITEM, "hist": USER, "hist.lengths": USER}
    shapes: ClassVar = {"user": (4,), "item": (8,), "hist": (5, 8), "hist.lengths": ()}


class _History(nn.Module):  # type: ignore[misc]
    rates: ClassVar = {"item": ITEM, "hist": USER, "hist.lengths": USER}
    shapes: ClassVar = {"item": (8,), "hist": (5, 8), "hist.lengths": ()}


class _Din(_Sides):
    def __init__(self) -> None:
        super().__init__()
        self.att = self.unit()
        self.top = mlp(20, 16, 1, norm=True)

    def unit(self) -> Any:
        return nn.Sequential(nn.Linear(32, 16), nn.Sigmoid(), nn.Linear(16, 1))

    def mask(self, hist: Any, lengths: Any) -> Any:
        return torch.arange(hist.shape[1])[None, :] < lengths[:, None]

    def forward(self, user: Any, item: Any, hist: Any, lengths: Any) -> Any:
        sc = self.att(self.pairs(item, hist)).squeeze(-1)
        m = self.mask(hist, lengths)
        w = torch.softmax(torch.where(m, sc, torch.full_like(sc, -1e9)), 1)
        x = torch.bmm(w.unsqueeze(1), hist).squeeze(1)
        return torch.sigmoid(self.top(torch.cat([user, item, x], 1)))


class DinRepeat(_Din):
    def pairs(self, q: Any, k: Any) -> Any:
        q = q.unsqueeze(1).repeat(1, k.shape[1], 1)
        return torch.cat([q, k, q - k, q * k], -1)


class DinTileView(_Din):
    def pairs(self, q: Any, k: Any) -> Any:
        q = q.repeat(1, k.shape[1]).view(-1, k.shape[1], 8)
        return torch.cat([q, k, q - k, q * k], -1)


class DinBroadcast(_Din):
    def pairs(self, q: Any, k: Any) -> Any:
        q = q[:, None, :]
        return torch.cat([q.expand_as(k), k, q - k, q * k], -1)


class DinInterleave(_Din):
    def pairs(self, q: Any, k: Any) -> Any:
        q = torch.repeat_interleave(q.unsqueeze(1), k.shape[1], 1)
        return torch.cat([q, k, q - k, q * k], -1)


class DinOnes(_Din):
    def pairs(self, q: Any, k: Any) -> Any:
        q = q.unsqueeze(1) * torch.ones_like(k[:, :, :1])
        return torch.cat([k, q, k * q, k - q], -1)


class DinFolded(_Din):
    """attention MLP on [N·L, 4d]"""

    def pairs(self, q: Any, k: Any) -> Any:
        q = q.unsqueeze(1).expand(-1, k.shape[1], -1)
        return torch.cat([q, k, q - k, q * k], -1)

    def forward(self, user: Any, item: Any, hist: Any, lengths: Any) -> Any:
        p = self.pairs(item, hist)
        sc = self.att(p.reshape(-1, 32)).reshape(-1, hist.shape[1])
        m = self.mask(hist, lengths).float()
        w = sc * m
        x = (w.unsqueeze(-1) * hist).sum(1)
        return torch.sigmoid(self.top(torch.cat([user, item, x], 1)))


class Dice(nn.Module):
    def __init__(self, d: Any) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(d, affine=False, eps=1e-9)
        self.a = nn.Parameter(torch.randn(d))

    def forward(self, x: Any) -> Any:
        y = self.bn(x.transpose(1, 2)).transpose(1, 2) if x.dim() == 3 else self.bn(x)
        p = torch.sigmoid(y)
        return p * x + (1 - p) * self.a * x


class DinDice(DinBroadcast):
    def unit(self) -> Any:
        return nn.Sequential(nn.Linear(32, 16), Dice(16), nn.Linear(16, 1))


class DinStackSplit(_Din):
    """interleaved: stack on a new axis, then view"""

    def pairs(self, q: Any, k: Any) -> Any:
        q = q.unsqueeze(1).expand(-1, k.shape[1], -1)
        return torch.stack([q, k, q - k, q * k], 2).flatten(2)


class DinBatchNorm(_Din):
    def unit(self) -> Any:
        self.bn = nn.BatchNorm1d(32)
        return nn.Sequential(nn.Linear(32, 16), nn.PReLU(), nn.Linear(16, 1))

    def pairs(self, q: Any, k: Any) -> Any:
        q = q.unsqueeze(1).expand(-1, k.shape[1], -1)
        return self.bn(torch.cat([q, k, q - k, q * k], -1).transpose(1, 2)).transpose(1, 2)


class _Att(_History):
    H = 2

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.ln = nn.LayerNorm(8)
        self.ff = mlp(8, 16, 8)
        self.ln2 = nn.LayerNorm(8)
        self.top = mlp(16, 16, 1)

    def pad(self, hist: Any, lengths: Any) -> Any:
        return torch.arange(hist.shape[1])[None, :] >= lengths[:, None]

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:
        q = item.unsqueeze(1)
        x = self.ln(q + self.o(self.mix(self.q(q), self.k(hist), self.v(hist), self.pad(hist, lengths))))
        x = self.ln2(x + self.ff(x)).squeeze(1)
        return torch.sigmoid(self.top(torch.cat([item, x], 1)))


class TargetHand(_Att):
    def mix(self, q: Any, k: Any, v: Any, pad: Any) -> Any:
        n, _l = k.shape[0], k.shape[1]
        q, k, v = (x.view(x.shape[0], -1, 2, 4).transpose(1, 2) for x in (q, k, v))
        z = q @ k.transpose(-2, -1) / 2.0
        z = z.masked_fill(pad[:, None, None, :], float("-inf"))
        return (torch.softmax(z, -1) @ v).transpose(1, 2).reshape(n, 1, 8)


class TargetSdpa(_Att):
    def mix(self, q: Any, k: Any, v: Any, pad: Any) -> Any:
        q, k, v = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=~pad[:, None, None, :])
        return y.transpose(1, 2).flatten(2)


class TargetHeadsInBatch(_Att):
    """fairseq/legacy style: heads folded into the batch"""

    def mix(self, q: Any, k: Any, v: Any, pad: Any) -> Any:
        n = q.shape[0]

        def fold(x: Any) -> Any:
            return x.view(n, -1, 2, 4).transpose(1, 2).reshape(n * 2, -1, 4)

        q, k, v = fold(q), fold(k), fold(v)
        z = torch.bmm(q, k.transpose(1, 2)) * 0.5
        z = z.view(n, 2, 1, -1).masked_fill(pad[:, None, None, :], -1e9).view(n * 2, 1, -1)
        return torch.bmm(torch.softmax(z, -1), v).view(n, 2, 1, 4).transpose(1, 2).reshape(n, 1, 8)


class TargetMha(_History):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.MultiheadAttention(8, 2, batch_first=True)
        self.top = mlp(8, 16, 1)

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:
        pad = torch.arange(hist.shape[1])[None, :] >= lengths[:, None]
        q = item.unsqueeze(1)
        y, _ = self.a(q, hist, hist, key_padding_mask=pad, need_weights=False)
        return torch.sigmoid(self.top((q + y).squeeze(1)))


class TwoLayer(_History):
    """encoder over history, target attends in 2 layers"""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.ModuleList([_Att() for _ in range(2)])
        self.dec = nn.ModuleList([_Att() for _ in range(2)])
        self.top = mlp(8, 16, 1)

    def block(self, a: Any, q: Any, kv: Any, pad: Any) -> Any:
        m = TargetSdpa.mix
        x = a.ln(q + a.o(m(a, a.q(q), a.k(kv), a.v(kv), pad)))
        return a.ln2(x + a.ff(x))

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:
        pad = torch.arange(hist.shape[1])[None, :] >= lengths[:, None]
        for a in self.enc:
            hist = self.block(a, hist, hist, pad)
        x = item.unsqueeze(1)
        for a in self.dec:
            x = self.block(a, x, hist, pad)
        return torch.sigmoid(self.top(x.squeeze(1)))


class Hstu(_History):
    def __init__(self) -> None:
        super().__init__()
        self.uvqk = nn.Linear(8, 32)
        self.ln = nn.LayerNorm(8)
        self.ln2 = nn.LayerNorm(8)
        self.o = nn.Linear(8, 8)
        self.top = mlp(8, 16, 1)

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:
        x = torch.cat([hist, item.unsqueeze(1)], 1)
        u, v, q, k = torch.nn.functional.silu(self.uvqk(self.ln(x))).chunk(4, -1)
        n, steps = x.shape[0], hist.shape[1]
        q, k, v = (y.view(n, -1, 2, 4).transpose(1, 2) for y in (q, k, v))
        valid = torch.cat(
            [torch.arange(steps)[None, :] < lengths[:, None], torch.ones_like(lengths[:, None], dtype=torch.bool)], 1
        )
        a = torch.nn.functional.silu(q[:, :, -1:] @ k.transpose(-1, -2)) / (steps + 1)
        a = a * valid[:, None, None, :]
        y = (a @ v).transpose(1, 2).reshape(n, 1, 8)
        y = self.o(self.ln2(y) * u[:, -1:]) + x[:, -1:]
        return torch.sigmoid(self.top(y.squeeze(1)))


class HstuAll(Hstu):
    """all positions computed, last read at the end"""

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:
        x = torch.cat([hist, item.unsqueeze(1)], 1)
        u, v, q, k = torch.nn.functional.silu(self.uvqk(self.ln(x))).chunk(4, -1)
        n, steps = x.shape[0], hist.shape[1]
        q, k, v = (y.view(n, -1, 2, 4).transpose(1, 2) for y in (q, k, v))
        valid = torch.cat(
            [torch.arange(steps)[None, :] < lengths[:, None], torch.ones_like(lengths[:, None], dtype=torch.bool)], 1
        )
        a = torch.nn.functional.silu(q @ k.transpose(-1, -2)) / 6
        a = a * valid[:, None, None, :]
        y = (a @ v).transpose(1, 2).reshape(n, -1, 8)
        y = self.o(self.ln2(y) * u) + x
        return torch.sigmoid(self.top(y[:, -1]))


class Bst(_History):
    """self attention over [hist; item], pooled by mean"""

    def __init__(self) -> None:
        super().__init__()
        self.a = _Att()
        self.top = mlp(8, 16, 1)

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:  # noqa: ARG002
        x = torch.cat([hist, item.unsqueeze(1)], 1)
        a = self.a
        q, k, v = (f(x).unflatten(-1, (2, 4)).transpose(1, 2) for f in (a.q, a.k, a.v))
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = a.ln(x + a.o(y))
        y = a.ln2(y + a.ff(y))
        return torch.sigmoid(self.top(y.mean(1)))


class Dien(_Sides):
    """Interest evolution: a GRU over the history, attention by the item, an AUGRU of the attended steps."""

    is_fixed = True

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.attention = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 8)
        self.update, self.reset, self.new = (nn.Linear(16, 8) for _ in range(3))
        self.top = mlp(20, 16, 1)

    def forward(self, user: Any, item: Any, hist: Any, lengths: Any) -> Any:
        states, _ = self.gru(hist)
        scores = torch.bmm(states, self.attention(item).unsqueeze(2)).squeeze(2)
        mask = torch.arange(hist.shape[1])[None, :] < lengths[:, None]
        weights = torch.softmax(scores.masked_fill(~mask, -1e9), 1)
        h = torch.zeros_like(states[:, 0])
        for step in range(5):
            x, a = states[:, step], weights[:, step : step + 1]
            both = torch.cat([x, h], 1)
            u, r = torch.sigmoid(self.update(both)) * a, torch.sigmoid(self.reset(both))
            h = (1 - u) * h + u * torch.tanh(self.new(torch.cat([x, r * h], 1)))
        return torch.sigmoid(self.top(torch.cat([user, item, h], 1)))


class SasRec(_Att):
    """A causal transformer over the history; the last state meets the item in a dot product."""

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:
        steps = hist.shape[1]
        causal = torch.arange(steps)[None, :] <= torch.arange(steps)[:, None]
        visible = causal[None, None] & ~self.pad(hist, lengths)[:, None, None, :]
        q, k, v = (f(hist).unflatten(-1, (2, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        x = self.ln(hist + self.o(mixed.transpose(1, 2).flatten(2)))
        x = self.ln2(x + self.ff(x))
        return torch.sigmoid((x[:, -1] * item).sum(-1))


class BstLast(Bst):
    """A transformer layer over [history; item], of which the item's row is read."""

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:  # noqa: ARG002
        x = torch.cat([hist, item.unsqueeze(1)], 1)
        a = self.a
        q, k, v = (f(x).unflatten(-1, (2, 4)).transpose(1, 2) for f in (a.q, a.k, a.v))
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = a.ln(x + a.o(y))
        y = a.ln2(y + a.ff(y))
        return torch.sigmoid(self.top(y[:, -1]))


class TargetMhaFixed(TargetMha):
    """As TargetMha, exported with a fixed number of steps."""

    is_fixed = True


class CausalHstu(Hstu):
    """Two layers over [history; item] in which no position sees a later one."""

    is_fixed = True

    def block(self, x: Any, mask: Any) -> Any:
        u, v, q, k = nn.functional.silu(self.uvqk(self.ln(x))).chunk(4, -1)
        q, k, v = (y.view(y.shape[0], 6, 2, 4).transpose(1, 2) for y in (q, k, v))
        scores = nn.functional.silu(q @ k.transpose(-1, -2)) / 6 * mask
        mixed = (scores @ v).transpose(1, 2).reshape(-1, 6, 8)
        return self.o(self.ln2(mixed) * u) + x

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:  # noqa: ARG002
        x = torch.cat([hist, item.unsqueeze(1)], 1)
        mask = torch.tril(torch.ones(6, 6))
        for _ in range(2):
            x = self.block(x, mask)
        return torch.sigmoid(self.top(x[:, -1]))


class CausalTransformer(Bst):
    """Two softmax layers over [history; item] in which no position sees a later one."""

    is_fixed = True

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:  # noqa: ARG002
        x = torch.cat([hist, item.unsqueeze(1)], 1)
        a = self.a
        hidden = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
        for _ in range(2):
            q, k, v = (f(x).view(-1, 6, 2, 4).transpose(1, 2) for f in (a.q, a.k, a.v))
            scores = (q @ k.transpose(-1, -2) / 2.0).masked_fill(hidden, float("-inf"))
            mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(-1, 6, 8)
            x = a.ln(x + a.o(mixed))
            x = a.ln2(x + a.ff(x))
        return torch.sigmoid(self.top(x[:, -1]))


class CausalHstuSteps(Hstu):
    """As CausalHstu, of any number of steps: no position sees a later one, nor one that is padding."""

    def block(self, x: Any, mask: Any) -> Any:
        u, v, q, k = nn.functional.silu(self.uvqk(self.ln(x))).chunk(4, -1)
        n, steps = x.shape[0], x.shape[1]
        q, k, v = (y.view(n, steps, 2, 4).transpose(1, 2) for y in (q, k, v))
        scores = nn.functional.silu(q @ k.transpose(-1, -2)) / 6 * mask
        mixed = (scores @ v).transpose(1, 2).reshape(n, steps, 8)
        return self.o(self.ln2(mixed) * u) + x

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:
        x = torch.cat([hist, item.unsqueeze(1)], 1)
        at = torch.arange(x.shape[1])
        seen = torch.arange(hist.shape[1])[None, :] < lengths[:, None]
        valid = torch.cat([seen, torch.ones_like(lengths[:, None], dtype=torch.bool)], 1)
        mask = ((at[:, None] >= at[None, :])[None] & valid[:, None, :]).float()[:, None]
        for _ in range(2):
            x = self.block(x, mask)
        return torch.sigmoid(self.top(x[:, -1]))


class CausalTransformerSteps(Bst):
    """As CausalTransformer, of any number of steps, with a mask that is added."""

    def forward(self, item: Any, hist: Any, lengths: Any) -> Any:  # noqa: ARG002
        x = torch.cat([hist, item.unsqueeze(1)], 1)
        a, steps = self.a, x.shape[1]
        hidden = torch.triu(torch.full((steps, steps), float("-inf")), 1)
        for _ in range(2):
            q, k, v = (f(x).view(-1, steps, 2, 4).transpose(1, 2) for f in (a.q, a.k, a.v))
            mixed = torch.softmax(q @ k.transpose(-1, -2) / 2.0 + hidden, -1) @ v
            x = a.ln(x + a.o(mixed.transpose(1, 2).reshape(-1, steps, 8)))
            x = a.ln2(x + a.ff(x))
        return torch.sigmoid(self.top(x[:, -1]))


class MeanPooledTower(_Sides):
    """A YouTube-style user tower: the masked mean of the history, then a dot product."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.item = mlp(12, 16, 8), mlp(8, 16, 8)

    def forward(self, user: Any, item: Any, hist: Any, lengths: Any) -> Any:
        mask = (torch.arange(hist.shape[1])[None, :] < lengths[:, None]).float()
        mean = (hist * mask.unsqueeze(-1)).sum(1) / lengths.unsqueeze(1).clamp(min=1)
        u, i = self.tower(torch.cat([user, mean], 1)), self.item(item)
        return torch.sigmoid(nn.functional.cosine_similarity(u, i, dim=1))


FLAT_SHARE: dict[Any, float | tuple[float, float]] = {
    DinRepeat: 0.34,
    DinTileView: 0.34,
    DinBroadcast: 0.34,
    DinInterleave: (0.55, 1.0),
    DinOnes: 0.33,
    DinFolded: 0.34,
    DinDice: 0.4,
    DinStackSplit: 0.34,
    DinBatchNorm: 0.33,
    TargetHand: 0.18,
    TargetSdpa: 0.18,
    TargetHeadsInBatch: 0.18,
    TargetMha: (0.14, 1.01),
    TwoLayer: 0.02,
    Hstu: 0.08,
    HstuAll: 0.03,
    Bst: (0.88, 0.6),
    Dien: 0.28,
    SasRec: 0.01,
    BstLast: 0.03,
    TargetMhaFixed: 0.3,
    CausalHstu: 0.22,
    CausalTransformer: 0.22,
    CausalHstuSteps: 0.05,
    CausalTransformerSteps: 0.05,
    MeanPooledTower: 0.02,
}
"""How much of the flat graph's operations the candidate part may have: with dynamo and legacy where they differ."""

QUICK = {BstLast}
"""Exported with dynamo, which takes seconds, in every run of the tests; the others in the slow ones."""


def test_a_published_model_splits_and_scores_like_the_flat_one(module: Any, is_dynamo: bool, prove_export: Any) -> None:
    prove_export(module, is_dynamo, FLAT_SHARE[module], steps=5)
