"""Histograms of the times of calls, and the calls that wait to be counted in them.

A call on its way to its caller leaves its times in a list, which costs one append. They are counted many at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

BOUNDS_US: Final = tuple(10 * 1.8**n for n in range(33))
"""Upper bounds of TensorFlow Serving's latency buckets, in microseconds; one more has no bound."""

BOUNDS_S: Final = tuple(50e-6 * 2**n for n in range(20))
"""Upper bounds of recserve's own, 50 µs to 26 s."""

EXAMPLE_BOUNDS: Final = tuple(float(2**n) for n in range(16))

_BOUNDS_NS: Final = tuple(50_000 * 2**n for n in range(20))

Numbers = NDArray[np.int64] | NDArray[np.float64]


class Histogram:
    """Values by bucket. Whoever adds holds a lock.

    Args:
        bounds: upper bounds of the buckets, each within its bucket, rising; one more bucket has no bound.

    Attributes:
        buckets: how many values each bucket has.
        total: sum of the values.
    """

    __slots__ = ("_bounds", "buckets", "total")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS_US) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    @classmethod
    def of_ns(cls) -> Histogram:
        """Of nanoseconds, in the buckets of `BOUNDS_S`."""
        return cls(_BOUNDS_NS)

    def add(self, values: Numbers) -> None:
        """Count values of any number."""
        places = np.searchsorted(self._bounds, values)
        counts = np.bincount(places, minlength=len(self.buckets)).tolist()
        self.buckets = [before + more for before, more in zip(self.buckets, counts, strict=True)]
        self.total += float(values.sum())


Moments = tuple[int, int, int, int, int, int, int, int]
"""When an answered call was where, by `perf_counter_ns`: `began_ns`, `received_ns`, `work_began_ns`, `run_began_ns`,
`run_ended_ns` and `work_ended_ns` of its `Observation`, and its end; then its rows."""


def split_stages(moments: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The stages of calls, as `Observation.stages` tells those of one.

    Args:
        moments: int64[calls, 8], fields as of `Moments`.

    Yields:
        Name of a stage and int64[calls that reached it], nanoseconds.
    """
    began, received, work_began, run_began, run_ended, work_ended = moments.T[:6]
    has_work, has_run = work_began > 0, run_ended > 0
    stages = (
        ("receive", received > 0, received - began),
        ("queue", has_work, work_began - np.where(received > 0, received, began)),
        ("parse", has_run & has_work, run_began - work_began),
        ("run", has_run, run_ended - run_began),
        ("encode", has_run & (work_ended > 0), work_ended - run_ended),
    )
    for name, reached, taken in stages:
        if reached.any():
            yield name, taken[reached]
