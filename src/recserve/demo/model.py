"""Train DIN on the earlier samples, judge it on the later ones, and publish it.

A run touches the test period once, to report it. Networks, penalties and numbers of epochs are those that did well
within the training period (learning from its first three quarters, looking at the last); while they were chosen, test
figures of several variants were seen too, so the margin on MovieLens is not that of a model chosen blindly.

Axes: N samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recserve.bundle import Bundle
from recserve.demo.options import Size
from recserve.demo.report import Quality, TrainingSummary
from recserve.demo.sources import FEATURES_FILE, TEST_SHARE, Source
from recserve.demo.steps import Step, Steps
from recserve.dtypes import F32
from recserve.errors import DataError
from recserve.features.feature_set import FeatureSet
from recserve.samples.sampleset import Samples
from recserve.training import Popularity, TrainedModel, Tuning, auc, gauc, log_loss, split_by_time, train
from recserve.training.progress import Progress
from recserve.training.zoo import Config
from recserve.training.zoo.din import DinConfig

_BATCH: Final = 512


@dataclass(frozen=True)
class _Recipe:
    """How to train on one of the data sets."""

    network: Config
    tuning: Tuning
    epochs: int


_RECIPES: Final = {
    "shop": _Recipe(DinConfig(attention=(16,), hidden=(64, 32), softmax=True), Tuning(embedding_l2=1e-3), 1),
    "ml-100k": _Recipe(
        DinConfig(attention=(16,), hidden=(32,), softmax=True, dropout=0.2),
        Tuning(embedding_l2=1e-2, init_std=0.01),
        2,
    ),
}


@dataclass(frozen=True, eq=False)
class Judged:
    """A trained model with the baseline and the figures of both on the test period."""

    features: FeatureSet
    model: TrainedModel
    popularity: Popularity
    summary: TrainingSummary
    quality: list[Quality]
    test: Samples


def train_and_judge(source: Source, size: Size, seed: int, folder: Path, steps: Steps) -> Judged:
    """Train on the first samples by time, and measure on the last TEST_SHARE of them.

    Raises:
        DataError: the test period has one class only.
    """
    before, after = split_by_time(source.samples.times, TEST_SHARE)
    period, test = source.samples.take(before), source.samples.take(after)
    with steps.step("features") as step:
        step.show("compiling; the first run on a machine takes up to a minute")
        features = FeatureSet.load(folder / FEATURES_FILE)
        plan = features.compile()
        for rows in (1, 2):
            plan.run(period.columns.slice(0, rows))
        step.result = f"{len(features.outputs)} features of {len(features.input_columns)} columns, compiled"
    recipe = _RECIPES[source.name]
    epochs = min(recipe.epochs, size.epochs)
    with steps.step("train") as step:
        model = _train(source, features, period, recipe, epochs=epochs, seed=seed, step=step)
        loss = model.history[-1].loss
        step.result = f"DIN on the first {len(period):,} samples, epochs: {epochs}, loss {loss:.4f}"
    with steps.step("judge") as step:
        popularity = Popularity.fit(_items(period), period.label(source.goal))
        scores: dict[str, Any] = {"DIN": model.predict(test.columns)[source.goal]}
        scores["popularity"] = popularity.score(_items(test))
        scores |= {name: truth[after] for name, truth in source.sample_truths.items()}
        quality = measure(test, source.goal, scores)
        step.result = f"on the last {len(test):,} samples: GAUC {quality[0].gauc:.4f}, popularity {quality[1].gauc:.4f}"
    summary = TrainingSummary(len(period), len(test), epochs)
    return Judged(features, model, popularity, summary, quality, test)


def _train(
    source: Source,
    features: FeatureSet,
    samples: Samples,
    recipe: _Recipe,
    *,
    epochs: int,
    seed: int,
    step: Step,
) -> TrainedModel:
    goal = source.goal

    def show(progress: Progress) -> None:
        done = (progress.epoch - 1) * progress.batches + progress.batch
        text = f"epoch {progress.epoch} of {progress.epochs}, loss {progress.loss:.4f}"
        step.show(text, done, progress.epochs * progress.batches)

    step.show("extracting features")
    return train(
        features,
        samples.columns,
        {goal: samples.label(goal)},
        model="din",
        config=recipe.network,
        epochs=epochs,
        batch_size=_BATCH,
        seed=seed,
        threads=1,
        progress=show,
        tuning=recipe.tuning,
    )


def measure(samples: Samples, goal: str, scores: Mapping[str, Any]) -> list[Quality]:
    """The quality of {name: [N] scores} on samples; of those with unknown label nothing counts.

    Raises:
        DataError: the labels are of one class.
    """
    labels = samples.label(goal)
    known = ~np.isnan(labels)
    truth, groups = labels[known], samples.groups[known]
    if not 0 < truth.sum() < len(truth):
        raise DataError(f"all {len(truth)} labels of {goal!r} in the test period are the same", hint="Use more data.")
    return [
        Quality(name, auc(truth, values[known]), gauc(truth, values[known], groups), log_loss(truth, values[known]))
        for name, values in scores.items()
    ]


def publish(source: Source, judged: Judged, folder: Path, steps: Steps) -> Bundle:
    """Export, split, prove and write `models/<name>/1`."""
    with steps.step("bundle") as step:
        step.show("exporting to ONNX")
        exported = judged.model.export(folder / "export")
        bundle = Bundle.build(
            features=judged.features,
            tables=exported.tables,
            network=exported.network_path,
            out=folder / "models" / source.name / "1",
            samples=judged.test.columns.slice(0, 500),
            progress=step.show,
        )
        megabytes = sum(entry.size_bytes for entry in bundle.manifest.files.values()) / 1e6
        step.result = f"models/{source.name}/1, {megabytes:.1f} MB; proven: staged = flat"
    return bundle


def item_scores(popularity: Popularity, item_ids: list[str]) -> F32:
    """float32[C] popularity of items."""
    return popularity.score(np.array(item_ids))


def _items(samples: Samples) -> Any:
    return np.array(samples.table["item_id"].to_pylist())
