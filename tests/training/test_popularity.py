from __future__ import annotations

import numpy as np
import pytest

from recserve.errors import ConfigError, DataError
from recserve.training.popularity import Popularity

ITEMS, LABELS = ["b", "a", "b", "c"], [1, 0, 1, 0]


def test_rates_are_pulled_to_the_mean_rate() -> None:
    scorer = Popularity.fit(ITEMS, LABELS, smoothing=2.0)
    np.testing.assert_allclose(scorer.score(["a", "b", "c"]), [1 / 3, 3 / 4, 1 / 3])


def test_unknown_items_score_the_mean_rate_or_no_positives() -> None:
    assert Popularity.fit(ITEMS, LABELS).score(["zz", "0"]).tolist() == [0.5, 0.5]
    assert Popularity.fit(ITEMS, LABELS, by="count").score(["zz", "b"]).tolist() == [0.0, 2.0]


def test_bad_settings_and_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"popularity by 'sales' is not known. Use 'rate' or 'count'"):
        Popularity.fit(ITEMS, LABELS, by="sales")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"smoothing -1 is not a number of at least 0"):
        Popularity.fit(ITEMS, LABELS, smoothing=-1)
    with pytest.raises(DataError, match=r"items have the shape \(4,\) and labels \(3,\); both need the same N ≥ 1"):
        Popularity.fit(ITEMS, LABELS[:3])
