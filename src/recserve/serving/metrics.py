"""What Prometheus reads of the calls to models.

Under TensorFlow Serving's names, so that its dashboards go on working, and under recserve's own, which also tell the
version, the signature, the protocol and the stage. A call finds its series by one look into a dictionary, without a
lock; the lock is held for a few additions.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Final, TypeVar

from recserve.serving import observation
from recserve.serving.metrics_text import Family, Sample, histogram_samples, write_text
from recserve.serving.observation import Observation

BOUNDS_US: Final = tuple(10 * 1.8**n for n in range(33))
"""Upper bounds of TensorFlow Serving's latency buckets, in microseconds; one more has no bound."""

BOUNDS_S: Final = tuple(50e-6 * 2**n for n in range(20))
"""Upper bounds of recserve's own, 50 µs to 26 s: powers of two, so that a bucket is found by a count of bits."""

EXAMPLE_BOUNDS: Final = tuple(float(2**n) for n in range(16))

MAX_SERIES: Final = 10_000
"""Series of one kind; a call that would be one more is counted under empty labels."""

Source = Callable[[], Iterable[Family]]
"""Families that are asked for at each scrape."""

_TFS: Final = ":tensorflow:serving:"
_RUNTIME: Final = "recserve"
_FIRST_NS: Final = 50_000
_K = TypeVar("_K")


@dataclass
class _Times:
    """A histogram of times."""

    buckets: list[int]
    total: float = 0.0

    @classmethod
    def own(cls) -> _Times:
        return cls([0] * (len(BOUNDS_S) + 1))

    @classmethod
    def tfs(cls, bounds: tuple[float, ...] = BOUNDS_US) -> _Times:
        return cls([0] * (len(bounds) + 1))

    def add_ns(self, ns: int) -> None:
        """Count a time in recserve's buckets."""
        self.buckets[min(((ns - 1) // _FIRST_NS).bit_length(), len(BOUNDS_S)) if ns > 0 else 0] += 1
        self.total += ns


_Key = tuple[str, str, int, str, str]
"""Protocol, model, version, signature, code."""


@dataclass
class _Series:
    """Calls of one kind."""

    calls: int = 0
    rows: int = 0
    times: _Times = field(default_factory=_Times.own)


@dataclass
class RequestMetrics:
    """Counts and times of calls. Threads may share it."""

    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _latencies: dict[tuple[str, str, str], _Times] = field(default_factory=dict)
    _runtimes: dict[tuple[str, str], _Times] = field(default_factory=dict)
    _examples: dict[str, _Times] = field(default_factory=dict)
    _logged: Counter[tuple[str, str]] = field(default_factory=Counter)
    _warmups: dict[tuple[str, str], _Times] = field(default_factory=dict)
    _series: dict[_Key, _Series] = field(default_factory=dict)
    _refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    _stages: dict[tuple[str, int, str], _Times] = field(default_factory=dict)
    _sources: list[Source] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, model: str, status: str, api: str, entrypoint: str, time_us: float) -> None:
        """Count one call under TensorFlow Serving's names, with what the current observation knows of it.

        Args:
            model: name of a served model; empty for a name that is not served, so that callers cannot add series.
            status: canonical code, such as `OK`.
            api: such as `Predict`.
            entrypoint: `REST` or `GRPC`.
            time_us: from arrival to answer, in microseconds; times of failed calls are not kept.
        """
        seen = observation.current()
        with self._lock:
            self._counts[model, status] += 1
            if status != "OK":
                return
            _add_us(self._latencies, (model, api, entrypoint), time_us)
            if seen is None:
                return
            if seen.run_ended_ns:
                _add_us(self._runtimes, (model, api), (seen.run_ended_ns - seen.run_began_ns) / 1e3)
            if seen.examples:
                _add_us(self._examples, model, seen.examples, EXAMPLE_BOUNDS)

    def count_logged(self, model: str, code: str) -> None:
        """Count a request that was written to the request log (`OK`), or could not be."""
        with self._lock:
            self._logged[model, code] += 1

    def observe_warmup(self, path: str, status: str, time_us: float) -> None:
        """Count the warm-up of a version.

        Args:
            path: directory of the version.
            status: canonical code.
            time_us: that it took.
        """
        with self._lock:
            _add_us(self._warmups, (path, status), time_us)

    def finish(self, seen: Observation) -> None:
        """Count an answered request under recserve's own names."""
        took_ns = perf_counter_ns() - seen.began_ns
        model, version = seen.model, seen.version
        key = (seen.protocol, model, version, seen.signature, seen.code)
        series = self._series.get(key) or self._add_series(key)
        if seen.refusal:
            self._count_refusal(seen.protocol, seen.refusal)
        stages = [(self._stage(model, version, name), end - begin) for name, begin, end in seen.stages()]
        inner = [(self._stage(model, version, f"rank/{name}"), int(us * 1e3)) for name, us in seen.stages_us.items()]
        with self._lock:
            series.calls += 1
            series.rows += seen.rows
            series.times.add_ns(took_ns)
            for times, ns in stages:
                times.add_ns(ns)
            for times, ns in inner:
                times.add_ns(ns)

    def _count_refusal(self, protocol: str, reason: str) -> None:
        key = (protocol, reason)
        with self._lock:
            self._refusals[key if key in self._refusals or len(self._refusals) < MAX_SERIES else ("", "")] += 1

    def _add_series(self, key: _Key) -> _Series:
        if len(self._series) >= MAX_SERIES:
            key = ("", "", 0, "", "")
        return self._series.setdefault(key, _Series())

    def _stage(self, model: str, version: int, name: str) -> _Times:
        key = (model, version, name)
        found = self._stages.get(key)
        if found is None:
            if len(self._stages) >= MAX_SERIES:
                key = ("", 0, "")
            found = self._stages.setdefault(key, _Times.own())
        return found

    def add_source(self, source: Source) -> None:
        """Ask `source` for further families at each scrape; one that fails is an error of the scrape."""
        self._sources.append(source)

    def forget(self, is_gone: Callable[[str, int], bool]) -> None:
        """Drop the series of versions that are gone, so that many versions do not make many series for ever."""
        with self._lock:
            for key in [key for key in self._series if key[1] and is_gone(key[1], key[2])]:
                del self._series[key]
            for stage in [key for key in self._stages if key[0] and is_gone(key[0], key[1])]:
                del self._stages[stage]

    def families(self) -> list[Family]:
        """Everything that was counted, and what the sources tell."""
        with self._lock:
            found = [*self._tfs_families(), *self._own_families()]
        return found + [family for source in self._sources for family in source()]

    def text(self) -> str:
        """All series in Prometheus' text format."""
        return write_text(self.families())

    def _tfs_families(self) -> list[Family]:
        calls: list[Sample] = [
            ("", {"model_name": model, "status": status}, count) for (model, status), count in self._counts.items()
        ]
        logged: list[Sample] = [
            ("", {"model_name": model, "status_code": code}, count) for (model, code), count in self._logged.items()
        ]
        examples = [("", {"model": model}, times.total) for model, times in self._examples.items()]
        return [
            Family(f"{_TFS}request_count", "counter", "Calls by model and status.", calls),
            _tfs_times("request_latency", self._latencies, ("model_name", "API", "entrypoint")),
            _tfs_times(
                "runtime_latency",
                {(*key, _RUNTIME): times for key, times in self._runtimes.items()},
                ("model_name", "API", "runtime"),
            ),
            _tfs_times(
                "request_example_counts",
                {(model,): times for model, times in self._examples.items()},
                ("model",),
                EXAMPLE_BOUNDS,
            ),
            Family(f"{_TFS}request_example_count_total", "counter", "Examples by model.", examples),
            Family(f"{_TFS}request_log_count", "counter", "Requests written to the request log.", logged),
            _tfs_times("model_warmup_latency", self._warmups, ("model_path", "status")),
        ]

    def _own_families(self) -> list[Family]:
        calls, rows, times = [], [], []
        for (protocol, model, version, signature, code), series in self._series.items():
            labels = {"protocol": protocol, "model": model, "version": _shown(version), "signature": signature}
            calls.append(("", {**labels, "code": code}, float(series.calls)))
            if series.rows:
                rows.append(("", {**labels, "code": code}, float(series.rows)))
            times += histogram_samples(
                {**labels, "code": code}, BOUNDS_S, series.times.buckets, series.times.total / 1e9
            )
        stages = []
        for (model, version, name), spent in self._stages.items():
            of_stage = {"model": model, "version": _shown(version), "stage": name}
            stages += histogram_samples(of_stage, BOUNDS_S, spent.buckets, spent.total / 1e9)
        refusals: list[Sample] = [
            ("", {"protocol": protocol, "reason": reason}, float(count))
            for (protocol, reason), count in self._refusals.items()
        ]
        return [
            Family("recserve_refusals_total", "counter", "Requests that were answered by an error.", refusals),
            Family("recserve_requests_total", "counter", "Answered requests.", calls),
            Family("recserve_candidates_total", "counter", "Candidates of ranked requests.", rows),
            Family("recserve_request_duration_seconds", "histogram", "From arrival to answer.", times),
            Family("recserve_stage_duration_seconds", "histogram", "Time in one stage of a request.", stages),
        ]


def _add_us(found: dict[_K, _Times], key: _K, value: float, bounds: tuple[float, ...] = BOUNDS_US) -> None:
    times = found.get(key)
    if times is None:
        times = found[key] = _Times.tfs(bounds)
    times.buckets[bisect_left(bounds, value)] += 1
    times.total += value


def _tfs_times(
    name: str, found: Mapping[Any, _Times], labels: tuple[str, ...], bounds: tuple[float, ...] = BOUNDS_US
) -> Family:
    samples = [
        sample
        for key, times in found.items()
        for sample in histogram_samples(dict(zip(labels, key, strict=True)), bounds, times.buckets, times.total)
    ]
    what = "Examples of a call." if bounds is EXAMPLE_BOUNDS else "Microseconds."
    return Family(f"{_TFS}{name}", "histogram", what, samples)


def _shown(version: int) -> str:
    return str(version) if version else ""
