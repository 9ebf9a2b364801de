from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import DataError
from recserve.training.metrics import auc, gauc, log_loss

ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.5001, 1.0]), st.integers(0, 3)))


def slow_auc(labels: list[bool], scores: list[float]) -> float:
    """Compares every positive row with every negative one."""
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for (y, p), (z, n) in product(zip(labels, scores, strict=True), repeat=2)
        if y and not z
    ]
    return sum(wins) / len(wins) if wins else math.nan


def slow_gauc(labels: list[bool], scores: list[float], groups: list[int]) -> float:
    total = weight = 0.0
    for group in set(groups):
        rows = [n for n, g in enumerate(groups) if g == group]
        area = slow_auc([labels[n] for n in rows], [scores[n] for n in rows])
        if not math.isnan(area):
            total += len(rows) * area
            weight += len(rows)
    return total / weight if weight else math.nan


@given(ROWS)
def test_auc_and_gauc_equal_their_definitions(rows: list[tuple[bool, float, int]]) -> None:
    labels, scores, groups = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    np.testing.assert_allclose(auc(labels, scores), slow_auc(labels, scores), atol=1e-12)
    np.testing.assert_allclose(gauc(labels, scores, groups), slow_gauc(labels, scores, groups), atol=1e-12)


@given(ROWS)
def test_log_loss_equals_its_definition(rows: list[tuple[bool, float, int]]) -> None:
    terms = [-math.log(min(max(p if y else 1 - p, 1e-7), 1 - 1e-7)) for y, p, _ in rows]
    np.testing.assert_allclose(
        log_loss([r[0] for r in rows], [r[1] for r in rows]), sum(terms) / len(terms) if terms else math.nan, rtol=1e-9
    )


def test_a_perfect_order_has_auc_one_and_a_constant_score_one_half() -> None:
    assert auc([0, 0, 1], [0.1, 0.2, 0.3]) == 1.0
    assert auc([0, 0, 1], [0.3, 0.3, 0.3]) == 0.5


def test_groups_of_one_class_do_not_count() -> None:
    assert gauc([1, 0, 1, 1], [0.9, 0.1, 0.0, 0.0], ["a", "a", "b", "b"]) == 1.0
    assert math.isnan(gauc([1, 1], [0.9, 0.1], ["a", "b"]))


def test_groups_weigh_by_their_rows() -> None:
    labels, scores = [1, 0, 1, 0, 0, 0], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert gauc(labels, scores, [0, 0, 1, 1, 1, 1]) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 2], [0.1, 0.2], "label 2.0 in row 1 is neither 0 nor 1"),
        ([0, 1], [0.1, np.nan], "score nan in row 1 is not finite"),
        ([0, 1], [0.1], r"labels and scores need one axis of N rows, but are \(2,\) and \(1,\)"),
        (["x", "y"], [0.1, 0.2], "labels are not numbers"),
        ([0, 1], [0.1, 1.5], "probability 1.5 in row 1 is outside 0 … 1"),
    ],
)
def test_bad_rows_are_named(labels: list[object], scores: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        log_loss(labels, scores)


def test_groups_of_another_length_are_named() -> None:
    with pytest.raises(DataError, match=r"there are 2 labels, but groups have the shape \[1\]"):
        gauc([0, 1], [0.1, 0.2], [1])
