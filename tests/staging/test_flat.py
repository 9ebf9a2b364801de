from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.bundle import Bundle
from recserve.errors import DataError
from recserve.network.model import Network
from recserve.staging.cuts import match_inputs
from recserve.staging.flat import FlatPipeline

HASH = {"num_buckets": 5, "embedding_dim": 2, "default_value": "0"}
ROWS = np.array([[0, 0], [1, 10], [2, 20], [3, 30], [4, 40]], np.float32)
SEQUENCES: list[dict[str, Any]] = [
    {
        "sequence_name": "clicks",
        "features": [
            {"feature_name": "item", "feature_type": "id_feature", "expression": "user:item", **HASH},
            {"feature_name": "age", "feature_type": "raw_feature", "expression": "user:age"},
        ],
    },
    {"feature_name": "price", "feature_type": "raw_feature", "expression": "item:price"},
    {"feature_name": "tags", "feature_type": "id_feature", "expression": "item:tags", "separator": ",", **HASH},
]


@pytest.fixture
def flat(sum_model: Any) -> FlatPipeline:
    names = ["clicks__item", "clicks__age", "price", "tags"]
    path = sum_model(SEQUENCES, {"ctr": names}, tables={"clicks__item_emb": ROWS, "tags_emb": ROWS})
    bundle = Bundle.open(path)
    network = Network.load(path / "network" / "flat.onnx")
    inputs = match_inputs(bundle.features.graph, network)
    return FlatPipeline(bundle.features.compile(), inputs, bundle.tables, network)


def test_features_become_padded_tensors(flat: FlatPipeline) -> None:
    tensors = flat.make_tensors(
        {
            "clicks__item": [[1, 2], [3]],
            "clicks__age": [[0.5, 1.5], [2.5]],
            "price": [1, 2],
            "tags": ["1,2", None],
        }
    )
    assert tensors["clicks__item"].tolist() == [[[1, 10], [2, 20]], [[3, 30], [0, 0]]]
    assert tensors["clicks__age"].tolist() == [[[0.5], [1.5]], [[2.5], [0]]]
    assert tensors["price"].tolist() == [[1], [2]]
    assert tensors["tags"].tolist() == [[3, 30], [0, 0]]


def test_the_network_runs_on_them(flat: FlatPipeline) -> None:
    columns = {"clicks__item": [[1, 2]] * 2, "clicks__age": [[0.5, 1.5]] * 2, "price": [1, 2], "tags": ["1,2", None]}
    assert flat.run(columns)["ctr"].tolist() == [33 + 2 + 1 + 33, 33 + 2 + 2]


def test_members_of_a_sequence_must_agree(flat: FlatPipeline, market: Any) -> None:
    lengths = market.flat(market.bundle("din"))
    columns = market.tile({"clicks__item_id": [1, 2], "clicks__category": ["red"]}, {}, {"item_id": [1]})
    with pytest.raises(DataError) as caught:
        lengths.run(columns)
    assert str(caught.value) == "sequence 'clicks': the features of the sequence have unequal numbers of steps"
