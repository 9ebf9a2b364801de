"""Models that list their pairs of fields as positions, and legacy attention modules, as both exporters write them."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import onnx
import pytest

from recserve.network.split import SplitNetwork
from recserve.rates import Rate

torch = pytest.importorskip("torch")
nn = torch.nn

USER, ITEM = Rate.REQUEST, Rate.ITEM
FIRST, SECOND = zip(*itertools.combinations(range(6), 2), strict=True)


class _Fields(nn.Module):  # type: ignore[misc]
    rates: ClassVar = dict.fromkeys(("u0", "u1", "u2"), USER) | dict.fromkeys(("i0", "i1", "i2"), ITEM)
    shapes: ClassVar = dict.fromkeys(rates, (4,))


class FmFmListed(_Fields):
    """A matrix for each listed pair of fields."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(15, 4, 4))

    def forward(self, *fields: Any) -> Any:
        e = torch.stack(fields, 1)
        left, right = torch.index_select(e, 1, torch.tensor(FIRST)), torch.index_select(e, 1, torch.tensor(SECOND))
        turned = torch.matmul(left.unsqueeze(2), self.weight).squeeze(2)
        return torch.sigmoid((turned * right).sum((1, 2)))


class KernelPnn(_Fields):
    """Outer products with a kernel [d, pairs, d], then a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.top = nn.Parameter(torch.randn(4, 15, 4)), nn.Linear(39, 1)

    def forward(self, *fields: Any) -> Any:
        e = torch.stack(fields, 1)
        left, right = e[:, list(FIRST)], e[:, list(SECOND)]
        turned = (left.unsqueeze(1) * self.kernel).sum(-1).transpose(1, 2)
        return torch.sigmoid(self.top(torch.cat([e.flatten(1), (turned * right).sum(-1)], 1)))


class FieldAware(_Fields):
    """Each field has a vector for each other one (FFM, ONN); the products go into a dense layer."""

    shapes: ClassVar = dict.fromkeys(_Fields.rates, (12,))

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, *fields: Any) -> Any:
        e = torch.stack([x.view(-1, 6, 2) for x in fields], 1)
        left, right = torch.triu_indices(6, 6, 1)
        return torch.sigmoid(self.top((e[:, left, right] * e[:, right, left]).flatten(1)))


FLAT_SHARE: dict[Any, float] = {FmFmListed: 0.13, KernelPnn: 0.25, FieldAware: 0.66}
"""How much of the flat graph's operations the candidate part may have: 9 of 15 pairs meet both sides."""

QUICK = {FieldAware}


def test_a_model_of_listed_pairs_leaves_pairs_of_both_sides(module: Any, is_dynamo: bool, prove_export: Any) -> None:
    prove_export(module, is_dynamo, FLAT_SHARE[module], steps=7)


class Encoded(nn.Module):  # type: ignore[misc]
    """An encoder of PyTorch over the history, and one attention of its module by the item."""

    rates: ClassVar = {"item": ITEM, "hist": USER}
    shapes: ClassVar = {"item": (8,), "hist": (5, 8)}
    is_fixed = True

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.attention, self.top = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 1)

    def forward(self, item: Any, hist: Any) -> Any:
        states = self.encoder(hist)
        mixed, _ = self.attention(item.unsqueeze(1), states, states, need_weights=False)
        return torch.sigmoid(self.top(mixed.squeeze(1)))


def test_a_legacy_encoder_of_the_history_runs_once_a_request(export: Any, prove: Any, ops_of: Any) -> None:
    done: SplitNetwork = prove(export(Encoded, False), Encoded.rates, rows=9, items=4, steps=5)
    assert done.request is not None
    assert "LayerNormalization" in ops_of(done.request.model)
    left = ops_of(done.candidate.model)
    assert "LayerNormalization" not in left
    assert left.count("MatMul") + left.count("Gemm") <= 4


class SearchUnit(nn.Module):  # type: ignore[misc]
    """The steps most like the item, and attention over them (SIM)."""

    rates: ClassVar = {"item": ITEM, "hist": USER}
    shapes: ClassVar = {"item": (8,), "hist": (6, 8)}
    is_fixed = True

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8, bias=False) for _ in range(3))

    def forward(self, item: Any, hist: Any) -> Any:
        _, index = torch.topk(torch.bmm(hist, item.unsqueeze(2)).squeeze(2), 2, dim=1)
        steps = torch.gather(hist, 1, index.unsqueeze(2).expand(-1, -1, 8))
        scores = torch.bmm(self.query(item).unsqueeze(1), self.key(steps).transpose(1, 2))
        return torch.sigmoid(torch.bmm(torch.softmax(scores, -1), self.value(steps)).sum((1, 2)))


class OneUser(nn.Module):  # type: ignore[misc]
    """Two towers, of which the user's sees row 0 alone."""

    rates: ClassVar = {"user": USER, "item": ITEM}
    shapes: ClassVar = {"user": (6,), "item": (5,)}

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Linear(6, 4), nn.Linear(5, 4)

    def forward(self, user: Any, item: Any) -> Any:
        return torch.mm(self.item(item), nn.functional.normalize(torch.relu(self.user(user[:1]))).t())


@pytest.mark.parametrize("model", [SearchUnit, OneUser])
def test_layers_of_the_user_leave_the_candidates(model: Any, export: Any, prove: Any) -> None:
    done: SplitNetwork = prove(export(model, False), model.rates, rows=9, items=4, steps=6)
    assert done.request is not None
    weights = {w.name: tuple(w.dims) for w in onnx.load_model_from_string(done.candidate.model).graph.initializer}
    assert all(len(dims) < 2 for dims in weights.values())
