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

REQUESTS: Final = 6
CANDIDATES: Final = 33
TOLERANCE: Final = 1e-5
"""Allowed difference, relative to the value and to 1: what float32 sums in another order may cost."""
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
        expected = flat.run(_with_rows(columns))
        found = run_staged(pipeline, columns)
        for name, want in expected.items():
            worst = max(worst, _compare(name, found[name], want))
    return Proof(REQUESTS, CANDIDATES, worst, seed)


def _with_rows(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A request without item columns still has that many candidates."""
    if not any(len(cells) == CANDIDATES for cells in columns.values()):
        name = next(iter(columns))
        return columns | {name: columns[name] * CANDIDATES}
    return columns


def _compare(name: str, found: F32, expected: F32) -> float:
    difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    # NaN on both sides is equal; on one side it is the worst there is.
    difference = np.where(np.isnan(found) & np.isnan(expected), 0.0, difference)
    difference = np.where(np.isnan(difference), np.inf, difference)
    worst = int(np.argmax(difference))
    if difference.flat[worst] > TOLERANCE:
        raise ConfigError(
            f"output {name!r} of candidate {worst} is {found.flat[worst]!r} staged, but {expected.flat[worst]!r} flat",
            code="proof_failed",
            where="proof",
            hint="This is a bug in recserve or in an exporter: please report the network and the features",
        )
    return float(difference.flat[worst])
