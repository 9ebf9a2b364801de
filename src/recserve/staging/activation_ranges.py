"""What the candidate network sees on requests of calibration: the ranges that 8-bit integers have to span.

Axis letters: N candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from recserve.network.quantise import Range, RangeObserver
from recserve.staging.draw import draw_columns, sample_columns
from recserve.staging.pipeline import Pipeline, run_staged

_REQUESTS: Final = 24
_CANDIDATES: Final = 40
_SEED: Final = 20260103


def calibrate(pipeline: Pipeline, samples: Mapping[str, Any] | None = None) -> tuple[Range, ...]:
    """The ranges of what the large products of the candidate part read.

    Args:
        pipeline: exact.
        samples: columns as training saw them, from which the requests take their rows; None: all is drawn. A model
            that serves other values than it was calibrated on clips them, so samples are worth having.

    Raises:
        ConfigError: the part has no product that is worth quantising.
    """
    observer = RangeObserver(pipeline.split.candidate.model)
    runner = pipeline.candidate.runner
    runner.observe = observer.observe
    try:
        for columns in _draw_requests(pipeline, samples):
            run_staged(pipeline, columns)
    finally:
        runner.observe = None
    return observer.ranges


def _draw_requests(pipeline: Pipeline, samples: Mapping[str, Any] | None) -> Iterable[dict[str, list[Any]]]:
    rng = np.random.default_rng(_SEED)
    rows = {"item": _CANDIDATES, "candidate": _CANDIDATES, "user": 1, "context": 1}
    for _ in range(_REQUESTS):
        if samples is None:
            yield draw_columns(pipeline.graph, rows, rng)
        else:
            yield sample_columns(pipeline.graph, samples, rows, rng)
