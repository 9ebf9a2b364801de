from __future__ import annotations

import math

import pydantic
import pytest

from recserve.serving.traffic.rule import RolloutRule
from recserve.serving.traffic.tally import Recent

GOOD = Recent(1000, 0, 0.5, 200.0)


@pytest.mark.parametrize(
    ("canary", "verdict", "why"),
    [
        (Recent(5, 5, 0.5, 200.0), "wait", "5 of 10 calls"),
        (Recent(100, 2, 0.5, 200.0), "roll back", "error rate 0.02 above 0.01"),
        (Recent(100, 0, 0.5, 800.0), "roll back", "99th percentile of latency 4 times the stable one's"),
        (Recent(100, 0, 0.7, 200.0), "roll back", "mean score 0.4 away from the stable one's"),
        (Recent(100, 1, 0.5, 200.0), "promote", "within the thresholds for 60 s"),
        (Recent(100, 0, math.nan, math.nan), "promote", "within the thresholds for 60 s"),
    ],
)
def test_a_canary_is_judged_by_its_thresholds(canary: Recent, verdict: str, why: str) -> None:
    rule = RolloutRule(min_calls=10, max_latency_ratio=2.0, max_score_drift=0.1, promotes=True)
    assert rule.judge(canary, GOOD, 61.0) == (verdict, why)


def test_a_canary_is_promoted_by_a_rule_that_says_so_and_after_the_window() -> None:
    assert RolloutRule(promotes=True).judge(GOOD, GOOD, 59.0)[0] == "wait"
    assert RolloutRule().judge(GOOD, GOOD, 1e6)[0] == "wait"


def test_thresholds_that_cannot_be_are_refused() -> None:
    for wrong in ({"window_s": 0}, {"min_calls": 0}, {"max_error_rate": 2}, {"max_latncy_ratio": 1}):
        with pytest.raises(pydantic.ValidationError):
            RolloutRule.model_validate(wrong)
