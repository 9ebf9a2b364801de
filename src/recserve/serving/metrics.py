"""What Prometheus reads of the calls to models, under TensorFlow Serving's names: its dashboards go on working."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

BOUNDS_US: Final = tuple(10 * 1.8**n for n in range(33))
"""Upper bounds of the latency buckets, in microseconds; one more has no bound."""

_COUNT: Final = ":tensorflow:serving:request_count"
_LATENCY: Final = ":tensorflow:serving:request_latency"


@dataclass
class _Latencies:
    """Times of one kind of call."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_US) + 1))
    sum_us: float = 0.0


@dataclass
class RequestMetrics:
    """Counts and times of calls. Threads may share it."""

    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _latencies: dict[tuple[str, str, str], _Latencies] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, model: str, status: str, api: str, entrypoint: str, time_us: float) -> None:
        """Count one call.

        Args:
            model: name of a served model; empty for a name that is not served, so that callers cannot add series.
            status: canonical code, such as `OK`.
            api: such as `Predict`.
            entrypoint: `REST` or `gRPC`.
            time_us: from arrival to answer, in microseconds; times of failed calls are not kept.
        """
        with self._lock:
            self._counts[model, status] += 1
            if status == "OK":
                latencies = self._latencies.setdefault((model, api, entrypoint), _Latencies())
                latencies.buckets[bisect_left(BOUNDS_US, time_us)] += 1
                latencies.sum_us += time_us

    def text(self) -> str:
        """All series in Prometheus' text format."""
        with self._lock:
            lines = [f"# TYPE {_COUNT} counter"]
            lines += [
                f'{_COUNT}{{model_name="{_escaped(model)}",status="{status}"}} {count}'
                for (model, status), count in self._counts.items()
            ]
            lines.append(f"# TYPE {_LATENCY} histogram")
            for (model, api, entrypoint), latencies in self._latencies.items():
                labels = f'model_name="{_escaped(model)}",API="{api}",entrypoint="{entrypoint}"'
                totals = list(accumulate(latencies.buckets))
                lines += [
                    f'{_LATENCY}_bucket{{{labels},le="{bound:g}"}} {total}'
                    for bound, total in zip((*BOUNDS_US, float("inf")), totals, strict=True)
                ]
                lines.append(f"{_LATENCY}_sum{{{labels}}} {latencies.sum_us:g}")
                lines.append(f"{_LATENCY}_count{{{labels}}} {totals[-1]}")
        return "\n".join(lines).replace('le="inf"', 'le="+Inf"') + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
