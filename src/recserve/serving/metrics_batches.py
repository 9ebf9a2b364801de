"""What Prometheus reads of batches: how large they are, how much of them is filling, and how long calls wait for them.

TensorFlow Serving's names where it has one, so that its dashboards go on working; and by model.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from recserve.serving.metrics_text import Family, Sample, histogram_samples

BOUNDS_US: Final = tuple(100 * 1.2**n for n in range(52))
"""Upper bounds of TensorFlow Serving's queuing latency, in microseconds; one more has no bound."""

SIZE_BOUNDS: Final = tuple(float(2**n) for n in range(15))
"""Upper bounds of rows; one more has no bound."""

_TFS: Final = ":tensorflow:serving:batching_session:"


@dataclass
class _Counts:
    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass
class _Batches:
    """Of one model."""

    calls: _Counts = field(default_factory=lambda: _Counts(SIZE_BOUNDS))
    inputs: _Counts = field(default_factory=lambda: _Counts(SIZE_BOUNDS))
    processed: _Counts = field(default_factory=lambda: _Counts(SIZE_BOUNDS))
    padding: _Counts = field(default_factory=lambda: _Counts(SIZE_BOUNDS))


@dataclass
class BatchMetrics:
    """Counts of batches. Threads may share it."""

    _models: dict[str, _Batches] = field(default_factory=dict)
    _waits: _Counts = field(default_factory=lambda: _Counts(BOUNDS_US))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def waited(self, wait_s: float) -> None:
        """Count a batch that a thread takes now.

        Args:
            wait_s: seconds since its first call.
        """
        with self._lock:
            self._waits.add(wait_s * 1e6)

    def ran(self, model: str, rows: Sequence[int], size: int) -> None:
        """Count a batch that runs.

        Args:
            model: its name.
            rows: of each call in it.
            size: rows that run, with those that fill it up.
        """
        total = sum(rows)
        with self._lock:
            batches = self._models.setdefault(model, _Batches())
            for count in rows:
                batches.inputs.add(count)
            batches.calls.add(len(rows))
            batches.processed.add(size)
            batches.padding.add(size - total)

    def families(self) -> list[Family]:
        """What was counted."""
        with self._lock:
            waits = _histogram(f"{_TFS}queuing_latency", "Microseconds from a batch's first call.", [({}, self._waits)])
            parts = [
                ("input_batch_size", "Rows of a call.", [b.inputs for b in self._models.values()]),
                ("processed_batch_size", "Rows of a batch.", [b.processed for b in self._models.values()]),
                ("padding_size", "Rows that fill a batch up.", [b.padding for b in self._models.values()]),
            ]
            sizes = [_histogram(f"{_TFS}{name}", text, self._labelled(counts)) for name, text, counts in parts]
            calls = [batches.calls for batches in self._models.values()]
            runs: list[Sample] = [("", {}, float(sum(sum(one.counts) for one in calls)))]
            return [
                waits,
                *sizes,
                Family(f"{_TFS}wrapped_run_count", "counter", "Batches that ran.", runs),
                _histogram("recserve_batch_calls", "Calls that share a batch.", self._labelled(calls)),
            ]

    def _labelled(self, counts: list[_Counts]) -> list[tuple[dict[str, str], _Counts]]:
        return [({"model_name": model}, one) for model, one in zip(self._models, counts, strict=True)]


def _histogram(name: str, text: str, rows: Iterable[tuple[dict[str, str], _Counts]]) -> Family:
    samples = [
        sample
        for labels, counts in rows
        for sample in histogram_samples(labels, counts.bounds, counts.counts, counts.total)
    ]
    return Family(name, "histogram", text, samples)
