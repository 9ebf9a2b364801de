"""A network that looks its ids up itself becomes a bundle with tables, and ranks as torch scores."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from recserve.bundle import Bundle
from recserve.errors import ConfigError
from recserve.features.feature_set import FeatureSet
from recserve.ranker import Ranker

torch = pytest.importorskip("torch")
nn = torch.nn

USERS, ITEMS, WIDTH, STEPS = 6, 9, 4, 3
ITEM: Final = {"num_buckets": ITEMS, "default_value": "0", "embedding_name": "items", "embedding_dim": WIDTH + 1}
FEATURES: Final = {
    "features": [
        {"feature_name": "user", "feature_type": "id_feature", "expression": "user:user", "num_buckets": USERS}
        | {"default_value": "0", "embedding_dim": WIDTH, "embedding_name": "users"},
        {"feature_name": "item", "feature_type": "id_feature", "expression": "item:item"} | ITEM,
        {"sequence_name": "clicks", "sequence_length": STEPS, "features": [
            {"feature_name": "item", "feature_type": "id_feature", "expression": "user:item"} | ITEM]},
    ]
}  # fmt: skip


class Ids(nn.Module):  # type: ignore[misc]
    """A linear part and a dot product over ids; the history shares the table of the item."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(USERS, WIDTH), nn.Embedding(ITEMS, WIDTH)
        self.linear, self.top = nn.Embedding(ITEMS, 1), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, user: Any, item: Any, clicks: Any, lengths: Any) -> Any:
        mask = (torch.arange(clicks.shape[1])[None, :] < lengths[:, None]).float().unsqueeze(-1)
        interest = (self.items(clicks) * mask).sum(1)
        both = self.top(torch.cat([self.users(user).squeeze(1), interest], 1))
        return torch.sigmoid((both * self.items(item)).sum(1, keepdim=True) + self.linear(item))


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return Ids().eval()


def export(model: Any, path: Path, is_dynamo: bool) -> Path:
    args = (torch.tensor([[1], [2]]), torch.tensor([3, 4]), torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([3, 2]))
    names = ["user", "item", "clicks__item", "clicks.lengths"]
    axes = [{0: "N"}, {0: "N"}, {0: "N", 1: "L"}, {0: "N"}]
    shared: dict[str, Any] = {"input_names": names, "output_names": ["ctr"], "dynamo": is_dynamo}
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if is_dynamo:
            dims = tuple({k: torch.export.Dim(v) for k, v in a.items()} for a in axes)
            torch.onnx.export(model, args, str(path), dynamic_shapes=dims, verbose=False, **shared)
        else:
            named = dict(zip(names, axes, strict=True)) | {"ctr": {0: "N"}}
            torch.onnx.export(model, args, str(path), dynamic_axes=named, **shared)
    logging.disable(logging.NOTSET)
    return path


@pytest.mark.parametrize("is_dynamo", [True, False], ids=["dynamo", "legacy"])
def test_a_network_of_ids_ranks_as_torch_scores(model: Any, is_dynamo: bool, tmp_path: Path) -> None:
    network = export(model, tmp_path / "ids.onnx", is_dynamo)
    features = FeatureSet.from_fg_json(FEATURES)
    bundle = Bundle.build(features=features, tables={}, network=network, out=tmp_path / "ids" / "1")
    assert {name: (len(t), t.dim) for name, t in bundle.tables.items()} == {"users": (6, 4), "items": (9, 5)}
    ranker = Ranker.open(bundle.path, items=[{"item_id": n, "item": n} for n in range(ITEMS)])
    result = ranker.rank({"user": 5, "clicks__item": ["7", "2"]}, {}, {"item_id": list(range(ITEMS))})
    rows = torch.arange(ITEMS)
    want = model(rows[:, None] * 0 + 5, rows, torch.tensor([[7, 2]]).repeat(ITEMS, 1), rows * 0 + 2)
    given = dict(zip(result.item_ids, result.scores.tolist(), strict=True))
    np.testing.assert_allclose([given[n] for n in range(ITEMS)], want.detach().numpy()[:, 0], rtol=1e-5)


def test_ids_outside_the_table_are_mapped_by_the_features(model: Any, tmp_path: Path) -> None:
    features = FeatureSet.from_fg_json(FEATURES)
    network = export(model, tmp_path / "ids.onnx", False)
    bundle = Bundle.build(features=features, tables={}, network=network, out=tmp_path / "ids" / "1")
    ranker = Ranker.open(bundle.path, items=[{"item_id": n, "item": n} for n in range(2)])
    unknown, first = (
        ranker.rank({"user": user, "clicks__item": []}, {}, {"item_id": [0]}).scores[0] for user in (USERS + 3, 0)
    )
    assert unknown == first


def test_a_table_inside_the_network_is_not_given_too(model: Any, tmp_path: Path) -> None:
    network = export(model, tmp_path / "ids.onnx", False)
    tables = {"users": np.zeros((USERS, WIDTH), np.float32)}
    features = FeatureSet.from_fg_json(FEATURES)
    with pytest.raises(ConfigError, match="table 'users' is given, and the network has it inside too"):
        Bundle.build(features=features, tables=tables, network=network, out=tmp_path / "ids" / "1")


def test_a_table_with_fewer_rows_than_ids_is_refused(model: Any, tmp_path: Path) -> None:
    document = {"features": [dict(FEATURES["features"][0]) | {"num_buckets": USERS + 1}, *FEATURES["features"][1:]]}
    network = export(model, tmp_path / "ids.onnx", False)
    with pytest.raises(ConfigError, match="rows"):
        Bundle.build(features=FeatureSet.from_fg_json(document), tables={}, network=network, out=tmp_path / "ids" / "1")
