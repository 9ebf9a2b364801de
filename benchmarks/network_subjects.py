"""A model of the network benchmark: trained for a moment, exported, split, and run staged.

Labels of the training and of the AUC come from a drawn teacher: a linear score of all inputs beside products of their
projections. A short training on them gives weights that carry a signal, so that an AUC can fall; it gives no published
quality, and the figures say nothing of one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from network_models import STEPS
from recserve import FeatureSet
from recserve.network.blocks import BlockRunner
from recserve.network.engines import EngineChoice, open_engine
from recserve.network.model import Network
from recserve.network.quantise import Range, RangeObserver
from recserve.network.session import Session
from recserve.network.split import SplitNetwork, split_network
from recserve.rates import Rate
from recserve.staging.cuts import NetworkInput, input_rates, match_inputs
from recserve.training.export import export_module, flat_sample
from workloads import Workload

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
Request = tuple[Feeds, Feeds, Feeds]
"""Item inputs [N, ...], request inputs [1, ...] and candidate inputs [N, ...]."""
_SCALE: Final = 0.3
_STEEPNESS: Final = 3.0
_CALIBRATION: Final = (4, 100)


@dataclass
class Subject:
    """One network, exported and split."""

    name: str
    module: torch.nn.Module
    flat: Network
    split: SplitNetwork
    inputs: tuple[NetworkInput, ...]

    def draw(self, size: int, rng: np.random.Generator, steps: int = STEPS) -> Request:
        """The inputs of one request of N = `size` candidates, histories of `steps` steps."""
        rates = input_rates(self.inputs)
        feeds: dict[Rate, Feeds] = {rate: {} for rate in Rate}
        for name, spec in self.flat.inputs.items():
            rows = 1 if rates[name] is Rate.REQUEST else size
            shape = [rows, *(d if isinstance(d, int) else steps for d in spec.dims[1:])]
            is_length = spec.dtype == "int64"
            array = np.full(shape, steps) if is_length else rng.normal(size=shape, scale=_SCALE)
            feeds[rates[name]][name] = array.astype(spec.dtype)
        return feeds[Rate.ITEM], feeds[Rate.REQUEST], feeds[Rate.CANDIDATE]

    def tile(self, request: Request) -> Feeds:
        """The flat network's inputs: N rows each."""
        every = request[0] | request[1] | request[2]
        rows = max(len(array) for array in every.values())
        tiled = {n: np.ascontiguousarray(np.broadcast_to(a, (rows, *a.shape[1:]))) for n, a in every.items()}
        return {name: tiled[name] for name in self.flat.inputs}

    def calibrate(self, rng: np.random.Generator) -> tuple[Range, ...]:
        """What int8 has to span, as a build finds it on its samples.

        Raises:
            ConfigError: the candidate part has no product that is worth it.
        """
        observer = RangeObserver(self.split.candidate.model)
        staged = StagedNetwork(self.split, EngineChoice())
        requests, size = _CALIBRATION
        for _ in range(requests):
            stored, request = staged.store(self.draw(size, rng))
            observer.observe(staged.tensors(stored, request))
        return observer.ranges


class Teacher:
    """Where labels come from: [N] logits of a standard deviation of `_STEEPNESS`."""

    def __init__(self, sample: Mapping[str, Any], rng: np.random.Generator) -> None:
        widths = {name: value.shape[-1] for name, value in sample.items() if value.is_floating_point()}
        self._linear = {name: rng.normal(size=width) for name, width in widths.items()}
        self._factors = {name: rng.normal(size=(width, 4)) for name, width in widths.items()}

    def logits(self, feeds: Mapping[str, Any]) -> Array:
        """Of flat inputs, as far as the network reads them: a sequence counts with the mean of its steps."""
        pooled = {n: feeds[n].mean(axis=1) if feeds[n].ndim == 3 else feeds[n] for n in self._linear if n in feeds}
        linear = sum(x @ self._linear[n] for n, x in pooled.items())
        projected = [x @ self._factors[n] for n, x in pooled.items()]
        total = np.sum(projected, axis=0)
        pairs = ((total**2).sum(axis=1) - np.sum([(p**2).sum(axis=1) for p in projected], axis=0)) / 2
        spread = _SCALE * np.sqrt(sum(len(v) for v in self._linear.values()))
        logits: Array = _STEEPNESS * (linear / spread + 0.25 * pairs / max(spread, 1.0) ** 2)
        return logits

    def label(self, feeds: Mapping[str, Any], rng: np.random.Generator) -> Array:
        """int64[N] of 0 and 1."""
        logits = self.logits(feeds)
        return (rng.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(np.int64)


def prepare(workload: Workload, folder: Path, seconds: float, rng: np.random.Generator) -> tuple[Subject, Teacher]:
    """Train a network for so many seconds, export and split it.

    Args:
        workload: the model.
        folder: for the exported file.
        seconds: of training; 0: the weights stay as they are drawn.
        rng: of the teacher and of the rows.
    """
    features = FeatureSet.from_fg_json({"features": workload.entries})
    torch.manual_seed(0)
    module = workload.build(features.outputs).eval()
    sample = flat_sample(features.outputs, 1, STEPS)
    teacher = Teacher(sample, rng)
    if seconds:
        _train(module, sample, teacher, seconds, rng)
    flat = Network.load(export_module(module, features.outputs, folder))
    inputs = match_inputs(features.graph, flat)
    return Subject(workload.name, module, flat, split_network(flat, input_rates(inputs)), inputs), teacher


def _train(
    module: torch.nn.Module, sample: Mapping[str, Any], teacher: Teacher, seconds: float, rng: np.random.Generator
) -> None:
    """Adam on fresh rows of the teacher, all with their own user."""
    rows = 128
    module.train()
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    end = time.process_time() + seconds
    while time.process_time() < end:
        feeds: Feeds = {}
        for name, value in sample.items():
            shape = (rows, *value.shape[1:])
            is_drawn = value.is_floating_point()
            array = rng.normal(size=shape, scale=_SCALE) if is_drawn else np.full(shape, STEPS)
            feeds[name] = array.astype(np.float32 if is_drawn else np.int64)
        label = torch.from_numpy(teacher.label(feeds, rng).astype(np.float32))
        found = module({name: torch.from_numpy(array) for name, array in feeds.items()})
        loss = sum(torch.nn.functional.binary_cross_entropy(out.clamp(1e-6, 1 - 1e-6), label) for out in found.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()


class StagedNetwork:
    """The request part and the candidate part, as a server runs them."""

    def __init__(self, split: SplitNetwork, choice: EngineChoice) -> None:
        self.choice = choice
        self._split = split
        self._item = None if split.item is None else Session(split.item.model)
        self._request = None if split.request is None else Session(split.request.model)
        self.runner = BlockRunner(split.candidate, open_engine(split.candidate.model, choice), choice)

    def store(self, request: Request) -> tuple[Feeds, Feeds]:
        """(what is at hand of the candidates [N, ...], request inputs): the item part has run."""
        items, shared, candidates = request
        stored = items | ({} if self._item is None else self._item.run(_needed(items, self._item.inputs)))
        crossings = self._split.crossings
        return {n: stored[n] for n, rate in crossings.items() if rate is Rate.ITEM} | candidates, shared

    def tensors(self, stored: Feeds, shared: Feeds) -> Feeds:
        """Inputs of the candidate part."""
        made = {} if self._request is None else self._request.run(_needed(shared, self._request.inputs))
        return shared | made | stored

    def run(self, stored: Feeds, shared: Feeds) -> dict[str, Array]:
        """The outputs of one request."""
        return self.runner.run(self.tensors(stored, shared), len(next(iter(stored.values()))))


def _needed(feeds: Feeds, names: tuple[str, ...]) -> Feeds:
    return {name: feeds[name] for name in names}
