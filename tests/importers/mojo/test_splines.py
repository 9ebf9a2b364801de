from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.importers.mojo import splines

KNOTS = np.array([-1.0, 0.0, 0.5, 2.0, 3.0])
SOLVED = np.random.default_rng(1).normal(size=(3, 5))
BASES = {
    "cubic": (splines.cubic_basis(KNOTS, SOLVED), KNOTS[1:-1], 3),
    "m": (splines.m_basis(KNOTS, 3), KNOTS, 2),
    "i": (splines.i_basis(KNOTS, 3), KNOTS, 3),
    "i of order 1": (splines.i_basis(KNOTS, 1), KNOTS, 1),
}


@settings(max_examples=60, deadline=None)
@given(st.floats(-4, 6), st.lists(st.floats(-3, 3), min_size=7, max_size=7))
@pytest.mark.parametrize("name", BASES)
def test_pieces_equal_the_weighted_basis_everywhere(name: str, x: float, weights: list[float]) -> None:
    basis, edges, degree = BASES[name]
    w = np.array(weights)[: len(basis(0.1))]
    pieces = splines.fit_pieces(lambda value: float(w @ basis(value)), edges, degree)
    assert pieces(x) == pytest.approx(float(w @ basis(x)), rel=1e-9, abs=1e-9)


def test_the_pieces_are_right_at_the_edges() -> None:
    for basis, edges, degree in BASES.values():
        total = splines.fit_pieces(lambda x, basis=basis: float(basis(x).sum()), edges, degree)
        for x in edges:
            assert total(float(x)) == pytest.approx(float(basis(float(x)).sum()), abs=1e-9)


def test_m_splines_integrate_to_one_and_i_splines_are_their_integrals() -> None:
    xs = np.linspace(-1, 3, 4001)
    m = np.array([splines.m_basis(KNOTS, 3)(x) for x in xs])
    i = np.array([splines.i_basis(KNOTS, 3)(x) for x in xs])
    np.testing.assert_allclose(np.trapezoid(m, xs, axis=0), 1.0, atol=3e-3)
    summed = np.vstack([np.zeros(m.shape[1]), np.cumsum((m[1:] + m[:-1]) / 2 * np.diff(xs)[:, None], axis=0)])
    np.testing.assert_allclose(i, summed, atol=4e-3)


def test_b_splines_add_up_to_one_inside() -> None:
    full = splines.repeat_ends(KNOTS, 3)
    for x in np.linspace(-1, 2.99, 50):
        total = sum(splines.normalised_spline(full, first, 3, float(x)) for first in range(len(KNOTS) + 1))
        assert total == pytest.approx(1.0)
