"""How often, and for how long, each model version was asked: what the statistics extension of Open Inference shows.

Every protocol can feed it. One lock a version is held for a few additions, so that counts are exact under threads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, Final

MAX_BATCH_SIZES: Final = 1024
"""Different batch sizes that are told apart; further ones count as the next power of two."""

_PARTS: Final = ("compute_input", "compute_infer", "compute_output")


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

    def as_json(self, name: str, version: int) -> dict[str, Any]:
        """One item of `model_stats`; counts and nanoseconds since the version was first asked."""
        with self._lock:
            count = self._execution_count
            spent_ns = dict(zip(("queue", *_PARTS), self._spent_ns, strict=True))
            durations = {"success": {"count": count, "ns": sum(self._spent_ns)}}
            durations |= {"fail": {"count": self._failures[0], "ns": self._failures[1]}}
            durations |= {part: {"count": count, "ns": ns} for part, ns in spent_ns.items()}
            durations |= {part: {"count": 0, "ns": 0} for part in ("cache_hit", "cache_miss")}
            batches = [
                {"batch_size": rows}
                | {part: {"count": times, "ns": ns} for part, ns in zip(_PARTS, spent, strict=True)}
                for rows, (times, *spent) in sorted(self._batches.items())
            ]
            return {
                "name": name,
                "version": str(version),
                "last_inference": self._last_inference_ms,
                "inference_count": self._inference_count,
                "execution_count": self._execution_count,
                "inference_stats": durations,
                "response_stats": {},
                "batch_stats": batches,
                "memory_usage": [],
            }


class Statistics:
    """The counters of every version of a process. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: Mapping[tuple[str, int], VersionStatistics] = {}

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
