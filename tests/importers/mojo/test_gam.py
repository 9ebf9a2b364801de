from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read
from recserve.importers.mojo import splines
from recserve.importers.mojo.gam import plate_constant

Make = Callable[..., Path]
RNG = np.random.default_rng(5)
KNOTS = np.array([0.0, 1.0, 2.5, 4.0])
CENTRE, SOLVED = RNG.normal(size=(3, 4)), RNG.normal(size=(2, 4))
BETA = RNG.normal(size=6)  # two levels, one number's three functions ... see `columns`
FILLS = [0.25, 0.5, -0.5, 1.0]


def files(knots: np.ndarray = KNOTS, centre: np.ndarray = CENTRE, **extra: np.ndarray) -> dict[str, bytes]:
    found = {"knots": knots, "zTranspose": centre, "_binvD": SOLVED, **extra}
    return {name: np.asarray(values, ">f8").tobytes() for name, values in found.items()} | {
        "gam_columns_sorted": b"x\n"
    }


def info(**extra: Any) -> dict[str, Any]:
    return {
        "algo": "gam",
        "family": "gaussian",
        "link": "identity",
        "cats": 1,
        "cat_offsets": [0, 1],
        "mean_imputation": True,
        "catNAFills": [1],
        "numNAFillsCenter": FILLS,
        "num_expanded_gam_columns_center": 3,
        "beta_center": BETA.tolist(),
        "bs_sorted": [0],
        "num_knots_sorted": [4],
        "gam_column_dim_sorted": [1],
        "_d": [1],
        **extra,
    }


COLUMNS = ["city", "n", "x_0", "x_1", "x_2", "y"]
ROWS: dict[str, list[Any]] = {
    "city": ["a", "b", None, "b", "a"],
    "n": [1.0, None, 2.0, 3.0, 0.0],
    "x": [0.5, -3.0, 9.0, None, 2.5],
}


def expected(basis: Callable[[float], np.ndarray]) -> list[float]:
    found = []
    for city, n, x in zip(*ROWS.values(), strict=True):
        smooth = np.array(FILLS[1:]) if x is None else basis(x)
        level = BETA[0] if city in ("b", None) else 0.0
        found.append(level + BETA[1] * (0.25 if n is None else n) + BETA[2:5] @ smooth + BETA[5])
    return found


def test_cubic_splines_extend_beyond_their_knots_and_fill_missing_columns(make_mojo: Make) -> None:
    model = read(make_mojo(info(), COLUMNS, {0: ["a", "b"]}, files()))
    assert list(model.inputs) == ["city", "n", "x"]
    basis = splines.cubic_basis(KNOTS, SOLVED)
    np.testing.assert_allclose(model.score(ROWS).outputs["predict"], expected(lambda x: CENTRE @ basis(x)), rtol=1e-9)


def test_i_splines_are_not_centred(make_mojo: Make) -> None:
    more = {"bs_sorted": [2], "spline_orders_sorted": [2], "num_knots_sorted": [3]}
    knots = np.array([0.0, 1.0, 4.0])
    model = read(make_mojo(info(**more), COLUMNS, {0: ["a", "b"]}, files(knots)))
    want = expected(splines.i_basis(knots, 2))
    np.testing.assert_allclose(model.score(ROWS).outputs["predict"], want, rtol=1e-9)


def test_m_splines_are_centred(make_mojo: Make) -> None:
    more = {"bs_sorted": [3], "spline_orders_sorted": [3]}
    centre = RNG.normal(size=(4, 5))
    more |= {"num_expanded_gam_columns_center": 4, "beta_center": [*BETA[:5], 0.5, BETA[5]]}
    more |= {"numNAFillsCenter": [*FILLS, 0.0]}
    path = make_mojo(info(**more), [*COLUMNS[:5], "x_3", "y"], {0: ["a", "b"]}, files(KNOTS, centre))
    basis = splines.m_basis(KNOTS, 3)
    row = read(path).score({"city": ["a"], "n": [1.0], "x": [2.0]})
    want = BETA[1] + np.array([*BETA[2:5], 0.5]) @ (centre @ basis(2.0)) + BETA[5]
    assert row.outputs["predict"][0] == pytest.approx(want)


def test_thin_plates_add_radial_functions_and_polynomials(make_mojo: Make) -> None:
    null = RNG.normal(size=(2, 4))
    more = {"bs_sorted": [1], "num_knots_TP": [4], "_m": [2], "_M": [2], "standardize": False}
    parts = files(KNOTS, CENTRE, zTransposeCS=null)
    parts["polynomialBasisList"] = np.array([[0], [1]], ">i4").tobytes()
    found = read(make_mojo(info(**more), COLUMNS, {0: ["a", "b"]}, parts)).score(ROWS).outputs["predict"]

    def basis(x: float) -> np.ndarray:
        radial = plate_constant(2, 1) * np.abs(x - KNOTS) ** 3
        return CENTRE @ np.concatenate([null @ radial, [1.0, x]])

    np.testing.assert_allclose(found, expected(basis), rtol=1e-9)


def test_ordinal_models_take_the_first_positive_score(make_mojo: Make) -> None:
    table = np.stack([BETA, BETA + np.array([0, 0, 0, 0, 0, 2.0]), np.zeros(6)])
    more = {"family": "ordinal", "category": "Ordinal", "n_classes": 3, "beta center length per class": 6}
    parts = files() | {"beta_multinomial_centering": np.asarray(table, ">f8").tobytes()}
    found = read(make_mojo(info(**more), COLUMNS, {0: ["a", "b"], 5: ["u", "v", "w"]}, parts)).score(ROWS).outputs
    basis = splines.cubic_basis(KNOTS, SOLVED)
    etas = np.array(expected(lambda x: CENTRE @ basis(x)))
    low, high = 1 / (1 + np.exp(-etas)), 1 / (1 + np.exp(-etas - 2))
    np.testing.assert_allclose([found["u"], found["v"], found["w"]], [low, high - low, 1 - high], atol=1e-12)
    assert list(found["predict"]) == ["u" if eta > 0 else "v" if eta > -2 else "w" for eta in etas]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"_d": [1, 1]}, "have 1, 1, 2 entries"),
        ({"bs_sorted": [7]}, "the spline type 7 is unknown"),
        ({"beta_center": [1.0]}, "has 1 coefficients for 5 columns"),
        ({"num_expanded_gam_columns_center": 1}, "more functions than columns"),
        ({"gam_column_dim_sorted": [2]}, "has 1 names for 2 columns"),
    ],
)
def test_contradictions_are_refused(extra: dict[str, Any], message: str, make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        read(make_mojo(info(**extra), COLUMNS, {0: ["a", "b"]}, files()))


def test_knots_that_do_not_rise_and_standardised_plates_are_refused(make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match="the knots of spline 0 do not rise"):
        read(make_mojo(info(), COLUMNS, {0: ["a", "b"]}, files(KNOTS[::-1])))
    with pytest.raises(ConfigError, match="genmodel fails on thin-plate splines"):
        read(make_mojo(info(bs_sorted=[1], standardize=True), COLUMNS, {0: ["a", "b"]}, files()))
