from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from recserve.columns import Ragged
from recserve.errors import ConfigError, DataError
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.rates import Rate
from recserve.training.metrics import gauc, log_loss
from recserve.training.popularity import Popularity
from recserve.training.progress import Progress, ProgressBar
from recserve.training.trainer import TrainedModel, Tuning, train
from recserve.training.zoo import MODELS, DinConfig, LrConfig

FeaturesOf = Callable[..., Any]


@pytest.fixture(scope="module")
def ctr(shop: Any) -> dict[str, np.ndarray]:
    return {"ctr": shop.labels["ctr"]}


class Own(nn.Module):
    """A small network over two features of the shop."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        self.scale = scale

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.layers(torch.cat([inputs["user_id"], inputs["item_id"]], 1))
        return {"ctr": self.scale * torch.sigmoid(logits).squeeze(1)}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns(name: str, shop: Any, shop_features: FeaturesOf) -> None:
    labels = shop.labels if MODELS[name].many_goals else {"ctr": shop.labels["ctr"]}
    trained = train(
        shop_features(), shop.columns, labels, model=name, epochs=8, batch_size=64, learning_rate=0.01, threads=1
    )
    losses = [result.loss for result in trained.history]
    assert losses[-1] < losses[0]
    shares = {goal: float(np.nanmean(values)) for goal, values in labels.items()}
    for goal, share in shares.items():
        constant = -share * math.log(share) - (1 - share) * math.log(1 - share)
        assert trained.metrics[goal]["log_loss"] < constant
        assert trained.metrics[goal]["auc"] > 0.55


def test_din_beats_popularity_on_later_rows(shop: Any, later_shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    later = (later_shop.columns, {"ctr": later_shop.labels["ctr"]}, later_shop.groups)
    trained = train(shop_features(), shop.columns, ctr, valid=later, batch_size=64, learning_rate=0.005, threads=1)
    scorer = Popularity.fit(shop.columns["item_id"].values, shop.labels["ctr"])
    popular = gauc(later_shop.labels["ctr"], scorer.score(later_shop.columns["item_id"].values), later_shop.groups)
    assert trained.metrics["ctr"]["gauc"] > 0.8
    assert popular < 0.6


@pytest.mark.parametrize("threads", [1, 2])
def test_one_seed_gives_one_model(threads: int, shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    def run(seed: int) -> TrainedModel:
        tuning = Tuning(sparse_from_rows=35)
        config = DinConfig(dropout=0.2)
        return train(
            shop_features(), shop.columns, ctr, config=config, epochs=1, seed=seed, threads=threads, tuning=tuning
        )

    first, again, other = run(3), run(3), run(4)
    np.testing.assert_array_equal(first.predict(shop.columns)["ctr"], again.predict(shop.columns)["ctr"])
    for name, table in first.embeddings.tables().items():
        np.testing.assert_array_equal(table, again.embeddings.tables()[name])
    assert not np.array_equal(first.predict(shop.columns)["ctr"], other.predict(shop.columns)["ctr"])


def test_training_leaves_torch_as_it_was(shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(shop_features(), shop.columns, ctr, model="lr", epochs=1, threads=threads + 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_features_are_extracted_once_and_by_the_plan(shop: Any, later_shop: Any, shop_features: FeaturesOf) -> None:
    features = shop_features()
    later = (later_shop.columns, {"ctr": later_shop.labels["ctr"]}, None)
    trained = train(features, shop.columns, {"ctr": shop.labels["ctr"]}, model="lr", valid=later, epochs=3)
    assert features.plan.runs == [(1200, True), (500, False)]
    assert trained.predict(later_shop.columns)["ctr"].shape == (500,)
    assert trained.plan is features.plan


def test_training_stops_when_it_no_longer_helps_and_keeps_the_best(
    shop: Any, shop_features: FeaturesOf, ctr: Any
) -> None:
    # Labels turned around: what fits the training rows better fits these worse.
    valid = (shop.columns, {"ctr": 1 - shop.labels["ctr"]}, None)
    trained = train(shop_features(), shop.columns, ctr, valid=valid, epochs=9, batch_size=64, tuning=Tuning(patience=1))
    assert trained.best_epoch == 1
    assert len(trained.history) == 2
    assert trained.history[0].metrics == trained.metrics


def test_lazy_tables_only_change_where_they_are_used(shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    columns = {**shop.columns, "user_id": Ragged(np.full(1200, 3), np.ones(1200, np.int64))}
    tuning = Tuning(sparse_from_rows=30, embedding_l2=0.1)
    trained = train(shop_features(), columns, ctr, model="fm", epochs=1, tuning=tuning)
    untrained = train(shop_features(), columns, ctr, model="fm", epochs=1, learning_rate=1e-30, tuning=tuning)
    changed = trained.embeddings.tables()["user_emb"] != untrained.embeddings.tables()["user_emb"]
    assert np.flatnonzero(changed.any(1)).tolist() == [3]


def test_the_penalty_shortens_embeddings(shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    lengths = []
    for weight in (0.0, 1.0):
        tuning = Tuning(embedding_l2=weight)
        trained = train(shop_features(), shop.columns, ctr, model="fm", epochs=3, batch_size=64, tuning=tuning)
        lengths.append(np.abs(trained.embeddings.tables()["item_emb"]).mean())
    assert lengths[1] < lengths[0]


def test_unknown_labels_do_not_count(shop: Any, shop_features: FeaturesOf) -> None:
    ctr = np.where(np.arange(1200) < 600, shop.labels["ctr"], np.nan)
    whole = train(shop_features(), shop.columns, {"ctr": ctr}, model="lr", epochs=1)
    predicted = whole.predict(first_half(shop.columns))["ctr"]
    assert whole.metrics["ctr"]["log_loss"] == pytest.approx(log_loss(shop.labels["ctr"][:600], predicted), rel=1e-5)


def test_predictions_are_in_the_order_of_the_rows(shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    trained = train(shop_features(), shop.columns, ctr, epochs=1)
    half = trained.predict(first_half(shop.columns))["ctr"]
    np.testing.assert_allclose(half, trained.predict(shop.columns)["ctr"][:600], rtol=1e-5)


def first_half(columns: dict[str, Any]) -> dict[str, Any]:
    return {
        name: column[:600] if isinstance(column, np.ndarray) else first_rows(column, 600)
        for name, column in columns.items()
    }


def first_rows(column: Ragged, rows: int) -> Ragged:
    values = int(column.lengths[:rows].sum())
    steps = None if column.seq_lengths is None else int(column.seq_lengths[:rows].sum())
    return Ragged(
        column.values[:values],
        column.lengths[:rows],
        None if column.weights is None else column.weights[:values],
        None if column.key_lengths is None else column.key_lengths[:steps],
        None if column.seq_lengths is None else column.seq_lengths[:rows],
    )


def test_what_is_exported_predicts_what_was_trained(
    shop: Any, shop_features: FeaturesOf, ctr: Any, tmp_path: Path
) -> None:
    trained = train(shop_features(), shop.columns, ctr, model=Own(), epochs=1)
    exported = trained.export(tmp_path)
    session = onnxruntime.InferenceSession(exported.network_path, providers=["CPUExecutionProvider"])
    inputs = {name: exported.tables[f"{name[:4]}_emb"][shop.columns[name].values] for name in ("user_id", "item_id")}
    (scores,) = session.run(["ctr"], inputs)
    np.testing.assert_allclose(scores, trained.predict(shop.columns)["ctr"], rtol=1e-5)
    assert {name: table.dtype for name, table in exported.tables.items()} == dict.fromkeys(
        ("user_emb", "item_emb", "category.emb", "tag_emb", "word_emb"), np.dtype(np.float32)
    )


def test_progress_is_told_after_each_batch(shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    told: list[Progress] = []
    trained = train(shop_features(), shop.columns, ctr, model="lr", epochs=2, batch_size=500, progress=told.append)
    assert [(p.epoch, p.epochs, p.batch, p.batches) for p in told] == [(e, 2, b, 3) for e in (1, 2) for b in (1, 2, 3)]
    assert [told[2].loss, told[5].loss] == [result.loss for result in trained.history]


def test_the_bar_shows_epoch_and_loss(shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with ProgressBar(console) as bar:
        trained = train(shop_features(), shop.columns, ctr, model="lr", epochs=1, progress=bar)
    assert f"epoch 1/1  loss {trained.history[0].loss:.4f}" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs 0 is below 1"),
        ({"batch_size": 0}, "batch_size 0 is below 1"),
        ({"threads": 0}, "threads 0 is below 1"),
        ({"learning_rate": float("nan")}, "learning_rate nan is not positive"),
        ({"model": Own(), "config": LrConfig()}, "Own: a LrConfig sets a model of the zoo, not your own module"),
        ({"model": Own(scale=4.0)}, "goal 'ctr' was predicted as .*, which is not a probability. End forward with"),
    ],
)
def test_wrong_settings_are_refused(
    settings: dict[str, Any], message: str, shop: Any, shop_features: FeaturesOf, ctr: Any
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(shop_features(), shop.columns, ctr, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monitor": "loss"}, "monitor 'loss' is not known. Use 'log_loss', 'auc' or 'gauc'"),
        ({"patience": 0}, "patience 0 is below 1"),
        ({"embedding_l2": -1.0}, "embedding_l2 -1.0 is not a number of at least 0"),
    ],
)
def test_wrong_tuning_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Tuning(**settings)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "there are no labels. Give one array per goal"),
        ({"ctr": [1, 0]}, r"labels of 'ctr': have the shape \[2\], but there are 1200 rows"),
        ({"ctr": np.full(1200, 0.5)}, r"labels of 'ctr': 0.5 in row 0 is not 0, 1 or NaN \(unknown\)"),
        ({"ctr": np.full(1200, np.nan)}, r"labels of 'ctr': are all unknown \(NaN\)"),
        ({"ctr": ["click"] * 1200}, "labels of 'ctr': are not numbers"),
    ],
)
def test_wrong_labels_are_refused(labels: dict[str, Any], message: str, shop: Any, shop_features: FeaturesOf) -> None:
    with pytest.raises(DataError, match=message):
        train(shop_features(), shop.columns, labels)


def test_groups_need_one_entry_per_row(shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    with pytest.raises(DataError, match=r"groups have the shape \[1\], but there are 1200 rows"):
        train(shop_features(), shop.columns, ctr, groups=[1])


def test_goals_of_your_module_must_be_the_labels(shop: Any, shop_features: FeaturesOf) -> None:
    with pytest.raises(ConfigError, match=r"Own: predicts \['ctr'\], but the labels are \['like'\]"):
        train(shop_features(), shop.columns, {"like": shop.labels["ctr"]}, model=Own())


def test_validation_that_cannot_be_measured_is_refused_before_training(
    shop: Any, shop_features: FeaturesOf, ctr: Any
) -> None:
    features = shop_features()
    with pytest.raises(DataError, match=r"validation labels are \['cvr'\], but training labels are \['ctr'\]"):
        train(features, shop.columns, ctr, valid=(shop.columns, {"cvr": shop.labels["cvr"]}, None))
    tuning = Tuning(monitor="gauc")
    with pytest.raises(ConfigError, match=r"monitor 'gauc' needs the groups of the validation rows"):
        train(features, shop.columns, ctr, valid=(shop.columns, ctr, None), tuning=tuning)
    with pytest.raises(DataError, match=r"gauc of 'ctr' is undefined: one class per group in validation"):
        train(features, shop.columns, ctr, valid=(shop.columns, ctr, np.arange(1200)), tuning=tuning)


class Fixed(nn.Module):
    """Has no parameters."""

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"ctr": torch.sigmoid(inputs["price"][:, 0])}


def test_a_module_without_anything_to_learn_is_refused(shop: Any, shop_features: FeaturesOf, ctr: Any) -> None:
    features = shop_features(outputs=(OutputSpec("price", OutputKind.DENSE, 2, Rate.ITEM),))
    with pytest.raises(ConfigError, match=r"Fixed: has nothing to learn: no parameters and no tables"):
        train(features, shop.columns, ctr, model=Fixed())
