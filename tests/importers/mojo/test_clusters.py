from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read

Make = Callable[..., Path]
KMEANS = {
    "algo": "kmeans",
    "category": "Clustering",
    "supervised": False,
    "n_features": 3,
    "standardize": False,
    "center_num": 3,
    "center_0": [0.0, 0.0, 0.0],
    "center_1": [2.0, 2.0, 1.0],
    "center_2": [-3.0, 1.0, 2.0],
}
COLUMNS, CITY = ["a", "b", "city"], ["x", "y", "z"]


def closest(row: list[float]) -> int:
    """genmodel's KMeans_closest."""
    best, least = -1, np.inf
    for number in range(3):
        centre = KMEANS[f"center_{number}"]
        total, known = 0.0, 3
        for column, (x, c) in enumerate(zip(row, centre, strict=True)):  # type: ignore[call-overload]
            if np.isnan(x):
                known -= 1
            else:
                total += float(x != c) if column == 2 else (x - c) ** 2
        if 0 < known < 3:
            total *= 3 / known
        if total < least:
            best, least = number, total
    return best


def test_the_nearest_centre_wins_with_missing_values_left_out(make_mojo: Make) -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(0, 2, 60), rng.normal(0, 2, 60), rng.integers(0, 3, 60)])
    rows[rng.random(rows.shape) < 0.25] = np.nan
    rows[0] = np.nan
    model = read(make_mojo(KMEANS, COLUMNS, {2: CITY}))
    city = [None if np.isnan(x) else CITY[int(x)] for x in rows[:, 2]]
    found = model.score({"a": rows[:, 0], "b": rows[:, 1], "city": city}).outputs["cluster"]
    assert found.tolist() == [closest(row) for row in rows.tolist()]


def test_standardised_models_fill_means_and_modes(make_mojo: Make) -> None:
    more = {"standardize": True, "standardize_means": [1.0, 0.0, "NaN"], "standardize_mults": [2.0, 1.0, 1.0]}
    model = read(make_mojo(KMEANS | more | {"standardize_modes": [-1, -1, 1]}, COLUMNS, {2: CITY}))
    found = model.score({"a": [None, 2.0], "b": [None, 2.0], "city": [None, "y"]}).outputs["cluster"]
    assert found.tolist() == [closest([0.0, 0.0, 1.0]), closest([2.0, 2.0, 1.0])]


def test_centres_of_another_width_are_refused(make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match="center_1: has 1 numbers for 3 columns"):
        read(make_mojo(KMEANS | {"center_1": [1.0]}, COLUMNS, {2: CITY}))
    with pytest.raises(ConfigError, match="the model has no centres"):
        read(make_mojo(KMEANS | {"center_num": 0}, COLUMNS, {2: CITY}))


VECTORS = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]])
PCA = {
    "algo": "pca",
    "category": "DimReduction",
    "supervised": False,
    "n_features": 2,
    "k": 2,
    "ncats": 1,
    "nnums": 1,
    "permutation": [1, 0],
    "catOffsets": [0, 2],
    "eigenvector_size": 3,
    "normSub": [1.0],
    "normMul": [2.0],
    "use_all_factor_levels": False,
}


def test_components_add_levels_and_scaled_numbers(make_mojo: Make) -> None:
    files = {"eigenvectors_raw": struct.pack(">6d", *VECTORS.ravel())}
    model = read(make_mojo(PCA, ["a", "city"], {1: CITY}, files))
    scores = model.score({"a": [2.0, 3.0, 1.5, None], "city": ["x", "y", None, "z"]})
    levels = np.array([[0, 0], VECTORS[0], [0, 0]])
    numbers = (np.array([2.0, 3.0, 1.5]) - 1) * 2
    want = levels + numbers[:, None] * VECTORS[2]
    np.testing.assert_allclose(np.stack([scores.outputs["PC1"], scores.outputs["PC2"]], axis=1)[:3], want)
    assert np.isnan(scores.outputs["PC1"][3])


@pytest.mark.parametrize("extra", [{"permutation": [0]}, {"catOffsets": [0, 9]}, {"k": 0}])
def test_a_contradictory_pca_is_refused(extra: dict[str, Any], make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match="contradict one another"):
        read(make_mojo(PCA | extra, ["a", "city"], {1: CITY}, {"eigenvectors_raw": bytes(48)}))


def test_isotonic_regression_is_flat_outside_of_its_points(make_mojo: Make) -> None:
    xs, ys = [0.0, 1.0, 3.0], [1.0, 2.0, 6.0]
    files = {f"calib/thresholds_{axis}": struct.pack(">i3d", 3, *values) for axis, values in (("x", xs), ("y", ys))}
    info = {"algo": "isotonicregression", "calib_min_x": 0.0, "calib_max_x": 3.0}
    scores = read(make_mojo(info, ["x", "y"], files=files)).score({"x": [-5, 0.5, 1, 2, 9, None]})
    np.testing.assert_allclose(scores.outputs["predict"], [1.0, 1.5, 2.0, 4.0, 6.0, np.nan])
