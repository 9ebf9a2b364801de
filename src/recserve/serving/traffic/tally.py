"""What was seen of a version: calls, errors, times and scores, since its start and within a window."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from recserve.serving.traffic.comparison import Difference

BOUNDS_US: Final = tuple(100 * 2.0**n for n in range(16))
"""Upper bounds of the latency buckets, in microseconds: 0.1 ms to 3.3 s; one more has no bound."""
BOUNDS_CORRELATION: Final = (-0.5, 0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
BOUNDS_SCORE: Final = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
SLICES: Final = 20
"""Parts of a window; a window forgets one part at a time."""


@dataclass
class Histogram:
    """Counts by upper bound. Its owner's lock guards it."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value; NaN does not count."""
        if not math.isnan(value):
            self.counts[bisect_left(self.bounds, value)] += 1
            self.total += value

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)


@dataclass
class _Slice:
    """A part of a window."""

    begin_s: float
    calls: int = 0
    errors: int = 0
    score_sum: float = 0.0
    scores: int = 0
    latency_us: Histogram = field(default_factory=lambda: Histogram(BOUNDS_US))


@dataclass(frozen=True)
class Recent:
    """A version within the window.

    Attributes:
        calls: answered or failed.
        errors: failed by the model's or server's fault.
        mean_score: of all scores given; NaN where there are none.
        p99_us: upper bound of the 99th percentile's bucket, in microseconds; NaN without an answer.
    """

    calls: int
    errors: int
    mean_score: float
    p99_us: float

    @property
    def error_rate(self) -> float:
        """Share of failed calls; 0 without calls."""
        return self.errors / self.calls if self.calls else 0.0


class Tally:
    """The counts of one version in one role. Threads may share it.

    Args:
        window_s: length of the window, in seconds.
        clock: seconds, never going back.
    """

    def __init__(self, window_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._slice_s = window_s / SLICES
        self._slices: deque[_Slice] = deque(maxlen=SLICES)
        self.calls = 0
        self.errors = 0
        self.latency_us = Histogram(BOUNDS_US)
        self.score_difference = Histogram(BOUNDS_SCORE)
        self.correlation = Histogram(BOUNDS_CORRELATION)
        self.unlike = 0

    def add(self, time_us: float, scores: int, score_sum: float) -> None:
        """Count an answer.

        Args:
            time_us: in the model, in microseconds.
            scores: finite numbers in the answer.
            score_sum: of them.
        """
        with self._lock:
            part = self._part()
            self.calls += 1
            part.calls += 1
            self.latency_us.add(time_us)
            part.latency_us.add(time_us)
            part.scores += scores
            part.score_sum += score_sum

    def add_error(self) -> None:
        """Count a call that failed without the caller's fault."""
        with self._lock:
            part = self._part()
            self.calls += 1
            self.errors += 1
            part.calls += 1
            part.errors += 1

    def add_difference(self, difference: Difference) -> None:
        """Count a comparison with the answer that was given."""
        with self._lock:
            self.score_difference.add(difference.mean_abs)
            self.correlation.add(difference.correlation)
            self.unlike += not difference.is_alike

    def recent(self) -> Recent:
        """The version within the window."""
        with self._lock:
            self._part()
            calls, errors, scores = (sum(getattr(p, n) for p in self._slices) for n in ("calls", "errors", "scores"))
            score_sum = sum(part.score_sum for part in self._slices)
            counts = [sum(column) for column in zip(*(p.latency_us.counts for p in self._slices), strict=True)]
        return Recent(calls, errors, score_sum / scores if scores else math.nan, _quantile(counts, 0.99))

    def _part(self) -> _Slice:
        """The part of the window that is now; older ones than the window go."""
        now_s = self._clock()
        if not self._slices or now_s - self._slices[-1].begin_s >= self._slice_s:
            self._slices.append(_Slice(now_s))
        while now_s - self._slices[0].begin_s > self._slice_s * SLICES:
            self._slices.popleft()
        return self._slices[-1]


def _quantile(counts: list[int], share: float) -> float:
    """Upper bound of the bucket that holds the quantile."""
    wanted = share * sum(counts)
    seen = 0
    for bound, count in zip((*BOUNDS_US, math.inf), counts, strict=True):
        seen += count
        if count and seen >= wanted:
            return bound
    return math.nan
