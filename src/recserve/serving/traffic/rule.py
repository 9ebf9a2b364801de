"""When a canary is promoted, and when it is rolled back, from what was seen of both within a window."""

from __future__ import annotations

import math
from typing import Literal

import pydantic

from recserve.serving.traffic.tally import Recent

Verdict = Literal["wait", "promote", "roll back"]


class RolloutRule(pydantic.BaseModel, extra="forbid", frozen=True):
    """Thresholds of a canary.

    Attributes:
        window_s: seconds that are looked at, and that a canary must hold out for before it is promoted.
        min_calls: of the canary within the window, before it is judged at all.
        max_error_rate: share of failed calls above which it is rolled back.
        max_latency_ratio: its 99th percentile over the stable version's, above which it is rolled back.
        max_score_drift: distance of its mean score from the stable version's, over that mean's size, above which it is
            rolled back.
        promotes: whether a canary that held out is promoted; it else stays until somebody says so.
    """

    window_s: float = pydantic.Field(60.0, gt=0, le=86_400)
    min_calls: int = pydantic.Field(100, ge=1)
    max_error_rate: float | None = pydantic.Field(0.01, ge=0, le=1)
    max_latency_ratio: float | None = pydantic.Field(None, gt=0)
    max_score_drift: float | None = pydantic.Field(None, gt=0)
    promotes: bool = False

    def judge(self, canary: Recent, stable: Recent, age_s: float) -> tuple[Verdict, str]:
        """What to do now, and why.

        Args:
            canary: what was seen of it within the window.
            stable: the same of the stable version.
            age_s: seconds since the canary got its share.
        """
        if canary.calls < self.min_calls:
            return "wait", f"{canary.calls} of {self.min_calls} calls"
        if self.max_error_rate is not None and canary.error_rate > self.max_error_rate:
            return "roll back", f"error rate {canary.error_rate:.4g} above {self.max_error_rate:g}"
        ratio = canary.p99_us / stable.p99_us if stable.p99_us else math.nan
        if self.max_latency_ratio is not None and ratio > self.max_latency_ratio:
            return "roll back", f"99th percentile of latency {ratio:.3g} times the stable one's"
        drift = abs(canary.mean_score - stable.mean_score) / max(abs(stable.mean_score), 1e-12)
        if self.max_score_drift is not None and drift > self.max_score_drift:
            return "roll back", f"mean score {drift:.3g} away from the stable one's"
        if not self.promotes or age_s < self.window_s:
            return "wait", "within the thresholds"
        return "promote", f"within the thresholds for {self.window_s:g} s"
