from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import ConfigError, DataError
from recserve.training.splits import split_by_time


@given(st.lists(st.integers(0, 9), min_size=2, max_size=50), st.floats(0.01, 0.99))
def test_every_validation_row_is_later_than_every_training_row(times: list[int], share: float) -> None:
    if len(set(times)) < 2:
        return
    train, valid = split_by_time(times, share)
    moments = np.array(times)
    assert sorted([*train, *valid]) == list(range(len(times)))
    assert moments[train].max() < moments[valid].min()
    wanted = (1 - share) * len(times)
    nearest = min(abs(np.sum(moments < cut) - wanted) for cut in sorted(set(times))[1:])
    assert abs(len(train) - wanted) == nearest


def test_dates_are_split_too() -> None:
    train, valid = split_by_time(np.array(["2024-01-02", "2024-01-01", "2024-01-03"], "datetime64[s]"), 0.3)
    assert (train.tolist(), valid.tolist()) == ([0, 1], [2])


@pytest.mark.parametrize(
    ("times", "share", "error", "message"),
    [
        ([1, 2], 1.0, ConfigError, "valid_share 1.0 is not between 0 and 1. 0.2 keeps the last fifth"),
        ([1, 1], 0.5, DataError, "2 rows hold 1 distinct times, but a split needs two"),
        ([1.0, np.nan], 0.5, DataError, "the time of row 1 is missing"),
        (["a", "b"], 0.5, DataError, r"times are <U1\[2\], not one axis of numbers or datetime64"),
    ],
)
def test_what_cannot_be_split_is_refused(times: list[object], share: float, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        split_by_time(times, share)
