from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.traffic.comparison import compare_ranked, compare_scores, compare_tensors, flat_scores, spearman


def mean_ranks(values: np.ndarray) -> list[float]:
    """Rank of each value; equal ones share the mean of theirs."""
    return [float(np.mean(np.flatnonzero(np.sort(values) == value))) for value in values]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=20))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    got = spearman(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(float(np.corrcoef(mean_ranks(a), mean_ranks(b))[0, 1]))


def test_rankings_are_compared_by_their_common_items() -> None:
    same = compare_ranked(["a", "b", "c"], [3.0, 2.0, 1.0], ["c", "a", "b"], [1.5, 3.0, 2.0])
    assert (same.compared, same.is_alike, same.correlation) == (3, True, pytest.approx(1.0))
    assert (same.mean_abs, same.max_abs) == (pytest.approx(0.5 / 3), 0.5)
    other = compare_ranked([1, 2], [3.0, 2.0], [2, 9], [1.0, 0.0])
    assert (other.compared, other.is_alike, other.mean_abs) == (1, False, 1.0)


def test_what_is_not_finite_does_not_count() -> None:
    got = compare_scores(np.array([1.0, np.nan, np.inf]), np.array([2.0, 1.0, 1.0]))
    assert (got.compared, got.mean_abs) == (1, 1.0)
    assert compare_scores(np.array([np.nan]), np.array([1.0])).compared == 0


def test_tensors_are_compared_where_their_shapes_agree() -> None:
    given, other = {"y": np.ones((2, 2)), "t": np.array([b"x"], object)}, {"y": np.zeros((2, 2)), "t": np.array([b"x"])}
    got = compare_tensors(given, other)
    assert (got.compared, got.mean_abs, got.is_alike) == (4, 1.0, True)
    assert not compare_tensors({"y": np.ones(2)}, {"y": np.ones(3)}).is_alike
    assert compare_tensors({"y": np.ones(2)}, {}).compared == 0
    assert len(flat_scores(np.array([1 + 2j]))) == 0
