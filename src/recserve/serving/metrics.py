"""What Prometheus reads of the calls to models.

Under TensorFlow Serving's names, so that its dashboards go on working, and under recserve's own, which also tell the
version, the signature, the protocol and the stage. A call finds its series by one look into a dictionary and leaves its
times there, without a lock; they are counted when so many wait, and before anybody reads.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter_ns
from typing import Any, Final, TypeVar

import numpy as np

from recserve.serving import observation
from recserve.serving.metrics_text import Family, Sample, histogram_samples, write_text
from recserve.serving.metrics_times import BOUNDS_S, BOUNDS_US, EXAMPLE_BOUNDS, Histogram, Moments, split_stages
from recserve.serving.observation import Observation

MAX_SERIES: Final = 10_000
"""Series of one kind; a call that would be one more is counted under empty labels."""

MAX_UNCOUNTED: Final = 256
"""Calls of one kind that wait to be counted; so many cost little more to count than one."""

Source = Callable[[], Iterable[Family]]
"""Families that are asked for at each scrape."""

_TFS: Final = ":tensorflow:serving:"
_RUNTIME: Final = "recserve"
_K = TypeVar("_K")

_Key = tuple[str, str, int, str, str]
"""Protocol, model, version, signature, code."""


@dataclass
class _Series:
    """Calls of one kind, to a version of a model."""

    model: str
    version: int
    calls: int = 0
    rows: int = 0
    times: Histogram = field(default_factory=Histogram.of_ns)
    uncounted: list[Moments] = field(default_factory=list)
    inner: list[Mapping[str, float]] = field(default_factory=list)
    """Stage times of rankers, in microseconds, that are not counted yet."""


_Answer = tuple[float, float, int]
"""A good call under TensorFlow Serving's names: microseconds as a whole and in the model (below 0 where it was not
asked), and examples."""


@dataclass
class RequestMetrics:
    """Counts and times of calls. Threads may share it."""

    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _answers: dict[tuple[str, str, str], list[_Answer]] = field(default_factory=dict)
    _latencies: dict[tuple[str, str, str], Histogram] = field(default_factory=dict)
    _runtimes: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    _examples: dict[str, Histogram] = field(default_factory=dict)
    _logged: Counter[tuple[str, str]] = field(default_factory=Counter)
    _warmups: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    _series: dict[_Key, _Series] = field(default_factory=dict)
    _refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    _stages: dict[tuple[str, int, str], Histogram] = field(default_factory=dict)
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
        if status != "OK":
            with self._lock:
                self._counts[model, status] += 1
            return
        seen = observation.current()
        run_us, examples = -1.0, 0
        if seen is not None:
            examples = seen.examples
            if seen.run_ended_ns:
                run_us = (seen.run_ended_ns - seen.run_began_ns) / 1e3
        key = (model, api, entrypoint)
        answers = self._answers.get(key) or self._answers.setdefault(key, [])
        answers.append((time_us, run_us, examples))
        if len(answers) >= MAX_UNCOUNTED:
            with self._lock:
                self._count_answers(key, answers)

    def _count_answers(self, key: tuple[str, str, str], answers: list[_Answer]) -> None:
        taken = _take(answers)
        if not taken:
            return
        model, api, _ = key
        times_us, runs_us, examples = np.array(taken, np.float64).T
        self._counts[model, "OK"] += len(taken)
        _histogram(self._latencies, key).add(times_us)
        if (did_run := runs_us >= 0).any():
            _histogram(self._runtimes, (model, api)).add(runs_us[did_run])
        if (has_examples := examples > 0).any():
            _histogram(self._examples, model, EXAMPLE_BOUNDS).add(examples[has_examples])

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
            _histogram(self._warmups, (path, status)).add(np.array([time_us]))

    def finish(self, seen: Observation) -> None:
        """Count an answered request under recserve's own names."""
        ended_ns = perf_counter_ns()
        key = (seen.protocol, seen.model, seen.version, seen.signature, seen.code)
        series = self._series.get(key) or self._add_series(key)
        if seen.refusal:
            self._count_refusal(seen.protocol, seen.refusal)
        if seen.stages_us:
            series.inner.append(seen.stages_us)
        moments = (
            seen.began_ns,
            seen.received_ns,
            seen.work_began_ns,
            seen.run_began_ns,
            seen.run_ended_ns,
            seen.work_ended_ns,
            ended_ns,
            seen.rows,
        )
        uncounted = series.uncounted
        uncounted.append(moments)
        if len(uncounted) >= MAX_UNCOUNTED:
            with self._lock:
                self._count_calls(series)

    def _count_calls(self, series: _Series) -> None:
        taken, inner = _take(series.uncounted), _take(series.inner)
        model, version = series.model, series.version
        if taken:
            moments = np.array(taken, np.int64)
            series.calls += len(taken)
            series.rows += int(moments[:, -1].sum())
            series.times.add(moments[:, -2] - moments[:, 0])
            for name, spent_ns in split_stages(moments):
                self._stage(model, version, name).add(spent_ns)
        for name in dict.fromkeys(chain.from_iterable(inner)):
            spent_us = np.array([stages[name] for stages in inner if name in stages])
            self._stage(model, version, f"rank/{name}").add((spent_us * 1e3).astype(np.int64))

    def _count_all(self) -> None:
        for series in list(self._series.values()):
            self._count_calls(series)
        for key, answers in list(self._answers.items()):
            self._count_answers(key, answers)

    def _count_refusal(self, protocol: str, reason: str) -> None:
        key = (protocol, reason)
        with self._lock:
            self._refusals[key if key in self._refusals or len(self._refusals) < MAX_SERIES else ("", "")] += 1

    def _add_series(self, key: _Key) -> _Series:
        if len(self._series) >= MAX_SERIES:
            key = ("", "", 0, "", "")
        return self._series.setdefault(key, _Series(key[1], key[2]))

    def _stage(self, model: str, version: int, name: str) -> Histogram:
        key = (model, version, name)
        found = self._stages.get(key)
        if found is None:
            if len(self._stages) >= MAX_SERIES:
                key = ("", 0, "")
            found = self._stages.setdefault(key, Histogram.of_ns())
        return found

    def add_source(self, source: Source) -> None:
        """Ask `source` for further families at each scrape; one that fails is an error of the scrape."""
        self._sources.append(source)

    def forget(self, is_gone: Callable[[str, int], bool]) -> None:
        """Drop the series of versions that are gone, so that many versions do not make many series for ever."""
        with self._lock:
            self._count_all()
            for key in [key for key in self._series if key[1] and is_gone(key[1], key[2])]:
                del self._series[key]
            for stage in [key for key in self._stages if key[0] and is_gone(key[0], key[1])]:
                del self._stages[stage]

    def families(self) -> list[Family]:
        """Everything that was counted, and what the sources tell."""
        with self._lock:
            self._count_all()
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


def _histogram(found: dict[_K, Histogram], key: _K, bounds: tuple[float, ...] = BOUNDS_US) -> Histogram:
    histogram = found.get(key)
    if histogram is None:
        histogram = found[key] = Histogram(bounds)
    return histogram


def _take(waiting: list[_K]) -> list[_K]:
    """Take what waits now; other threads may append meanwhile."""
    taken = waiting[:]
    del waiting[: len(taken)]
    return taken


def _tfs_times(
    name: str, found: Mapping[Any, Histogram], labels: tuple[str, ...], bounds: tuple[float, ...] = BOUNDS_US
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
