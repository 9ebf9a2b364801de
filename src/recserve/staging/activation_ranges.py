"""What the candidate network sees on requests of calibration: the ranges that 8-bit integers have to span.

And what rounding each tensor costs on them.

Axis letters: N candidates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.network.quantise import Range, RangeObserver
from recserve.network.sensitivity import Relief, measure_sensitivity
from recserve.staging.draw import draw_columns, sample_columns
from recserve.staging.pipeline import Pipeline, run_staged

_REQUESTS: Final = 24
_COMPARED: Final = 6
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


def measure_relief(pipeline: Pipeline, ranges: Sequence[Range], samples: Mapping[str, Any] | None = None) -> Relief:
    """Which of the calibrated tensors cost the quality most for what they save.

    Args:
        pipeline: exact.
        ranges: as `calibrate` found them.
        samples: as for `calibrate`.
    """
    seen: list[dict[str, Any]] = []
    runner = pipeline.candidate.runner
    # The stage writes its inputs into buffers that the next request overwrites.
    runner.observe = lambda feeds: seen.append({name: array.copy() for name, array in feeds.items()})
    try:
        for columns in itertools.islice(_draw_requests(pipeline, samples), _COMPARED):
            run_staged(pipeline, columns)
    finally:
        runner.observe = None
    return Relief(measure_sensitivity(pipeline.split.candidate.model, ranges, seen))


def _draw_requests(pipeline: Pipeline, samples: Mapping[str, Any] | None) -> Iterable[dict[str, list[Any]]]:
    rng = np.random.default_rng(_SEED)
    rows = {"item": _CANDIDATES, "candidate": _CANDIDATES, "user": 1, "context": 1}
    for _ in range(_REQUESTS):
        if samples is None:
            yield draw_columns(pipeline.graph, rows, rng)
        else:
            yield sample_columns(pipeline.graph, samples, rows, rng)
