"""How often, and for how long, each model version was asked: what the statistics extension of Open Inference shows.

Every protocol can feed it. One lock a version is held for a few additions, so that counts are exact under threads. Of
several workers, whichever is asked tells the sum: they share their counts as they share their metrics, once a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import Any, Final

from recserve.serving.metrics_pool import MetricsPool
from recserve.serving.metrics_text import Family, Sample

MAX_BATCH_SIZES: Final = 1024
"""Different batch sizes that are told apart; further ones count as the next power of two."""

_PARTS: Final = ("compute_input", "compute_infer", "compute_output")
_LAST, _ROWS, _CALLS, _BATCHES = "last_ms", "rows", "calls", "batches"
_FAILED: Final = ("failures", "failed_ns")
_SPENT: Final = ("queue", *_PARTS)
_BATCH: Final = (_BATCHES, *(f"batch_{part}" for part in _PARTS))


@dataclass(frozen=True)
class Times:
    """Where the time of one answered request went, in nanoseconds.

    Attributes:
        queue: waiting for a thread.
        compute_input: reading the request.
        compute_infer: in the model.
        compute_output: writing the answer.
    """

    queue: int = 0
    compute_input: int = 0
    compute_infer: int = 0
    compute_output: int = 0


@dataclass
class VersionStatistics:
    """The counters of one version. Threads may share it."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last_inference_ms: int = 0
    _inference_count: int = 0
    _execution_count: int = 0
    _failures: list[int] = field(default_factory=lambda: [0, 0])
    """Count, ns."""
    _spent_ns: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    """Of answered requests: queue, compute_input, compute_infer, compute_output."""
    _batches: dict[int, list[int]] = field(default_factory=dict)

    def add(self, rows: int, times: Times) -> None:
        """Count an answered request.

        Args:
            rows: of its batch; 1 for a model that takes no batches.
            times: of the request.
        """
        now_ms = time_ns() // 1_000_000
        with self._lock:
            self._last_inference_ms = now_ms
            self._inference_count += rows
            self._execution_count += 1
            spent = self._spent_ns
            spent[0] += times.queue
            spent[1] += times.compute_input
            spent[2] += times.compute_infer
            spent[3] += times.compute_output
            batch = self._batch(rows)
            batch[0] += 1
            batch[1] += times.compute_input
            batch[2] += times.compute_infer
            batch[3] += times.compute_output

    def add_failure(self, ns: int) -> None:
        """Count a request that was refused or failed, `ns` nanoseconds after it arrived."""
        with self._lock:
            self._failures[0] += 1
            self._failures[1] += ns

    def _batch(self, rows: int) -> list[int]:
        """[count, then ns of each part] of a batch size."""
        if rows not in self._batches and len(self._batches) >= MAX_BATCH_SIZES:
            rows = 1 << max(0, rows - 1).bit_length()
        return self._batches.setdefault(rows, [0, 0, 0, 0])

    def counts(self) -> dict[str, int]:
        """What was counted, by a name for each number, as `describe` reads it."""
        with self._lock:
            found = {_LAST: self._last_inference_ms, _ROWS: self._inference_count, _CALLS: self._execution_count}
            found |= dict(zip(_FAILED, self._failures, strict=True))
            found |= dict(zip(_SPENT, self._spent_ns, strict=True))
            for rows, batch in self._batches.items():
                found |= {f"{name}:{rows}": number for name, number in zip(_BATCH, batch, strict=True)}
            return found

    def as_json(self, name: str, version: int) -> dict[str, Any]:
        """One item of `model_stats`; counts and nanoseconds since the version was first asked."""
        return describe(name, version, self.counts())


def describe(name: str, version: int, counts: Mapping[str, int]) -> dict[str, Any]:
    """One item of `model_stats`.

    Args:
        name: of the model.
        version: of it.
        counts: as `VersionStatistics.counts`, or sums of several such; what is missing is 0.
    """

    def times(part: str, calls: str = _CALLS, suffix: str = "") -> dict[str, int]:
        return {"count": counts.get(calls + suffix, 0), "ns": counts.get(part + suffix, 0)}

    success_ns = sum(counts.get(part, 0) for part in _SPENT)
    durations = {"success": {"count": counts.get(_CALLS, 0), "ns": success_ns}, "fail": times(_FAILED[1], _FAILED[0])}
    durations |= {part: times(part) for part in _SPENT}
    durations |= {part: {"count": 0, "ns": 0} for part in ("cache_hit", "cache_miss")}
    sizes = sorted(int(key.removeprefix(f"{_BATCHES}:")) for key in counts if key.startswith(f"{_BATCHES}:"))
    batches = [
        {"batch_size": rows} | {part: times(f"batch_{part}", _BATCHES, f":{rows}") for part in _PARTS} for rows in sizes
    ]
    return {
        "name": name,
        "version": str(version),
        "last_inference": counts.get(_LAST, 0),
        "inference_count": counts.get(_ROWS, 0),
        "execution_count": counts.get(_CALLS, 0),
        "inference_stats": durations,
        "response_stats": {},
        "batch_stats": batches,
        "memory_usage": [],
    }


class Statistics:
    """The counters of every version of a process. Threads may share it.

    Args:
        directory: where the workers of a server share their counts; None for a process on its own.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._versions: Mapping[tuple[str, int], VersionStatistics] = {}
        self._pool = None if directory is None else MetricsPool(directory, self._families)

    def of(self, name: str, version: int) -> VersionStatistics:
        """The counters of a version; new ones where it was never asked before. Ask only for versions that exist."""
        found = self._versions.get((name, version))
        if found is not None:
            return found
        with self._lock:
            found = self._versions.get((name, version)) or VersionStatistics()
            self._versions = {**self._versions, (name, version): found}  # replaced, so that readers take no lock
            return found

    def forget(self, name: str, version: int) -> None:
        """Drop the counters of a version, as when it is unloaded; nothing happens where there are none."""
        with self._lock:
            self._versions = {key: found for key, found in self._versions.items() if key != (name, version)}

    def describe(self, versions: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
        """The items of `model_stats` for versions: of this process as they are now, of other workers a second ago."""
        counts = self._sums()
        return [describe(name, number, counts.get((name, number), {})) for name, number in versions]

    def close(self) -> None:
        """Leave the counts to the other workers."""
        if self._pool is not None:
            self._pool.close()

    def _sums(self) -> Mapping[tuple[str, int], Mapping[str, int]]:
        if self._pool is None:
            return {key: found.counts() for key, found in self._versions.items()}
        sums: dict[tuple[str, int], dict[str, int]] = {}
        for family in self._pool.families():
            for _, labels, value in family.samples:
                sums.setdefault((labels["model"], int(labels["version"])), {})[labels["count"]] = int(value)
        return sums

    def _families(self) -> list[Family]:
        """The counts in the form in which workers add up what they share."""
        latest, summed = list[Sample](), list[Sample]()
        for (name, number), found in self._versions.items():
            for count, value in found.counts().items():
                labels = {"model": name, "version": str(number), "count": count}
                (latest if count == _LAST else summed).append(("", labels, value))
        return [Family("latest", "counter", "", latest, "max"), Family("summed", "counter", "", summed)]
