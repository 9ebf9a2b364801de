from __future__ import annotations

import math

from recserve.serving.traffic.comparison import Difference
from recserve.serving.traffic.tally import SLICES, Tally


def test_the_window_forgets_and_the_totals_do_not() -> None:
    now = [0.0]
    tally = Tally(20.0, clock=lambda: now[0])
    tally.add(150.0, 2, 6.0)
    tally.add_error()
    got = tally.recent()
    assert (got.calls, got.errors, got.error_rate, got.mean_score, got.p99_us) == (2, 1, 0.5, 3.0, 200.0)
    now[0] = 19.0
    tally.add(90.0, 1, 1.0)
    assert tally.recent().calls == 3
    now[0] = 25.0
    assert (tally.recent().calls, tally.recent().mean_score) == (1, 1.0)
    now[0] = 100.0
    assert (tally.recent().calls, tally.recent().error_rate) == (0, 0.0)
    assert math.isnan(tally.recent().p99_us)
    assert (tally.calls, tally.errors, tally.latency_us.count) == (3, 1, 2)
    assert SLICES > 1


def test_differences_are_counted_and_nan_is_not() -> None:
    tally = Tally()
    tally.add_difference(Difference(0.5, 0.5, math.nan, 3, is_alike=False))
    assert (tally.score_difference.count, tally.correlation.count, tally.unlike) == (1, 0, 1)
