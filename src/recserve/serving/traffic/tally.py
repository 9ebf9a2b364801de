"""What was seen of a version: calls, errors, times and scores, since its start and within a window."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

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

    def mean(self) -> Mean:
        """Of the values."""
        return Mean(self.total, self.count)


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


@dataclass(frozen=True)
class Window:
    """The sums of a version within the window; those of several workers are added.

    Attributes:
        calls: answered or failed.
        errors: failed by the model's or server's fault.
        scores: finite numbers in the answers.
        score_sum: of them.
        latency_counts: by upper bound of `BOUNDS_US`.
    """

    calls: int = 0
    errors: int = 0
    scores: int = 0
    score_sum: float = 0.0
    latency_counts: tuple[int, ...] = (0,) * (len(BOUNDS_US) + 1)

    def __add__(self, other: Window) -> Window:
        return Window(
            self.calls + other.calls,
            self.errors + other.errors,
            self.scores + other.scores,
            self.score_sum + other.score_sum,
            tuple(a + b for a, b in zip(self.latency_counts, other.latency_counts, strict=True)),
        )

    def recent(self) -> Recent:
        """What a rule looks at."""
        mean = self.score_sum / self.scores if self.scores else math.nan
        return Recent(self.calls, self.errors, mean, _quantile(self.latency_counts, 0.99))


@dataclass(frozen=True)
class Mean:
    """A mean that others can be added to."""

    total: float = 0.0
    count: int = 0

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float | None:
        """The mean; None where nothing was seen."""
        return self.total / self.count if self.count else None


@dataclass(frozen=True)
class Seen:
    """What was seen of a version: since its start, and within the window. What several workers saw is added.

    Attributes:
        calls, errors: since the start.
        difference: of a shadow's scores from those given.
        correlation: Spearman's, of the same.
        window: the recent part.
    """

    calls: int = 0
    errors: int = 0
    difference: Mean = Mean()
    correlation: Mean = Mean()
    window: Window = Window()

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            self.calls + other.calls,
            self.errors + other.errors,
            self.difference + other.difference,
            self.correlation + other.correlation,
            self.window + other.window,
        )

    def without_window(self) -> Seen:
        """The same, with nothing recent."""
        return replace(self, window=Window())

    def as_json(self) -> dict[str, Any]:
        """As plain JSON, for `from_json`."""
        return asdict(self)

    @staticmethod
    def from_json(document: dict[str, Any]) -> Seen:
        """What `as_json` gave.

        Raises:
            TypeError: it is something else.
        """
        window = dict(document["window"])
        window["latency_counts"] = tuple(window["latency_counts"])
        parts = {"difference": Mean(**document["difference"]), "correlation": Mean(**document["correlation"])}
        return Seen(**{**document, **parts, "window": Window(**window)})


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
        return self.seen().window.recent()

    def seen(self) -> Seen:
        """Everything that a rule or a page may ask for, at one moment."""
        with self._lock:
            self._part()
            calls, errors, scores = (sum(getattr(p, n) for p in self._slices) for n in ("calls", "errors", "scores"))
            score_sum = sum(part.score_sum for part in self._slices)
            counts = tuple(sum(column) for column in zip(*(p.latency_us.counts for p in self._slices), strict=True))
            return Seen(
                self.calls,
                self.errors,
                self.score_difference.mean(),
                self.correlation.mean(),
                Window(calls, errors, scores, score_sum, counts),
            )

    def _part(self) -> _Slice:
        """The part of the window that is now; older ones than the window go."""
        now_s = self._clock()
        if not self._slices or now_s - self._slices[-1].begin_s >= self._slice_s:
            self._slices.append(_Slice(now_s))
        while now_s - self._slices[0].begin_s > self._slice_s * SLICES:
            self._slices.popleft()
        return self._slices[-1]


def _quantile(counts: Sequence[int], share: float) -> float:
    """Upper bound of the bucket that holds the quantile."""
    wanted = share * sum(counts)
    seen = 0
    for bound, count in zip((*BOUNDS_US, math.inf), counts, strict=True):
        seen += count
        if count and seen >= wanted:
            return bound
    return math.nan
