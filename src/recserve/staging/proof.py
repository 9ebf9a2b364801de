"""The proof: staged equals flat, on drawn requests, or the bundle is not published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from recserve.dtypes import F32
from recserve.errors import ConfigError
from recserve.network.model import Network
from recserve.staging.draw import draw_columns, sample_columns
from recserve.staging.flat import FlatPipeline
from recserve.staging.pipeline import Pipeline, run_staged
from recserve.staging.tensors import Tensor

REQUESTS: Final = 6
CANDIDATES: Final = 33
TOLERANCE: Final = 1e-5
"""Allowed difference, relative to the value and to 1: what float32 sums in another order may cost."""
_NUDGES: Final = 4
_NOISE_FACTOR: Final = 16
"""Allowed besides: so many times what the flat network itself changes by when its inputs move in their last bit. Sums
that cancel, such as those of a factorisation machine over large numbers, lose more digits than `TOLERANCE` has."""
_LAST_BIT: Final = np.float32(2**-23)
_SIDES: Final = {"item": CANDIDATES, "candidate": CANDIDATES, "user": 1, "context": 1}


@dataclass(frozen=True)
class Proof:
    """How far staged and flat were apart.

    Attributes:
        requests: drawn.
        candidates: of each.
        max_difference: largest |staged - flat|, relative to max(1, |flat|).
        seed: of the drawn inputs.
    """

    requests: int
    candidates: int
    max_difference: float
    seed: int

    def as_dict(self) -> dict[str, float]:
        """For the manifest."""
        return {key: float(value) for key, value in asdict(self).items()}


def prove(
    pipeline: Pipeline, network: Network, samples: Mapping[str, Any] | None = None, *, seed: int = 20260101
) -> Proof:
    """Run staged and flat side by side.

    Args:
        pipeline: staged.
        network: flat, as exported.
        samples: columns as in training; half of the requests take their rows.
        seed: of the drawn inputs.

    Raises:
        ConfigError: they differ; names the output and both values.
    """
    rng = np.random.default_rng(seed)
    flat = FlatPipeline(pipeline.feature_set.compile(), pipeline.cuts.inputs, pipeline.tables, network)
    graph = pipeline.graph
    worst = 0.0
    for number in range(REQUESTS):
        if samples is not None and number % 2:
            columns = sample_columns(graph, samples, _SIDES, rng)
        else:
            columns = draw_columns(graph, _SIDES, rng)
        tensors = flat.make_tensors(columns)
        expected = flat.run_network(tensors)
        noise = _measure_noise(flat, tensors, expected, rng)
        found = run_staged(pipeline, columns)
        for name, want in expected.items():
            worst = max(worst, _compare(name, found[name], want, noise[name]))
    return Proof(REQUESTS, CANDIDATES, worst, seed)


def _measure_noise(
    flat: FlatPipeline, tensors: Mapping[str, Tensor], expected: Mapping[str, F32], rng: np.random.Generator
) -> dict[str, F32]:
    """{output: by how much each of its values moves when the inputs move in their last bit}."""
    noise = {name: np.zeros_like(want) for name, want in expected.items()}
    for _ in range(_NUDGES):
        nudged = {
            name: tensor * (1 + _LAST_BIT * rng.choice(np.array([-1, 1], np.float32), tensor.shape))
            if tensor.dtype == np.float32
            else tensor
            for name, tensor in tensors.items()
        }
        for name, found in flat.run_network(nudged).items():
            with np.errstate(invalid="ignore"):  # of two infinities
                noise[name] = np.fmax(noise[name], np.abs(found - expected[name]))
    return noise


def _compare(name: str, found: F32, expected: F32, noise: F32) -> float:
    with np.errstate(invalid="ignore"):
        difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    # Equal infinities are equal. NaN on both sides is equal; on one side it is the worst there is.
    difference = np.where((found == expected) | (np.isnan(found) & np.isnan(expected)), 0.0, difference)
    difference = np.where(np.isnan(difference), np.inf, difference)
    # Noise that is no number would allow everything.
    allowed = _NOISE_FACTOR * np.where(np.isfinite(noise), noise, 0.0) / np.maximum(1.0, np.abs(expected))
    excess = np.where(difference == 0, 0.0, difference - allowed)
    worst = int(np.argmax(excess))
    if not excess.flat[worst] <= TOLERANCE:
        raise ConfigError(
            f"output {name!r} of candidate {worst} is {found.flat[worst]!r} staged, but {expected.flat[worst]!r} flat",
            code="proof_failed",
            where="proof",
            hint="This is a bug in recserve or in an exporter: please report the network and the features",
        )
    return float(difference.max())
