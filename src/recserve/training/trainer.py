"""Train a ranking model on features that the serving plan extracts.

Features are extracted once, by the plan that also serves, and kept in memory. A training run is a function of its data,
its arguments and its seed: with the same number of threads it gives the same model, bit for bit.

Axes: N rows of a data set.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from recserve.dtypes import F32
from recserve.errors import ConfigError, DataError
from recserve.features.outputs import OutputSpec
from recserve.training.batches import FeatureBatch, FeatureData, Features, Plan, shuffle_into_batches
from recserve.training.embeddings import Embeddings
from recserve.training.export import Exported, export_module, flat_sample, goals_of
from recserve.training.labels import Metrics, check_groups, check_labels, measure
from recserve.training.progress import OnProgress, Progress
from recserve.training.zoo import Config, build_model

Valid = tuple[Any, Mapping[str, npt.ArrayLike], npt.ArrayLike | None]
"""Validation rows: their columns, labels, and groups (None for no GAUC)."""

_PREDICT_ROWS = 1024


@dataclass(frozen=True)
class Tuning:
    """Settings of a run that seldom need a change.

    Attributes:
        monitor: what must improve on the validation rows, as a mean over goals.
        patience: epochs without improvement after which training stops, at least 1. The best epoch is kept.
        embedding_l2: weight of the mean squared length of the looked-up embeddings in the loss, at least 0.
        init_std: standard deviation of new embedding rows.
        sparse_from_rows: tables of at least so many rows are updated lazily, only where a batch touches them.
    """

    monitor: Literal["log_loss", "auc", "gauc"] = "log_loss"
    patience: int = 2
    embedding_l2: float = 0.0
    init_std: float = 0.05
    sparse_from_rows: int = 20_000

    def __post_init__(self) -> None:
        if self.monitor not in ("log_loss", "auc", "gauc"):
            raise ConfigError(f"monitor {self.monitor!r} is not known", hint="Use 'log_loss', 'auc' or 'gauc'")
        if self.patience < 1:
            raise ConfigError(f"patience {self.patience} is below 1")
        if not self.embedding_l2 >= 0:
            raise ConfigError(f"embedding_l2 {self.embedding_l2} is not a number of at least 0")


@dataclass(frozen=True)
class EpochResult:
    """One epoch.

    Attributes:
        epoch: from 1.
        loss: mean training loss per row, summed over goals.
        metrics: on the validation rows; None without any.
    """

    epoch: int
    loss: float
    metrics: Metrics | None


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained network with its tables and the plan of its features.

    Attributes:
        module: the network over the flat form.
        embeddings: the tables.
        plan: extracts the features, here and in serving.
        outputs: the features.
        goals: what it predicts.
        history: one entry per epoch that ran.
        best_epoch: the epoch whose weights these are.
        metrics: on the validation rows, or on the training rows where there were none.
    """

    module: nn.Module
    embeddings: Embeddings
    plan: Plan
    outputs: tuple[OutputSpec, ...]
    goals: tuple[str, ...]
    history: tuple[EpochResult, ...]
    best_epoch: int
    metrics: Metrics

    def predict(self, columns: Any) -> dict[str, F32]:
        """{goal: float32[N] probability} of raw columns, as `Plan.run` takes them.

        Raises:
            DataError: a column or cell is wrong.
        """
        return _predict(self.module, self.embeddings, FeatureData(self.plan.run(columns), self.outputs))

    def export(self, folder: str | Path) -> Exported:
        """Write `<folder>/network.onnx` and return it with the tables; see `export_module`."""
        return Exported(export_module(self.module, self.outputs, folder), self.embeddings.tables())


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows with labels, ready to train on or to measure."""

    data: FeatureData
    labels: dict[str, F32]
    groups: npt.NDArray[Any] | None


def train(
    features: Features,
    columns: Any,
    labels: Mapping[str, npt.ArrayLike],
    *,
    model: str | nn.Module = "din",
    config: Config | None = None,
    groups: npt.ArrayLike | None = None,
    valid: Valid | None = None,
    epochs: int = 5,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    seed: int = 0,
    threads: int | None = None,
    progress: OnProgress | None = None,
    tuning: Tuning | None = None,
) -> TrainedModel:
    """Train a model of the zoo, or your own.

    Args:
        features: what to extract.
        columns: N raw rows, as `Plan.run` takes them.
        labels: {goal: [N] of 0, 1 or NaN (unknown)}.
        model: a name of the zoo, or an `nn.Module` whose `forward(inputs)` maps the flat form to {goal: float32[N]
            probability} for the same goals; it is trained in place.
        config: settings of a zoo model; None for its defaults.
        groups: [N] users or requests, for the GAUC of training rows where `valid` is None.
        valid: (columns, labels, groups) to measure after each epoch and to stop early by. Take them from a later time
            (`split_by_time`).
        epochs: at least 1.
        batch_size: rows of a step, at least 1.
        learning_rate: of Adam, > 0.
        seed: of the initial weights and the order of rows.
        threads: of torch; None leaves them as they are.
        progress: called after each batch.
        tuning: further settings.

    Raises:
        ConfigError: a wrong setting, or features that the model cannot use.
        DataError: wrong columns or labels.
    """
    _check_numbers(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, threads=threads)
    tuning = tuning or Tuning()
    plan, outputs = features.compile(), tuple(features.outputs)
    rows = _label(FeatureData(plan.run(columns, training=True), outputs), labels, groups)
    later = None if valid is None else _label(FeatureData(plan.run(valid[0]), outputs), *valid[1:])
    _check_monitor(tuning, rows, later)
    with _torch_state(seed, threads):
        module = _module_of(model, outputs, tuple(labels), config)
        embeddings = Embeddings(outputs, init_std=tuning.init_std, sparse_from_rows=tuning.sparse_from_rows)
        run = _Run(module, embeddings, learning_rate, batch_size, tuning, np.random.default_rng(seed))
        history, best = run.fit(rows, later, epochs, progress)
        judged = rows if later is None else later
        metrics = measure(judged.labels, _predict(module, embeddings, judged.data), judged.groups)
    return TrainedModel(module, embeddings, plan, outputs, tuple(labels), tuple(history), best, metrics)


@dataclass(eq=False)
class _Run:
    """The mutable state of one training run."""

    module: nn.Module
    embeddings: Embeddings
    learning_rate: float
    batch_size: int
    tuning: Tuning
    generator: np.random.Generator
    optimizers: list[torch.optim.Optimizer] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        sparse = self.embeddings.sparse_parameters()
        lazy = {id(table) for table in sparse}
        dense = [p for p in (*self.module.parameters(), *self.embeddings.parameters()) if id(p) not in lazy]
        if not dense and not sparse:
            raise ConfigError("has nothing to learn: no parameters and no tables", where=type(self.module).__name__)
        self.optimizers = [torch.optim.Adam(dense, lr=self.learning_rate)] if dense else []
        if sparse:
            self.optimizers.append(torch.optim.SparseAdam(sparse, lr=self.learning_rate))

    def fit(
        self, rows: _Rows, valid: _Rows | None, epochs: int, progress: OnProgress | None
    ) -> tuple[list[EpochResult], int]:
        """Run epochs until they are over or stop helping; leaves the best weights. Returns history and best epoch."""
        history: list[EpochResult] = []
        best_epoch, best_score = 0, -math.inf
        best_state: list[dict[str, Any]] = []
        for epoch in range(1, epochs + 1):
            loss = self._epoch(rows, epoch, epochs, progress)
            if valid is None:
                history.append(EpochResult(epoch, loss, None))
                best_epoch = epoch
                continue
            metrics = measure(valid.labels, _predict(self.module, self.embeddings, valid.data), valid.groups)
            history.append(EpochResult(epoch, loss, metrics))
            score = _score(metrics, self.tuning.monitor)
            if score > best_score:
                best_epoch, best_score = epoch, score
                best_state = [copy.deepcopy(part.state_dict()) for part in (self.module, self.embeddings)]
            elif epoch - best_epoch >= self.tuning.patience:
                break
        for part, state in zip((self.module, self.embeddings), best_state, strict=False):
            part.load_state_dict(state)
        return history, best_epoch

    def _epoch(self, rows: _Rows, epoch: int, epochs: int, progress: OnProgress | None) -> float:
        """One pass over the rows in a new order; returns the mean loss per row."""
        self.module.train()
        batches = shuffle_into_batches(rows.data.longest, self.batch_size, self.generator)
        total, seen = 0.0, 0
        for number, chosen in enumerate(batches, 1):
            labels = {goal: torch.from_numpy(values[chosen]) for goal, values in rows.labels.items()}
            total += self._step(rows.data.take(chosen), labels) * len(chosen)
            seen += len(chosen)
            if progress is not None:
                progress(Progress(epoch, epochs, number, len(batches), total / seen))
        return total / seen

    def _step(self, batch: FeatureBatch, labels: Mapping[str, Tensor]) -> float:
        """One update; returns the loss without the penalty on embeddings."""
        inputs = self.embeddings(batch)
        predicted = self.module(inputs)
        losses = [_loss(goal, predicted[goal], known) for goal, known in labels.items()]
        loss = torch.stack(losses).sum()
        objective = loss
        if self.tuning.embedding_l2:
            looked_up = [inputs[spec.name] for spec in self.embeddings.outputs if spec.is_sparse]
            squares = [value.square().sum() for value in looked_up]
            objective = loss + self.tuning.embedding_l2 * torch.stack(squares).sum() / batch.size if squares else loss
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        if objective.requires_grad:
            objective.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return float(loss.detach())


def _loss(goal: str, predicted: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross entropy over the rows whose label is known; 0 where none is."""
    inside = (predicted >= 0) & (predicted <= 1)
    if not bool(inside.all()):
        value = float(predicted.detach()[~inside][0])
        raise ConfigError(
            f"goal {goal!r} was predicted as {value:g}, which is not a probability",
            hint="End forward with a sigmoid; where the value is nan, lower the learning rate or scale the features",
        )
    known = ~labels.isnan()
    losses = functional.binary_cross_entropy(predicted, labels.nan_to_num(0.0), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def _predict(module: nn.Module, embeddings: Embeddings, data: FeatureData) -> dict[str, F32]:
    module.eval()
    results: dict[str, F32] = {}
    order = np.argsort(data.longest, kind="stable")
    with torch.inference_mode():
        for first in range(0, len(data), _PREDICT_ROWS):
            chosen = order[first : first + _PREDICT_ROWS]
            for goal, values in module(embeddings(data.take(chosen))).items():
                results.setdefault(goal, np.empty(len(data), np.float32))[chosen] = values.numpy()
    return results


def _label(data: FeatureData, labels: Mapping[str, npt.ArrayLike], groups: npt.ArrayLike | None) -> _Rows:
    return _Rows(data, check_labels(labels, len(data)), check_groups(groups, len(data)))


def _module_of(
    model: str | nn.Module, outputs: Sequence[OutputSpec], goals: tuple[str, ...], config: Config | None
) -> nn.Module:
    if isinstance(model, str):
        return build_model(model, outputs, goals, config)
    where = type(model).__name__
    if config is not None:
        raise ConfigError(f"a {type(config).__name__} sets a model of the zoo, not your own module", where=where)
    model.eval()
    predicted = goals_of(model, flat_sample(outputs, 2, 2))
    if set(predicted) != set(goals):
        raise ConfigError(f"predicts {sorted(predicted)}, but the labels are {sorted(goals)}", where=where)
    return model


def _score(metrics: Metrics, monitor: str) -> float:
    """Higher is better."""
    mean = sum(values[monitor] for values in metrics.values()) / len(metrics)
    return -mean if monitor == "log_loss" else mean


def _check_numbers(*, epochs: int, batch_size: int, learning_rate: float, threads: int | None) -> None:
    for name, count in (("epochs", epochs), ("batch_size", batch_size), ("threads", threads)):
        if count is not None and count < 1:
            raise ConfigError(f"{name} {count} is below 1")
    if not 0 < learning_rate < math.inf:
        raise ConfigError(f"learning_rate {learning_rate} is not positive")


def _check_monitor(tuning: Tuning, rows: _Rows, valid: _Rows | None) -> None:
    """Refuse validation rows that cannot be measured, before hours are spent."""
    if valid is None:
        return
    if set(valid.labels) != set(rows.labels):
        raise DataError(f"validation labels are {sorted(valid.labels)}, but training labels are {sorted(rows.labels)}")
    if tuning.monitor == "log_loss":
        return
    if tuning.monitor == "gauc" and valid.groups is None:
        raise ConfigError("monitor 'gauc' needs the groups of the validation rows", hint="Give valid=(…, …, groups)")
    constant = {goal: np.zeros(len(values), np.float32) for goal, values in valid.labels.items()}
    for goal, values in measure(valid.labels, constant, valid.groups).items():
        if math.isnan(values[tuning.monitor]):
            hint = "Use more rows, or monitor='log_loss'"
            raise DataError(f"{tuning.monitor} of {goal!r} is undefined: one class per group in validation", hint=hint)


@contextmanager
def _torch_state(seed: int, threads: int | None) -> Iterator[None]:
    """Seed torch and set its threads for a while; both are global, so they are put back."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
